"""What holds for every stream: parts of wholes, types, bounds, independence, no trace left."""

import math
import random
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fanin import FaninError
from fanin._stream import (
    Region,
    Stream,
    fill_bits,
    fill_normal,
    fill_truncated_normal,
    fill_uniform,
)

STREAM = Stream(0, "weight")
FILLS: dict[str, Callable[..., None]] = {
    "uniform": partial(fill_uniform, low=-0.3, high=0.7),
    "normal": partial(fill_normal, mean=0.1, std=0.02),
    "truncated": partial(fill_truncated_normal, mean=0.1, std=2.0, low=-2.0, high=1.5),
}
fills = pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS)


def drawn(
    fill: Callable[..., None],
    shape: tuple[int, ...],
    stream: Stream = STREAM,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    out = torch.empty(shape, dtype=dtype)
    fill(out, stream)
    return out


# ---- parts ----------------------------------------------------------------------------------


@st.composite
def slices(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    shape = tuple(draw(st.lists(st.integers(1, 40), max_size=4)))
    index = []
    for size in shape[: draw(st.integers(0, len(shape)))]:
        ends = st.none() | st.integers(-size, size)
        step = st.none() | st.integers(1, size + 1)
        index.append(slice(draw(ends), draw(ends), draw(step)))
    return shape, tuple(index)


@fills
@settings(max_examples=60, deadline=None)
@given(case=slices())
def test_any_part_equals_the_same_part_of_the_whole(fill, case):
    """The promise that makes sharding exact: shape, index and cost of the rest do not enter."""
    shape, index = case
    region = Region.of(shape, index)
    part = torch.empty(region.shape)
    fill(part, STREAM, region=region)
    assert torch.equal(part, drawn(fill, shape)[index])


@fills
def test_the_ranks_of_a_strided_two_axis_mesh_put_the_whole_together(fill):
    """Every rank draws alone; nothing is drawn twice or missed."""
    whole, pieces = drawn(fill, (30, 44)), torch.full((30, 44), math.nan)
    for row in range(4):
        for column in range(3):
            index = slice(row, None, 4), slice(column, None, 3)
            region = Region.of((30, 44), index)
            part = torch.empty(region.shape)
            fill(part, STREAM, region=region)
            pieces[index] = part
    assert torch.equal(pieces, whole)


@fills
def test_a_longer_draw_begins_with_the_shorter_one(fill):
    """The number of elements does not enter: torch.normal_ lacks this below 16 elements."""
    assert torch.equal(drawn(fill, (1000,))[:41], drawn(fill, (41,)))


@fills
def test_only_the_row_major_place_of_an_element_counts(fill):
    assert torch.equal(drawn(fill, (6, 35)), drawn(fill, (2, 3, 5, 7)).reshape(6, 35))


def test_an_integer_in_an_index_keeps_its_axis():
    region = Region.of((5, 7), (-2, slice(1, 4)))
    assert (region.start, region.shape) == ((3, 1), (1, 3))
    part = torch.empty(3)  # an axis of length one may be left out
    fill_normal(part, STREAM, 0.0, 1.0, region)
    assert torch.equal(part, drawn(partial(fill_normal, mean=0.0, std=1.0), (5, 7))[-2, 1:4])


@pytest.mark.parametrize(
    ("index", "why"),
    [
        ((slice(None, None, -1),), "a step of 1 or more on axis 0"),
        ((slice(0, 6),), "slice ends in \\[-5, 5\\] on axis 0"),
        ((slice(None), slice(-8, None)), "slice ends in \\[-7, 7\\] on axis 1"),
        ((5,), "an index in \\[-5, 5\\) on axis 0"),
        ((0, 0, 0), "as many entries as axes"),
        ((0.5,), "a slice or an integer on axis 0"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(index, why):
    with pytest.raises(FaninError, match=why):
        Region.of((5, 7), index)


@pytest.mark.parametrize(
    "region",
    [
        ((5,), (0,), (6,), (1,)),
        ((5,), (3,), (2,), (2,)),
        ((5,), (-1,), (2,), (1,)),
        ((5,), (0,), (2,), (0,)),
        ((5,), (0,), (-1,), (1,)),
        ((5, 5), (0,), (1,), (1,)),
        ((2**32, 2**31), (0, 0), (1, 1), (1, 1)),
    ],
)
def test_a_region_that_leaves_its_tensor_is_refused(region):
    with pytest.raises(FaninError, match="region"):
        Region(*region)


# ---- types and bounds -----------------------------------------------------------------------


@fills
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_another_type_holds_the_float32_values_rounded_once(fill, dtype):
    """A bfloat16 model is exactly the cast of the float32 model."""
    assert torch.equal(drawn(fill, (100_000,), dtype=dtype), drawn(fill, (100_000,)).to(dtype))


@pytest.mark.parametrize("std", [1e-8, 1e-6, 3e-5, 1.0, 2e4])
def test_float16_is_rounded_as_torch_rounds(std):
    """Subnormals and overflow of the narrow type included."""
    fill = partial(fill_normal, mean=0.0, std=std)
    half = drawn(fill, (100_000,), dtype=torch.float16)
    assert torch.equal(half, drawn(fill, (100_000,)).half())


@settings(max_examples=200, deadline=None)
@given(bounds=st.tuples(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30)).map(sorted))
@example([0.1, 0.1])
@example([-5e-217, -1e-278])
@example([1.0, 1.0 + 2.0**-23])
def test_a_uniform_never_leaves_its_bounds(bounds):
    """As exact numbers, not after rounding the bounds; where none is between, the nearest."""
    low, high = bounds
    out = drawn(partial(fill_uniform, low=low, high=high), (500,), dtype=torch.float64)
    least = np.float32(low)
    if float(least) < low:
        least = np.nextafter(least, np.float32(math.inf))
    if float(least) <= high:
        assert low <= float(out.min())
        assert float(out.max()) <= high
    else:
        assert set(out.tolist()) == {float(np.float32((low + high) / 2))}
    assert not (out.signbit() & (out == 0)).any()


@settings(max_examples=60, deadline=None)
@given(bound=st.floats(1e-20, 1e30))
def test_a_symmetric_uniform_is_strictly_inside(bound):
    """Also at the extreme words, which the whole range of 24 bits reaches soon enough."""
    extreme = (2.0**23 - 0.5) / 2.0**23
    out = drawn(partial(fill_uniform, low=-bound, high=bound), (2000,))
    assert float(out.abs().max()) < bound
    assert float(np.float32(extreme * 2**23) * np.float32(bound * 2.0**-23)) < bound


@pytest.mark.parametrize("cut", [(-2.0, 2.0), (-0.1, 0.3), (1.0, 1.5), (-4.5, -3.0), (-9.0, 0.5)])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.02), (0.3, 0.7), (1000.0, 1e-3)])
def test_a_truncated_normal_never_leaves_its_bounds(cut, mean, std):
    low, high = cut
    fill = partial(fill_truncated_normal, mean=mean, std=std, low=low, high=high)
    out = drawn(fill, (300_000,), dtype=torch.float64)
    assert mean + low * std <= float(out.min())
    assert float(out.max()) <= mean + high * std


@pytest.mark.parametrize("bound", [6.4, 100.0, math.inf])
def test_a_cut_beyond_every_word_changes_nothing(bound):
    cut = drawn(
        partial(fill_truncated_normal, mean=0.1, std=2.0, low=-bound, high=bound), (10_000,)
    )
    assert torch.equal(cut, drawn(partial(fill_normal, mean=0.1, std=2.0), (10_000,)))


def test_a_draw_without_spread_is_its_mean():
    """Also where the mean is no float32: the nearest one."""
    for fill in (
        partial(fill_normal, mean=0.1, std=0.0),
        partial(fill_truncated_normal, mean=0.1, std=0.0, low=-1.0, high=math.inf),
        partial(fill_uniform, low=0.1, high=0.1),
    ):
        assert torch.equal(drawn(fill, (50,)), torch.full((50,), 0.1))


# ---- names and traces -----------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**64 - 2), name=st.text(max_size=12), bit=st.integers(0, 31))
def test_a_neighbour_has_other_numbers(seed, name, bit):
    """One step of the seed, one character of the name, one bit of the substream."""
    here = drawn(fill_bits, (400,), Stream(seed, name), torch.int32)
    others = [Stream(seed + 1, name), Stream(seed, name + "a"), Stream(seed, name, 2**bit)]
    for other in others:
        # 400 pairs of 32-bit words: even one equal pair happens once in ten million.
        assert int((drawn(fill_bits, (400,), other, torch.int32) == here).sum()) <= 1


def test_no_global_generator_is_read_or_moved():
    """The numbers do not depend on a global seed, and drawing leaves no trace in one."""
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the global generator is the point
        random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
        results.append([drawn(fill, (1000,)) for fill in FILLS.values()])
        assert torch.equal(before[0], torch.get_rng_state())
        assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
        assert before[2] == random.getstate()
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@fills
def test_a_parameter_is_filled_without_a_graph(fill):
    weight = torch.nn.Parameter(torch.zeros(4, 5))
    fill(weight, STREAM)
    assert weight.is_leaf
    assert weight.requires_grad
    assert weight.grad_fn is None
    assert torch.equal(weight.detach(), drawn(fill, (4, 5)))


@fills
def test_autograd_notices_that_a_saved_tensor_was_overwritten(fill):
    """Writing through a pointer bypasses torch: without the version, gradients would be wrong."""
    weight, x = torch.ones(3), torch.ones(3, requires_grad=True)
    product = (weight * x).sum()
    fill(weight, STREAM)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


@fills
def test_a_tensor_made_in_inference_mode_is_filled(fill):
    """It has no version to raise."""
    with torch.inference_mode():
        assert torch.equal(drawn(fill, (7,)), drawn(fill, (1000,))[:7])


@pytest.mark.parametrize(
    "out",
    [
        torch.zeros(4, dtype=torch.int64),
        torch.zeros(4, dtype=torch.complex64),
        torch.zeros(4, 4).T,
        torch.zeros(1).expand(4),
        torch.zeros(4, device="meta"),
    ],
    ids=["int64", "complex64", "transposed", "expanded", "meta"],
)
def test_a_tensor_that_cannot_be_filled_is_refused(out):
    out = out if out.ndim == 1 else out[:, :3]
    for fill in FILLS.values():
        with pytest.raises(FaninError, match="contiguous CPU tensor"):
            fill(out, STREAM)
    with pytest.raises(FaninError, match="contiguous CPU tensor of int32"):
        fill_bits(out, STREAM)


def test_a_tensor_without_memory_is_refused():
    """A freed storage has no address: writing there would end the process."""
    out = torch.zeros(4)
    out.untyped_storage().resize_(0)
    with pytest.raises(FaninError, match="memory of its own"):
        fill_normal(out, STREAM, 0.0, 1.0)


@pytest.mark.parametrize(
    ("fill", "why"),
    [
        (partial(fill_uniform, low=1.0, high=0.0), "low <= high"),
        (partial(fill_uniform, low=math.nan, high=0.0), "low <= high"),
        (partial(fill_uniform, low=0.0, high=math.inf), "within 3.4e38"),
        (partial(fill_normal, mean=0.0, std=-1.0), "std >= 0"),
        (partial(fill_normal, mean=math.nan, std=1.0), "a finite mean"),
        (partial(fill_normal, mean=0.0, std=1e38), "within 3.4e38"),
        (partial(fill_truncated_normal, mean=0.0, std=math.nan, low=-1.0, high=1.0), "std >= 0"),
        (partial(fill_truncated_normal, mean=0.0, std=1.0, low=1.0, high=1.0), "low < high"),
        (partial(fill_truncated_normal, mean=0.0, std=1.0, low=2.0, high=-2.0), "low < high"),
        (partial(fill_truncated_normal, mean=0.0, std=1.0, low=math.nan, high=1.0), "low < high"),
        (partial(fill_truncated_normal, mean=0.0, std=1.0, low=4.5, high=5.0), "13362 of 2"),
        (partial(fill_truncated_normal, mean=0.0, std=1.0, low=7.0, high=8.0), "too few words"),
        (partial(fill_normal, mean=0.0, std=1.0, region=Region.whole((3,))), "region's shape"),
    ],
)
def test_bad_parameters_are_refused_and_the_tensor_is_left_as_it_was(fill, why):
    out = torch.full((4,), 7.0)
    with pytest.raises(FaninError, match=why):
        fill(out, STREAM)
    assert torch.equal(out, torch.full((4,), 7.0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Stream(-1, "w"),
        lambda: Stream(2**64, "w"),
        lambda: Stream(0.0, "w"),  # type: ignore[arg-type]
        lambda: Stream(True, "w"),
        lambda: Stream(0, "w", 2**32),
        lambda: Stream(0, "\ud800"),
        lambda: Stream(0, None),  # type: ignore[arg-type]
    ],
)
def test_a_bad_stream_is_refused_when_it_is_made(make):
    with pytest.raises(FaninError, match="of a stream"):
        make()
