"""What a layout promises of itself: parts that tile, matrices that fit, a value, and refusals."""

from collections import Counter
from math import nan, prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fanin import Block, FaninError, Layout, fans, layout

some = settings(max_examples=100, derandomize=True, deadline=None, database=None)
sizes = st.integers(1, 4)


@st.composite
def matrices(draw) -> Layout:
    """Any order of one out axis, one or two in axes, and up to two of kernel and of batch."""
    words = ["out", *["in"] * draw(st.integers(1, 2))]
    words += ["kernel"] * draw(st.integers(0, 2)) + ["batch"] * draw(st.integers(0, 2))
    axes = tuple(draw(st.permutations(words)))
    return Layout(tuple(draw(sizes) for _ in axes), axes)


@st.composite
def layouts(draw) -> Layout:
    """The same with groups or with blocks, or with neither."""
    plain = draw(matrices())
    first = next(i for i, word in enumerate(plain.axes) if word in ("out", "in"))
    if draw(st.booleans()):
        groups = draw(st.integers(1, 3))
        shape = tuple(n * groups if i == first else n for i, n in enumerate(plain.shape))
        return Layout(shape, plain.axes, groups=groups)
    blocks = tuple(Block(f"b{i}", draw(sizes)) for i in range(draw(st.integers(1, 3))))
    total = sum(block.size for block in blocks)
    out = plain.axes.index("out")
    shape = tuple(total if i == out else n for i, n in enumerate(plain.shape))
    return Layout(shape, plain.axes, blocks=blocks)


# --- parts and matrices --------------------------------------------------------------------------


@some
@given(where=layouts())
def test_the_parts_tile_the_tensor_exactly_once(where):
    """Whatever is drawn part by part is drawn everywhere, and nowhere twice."""
    visits = torch.zeros(where.shape)
    for part in where.parts():
        visits[part.index] += 1
        assert visits[part.index].shape == part.layout.shape
    assert visits.unique().tolist() == [1]


@some
@given(where=layouts())
def test_every_part_is_one_matrix(where):
    """One for each batch entry, group and block: orthogonal rows are meant within these."""
    batch = prod(n for n, word in zip(where.shape, where.axes, strict=True) if word == "batch")
    parts = where.parts()
    assert len(parts) == batch * where.groups * max(1, len(where.blocks))
    for part in parts:
        assert prod(part.layout.matrix_shape()) == prod(part.layout.shape)


@some
@given(where=layouts())
def test_every_part_has_the_fans_of_the_whole(where):
    """To draw in parts or at once is the same scale; only unequal blocks have no fan_out in all."""
    parts = [part.layout for part in where.parts()]
    assert {part.fan_in for part in parts} == {where.fan_in}
    if len({block.size for block in where.blocks}) <= 1:
        assert {part.fan_out for part in parts} == {where.fan_out}
    else:
        with pytest.raises(FaninError, match="the blocks have different fan_out"):
            where.fan_out  # noqa: B018 - asking is what raises


@some
@given(where=layouts())
def test_parts_are_named_by_block_group_and_batch_entry(where):
    """No two parts share a name, so a name says which."""
    names = Counter(part.name for part in where.parts())
    assert max(names.values()) == 1


def numbered(where: Layout) -> tuple[Tensor, Tensor]:
    """A part's matrix with every entry different, and the tensor that it should become.

    Written entry by entry from the definition: the row counts through the out axes (the batch's
    first), the column through the in axes and then the kernel's.
    """
    at = lambda index, *words: [
        (index[i], where.shape[i]) for word in words for i, w in enumerate(where.axes) if w == word
    ]
    rows, columns = where.matrix_shape()
    batch = prod(n for n, word in zip(where.shape, where.axes, strict=True) if word == "batch")
    matrix = torch.arange(float(batch * rows * columns)).view(batch * rows, columns)
    tensor = torch.empty(where.shape)
    for index in np.ndindex(*where.shape):
        row, column = 0, 0
        for position, size in at(index, "batch", "out"):
            row = row * size + position
        for position, size in at(index, "in", "kernel"):
            column = column * size + position
        tensor[index] = matrix[row, column]
    return matrix, tensor


@some
@given(where=matrices())
def test_from_matrix_puts_every_entry_where_the_axes_say(where):
    """For any order of the axes: [out, in * kernel] and back is the identity."""
    matrix, tensor = numbered(where)
    assert torch.equal(where.from_matrix(matrix), tensor)


@some
@given(where=matrices())
def test_at_centre_is_the_matrix_at_one_tap_and_zero_elsewhere(where):
    """The tap is size // 2 along each kernel axis, as torch's dirac_ has it."""
    one = Layout(
        tuple(1 if w == "batch" else n for n, w in zip(where.shape, where.axes, strict=True)),
        where.axes,
    )
    matrix = torch.arange(1.0, 1 + prod(one.channels_shape())).view(one.channels_shape())
    tensor = one.at_centre(matrix)
    centre = tuple(
        n // 2 if word == "kernel" else slice(None)
        for n, word in zip(one.shape, one.axes, strict=True)
    )
    kernel_free = tuple((n, w) for n, w in zip(one.shape, one.axes, strict=True) if w != "kernel")
    channels = Layout(tuple(n for n, _ in kernel_free), tuple(w for _, w in kernel_free))
    assert torch.equal(tensor[centre], channels.from_matrix(matrix))
    assert tensor.count_nonzero() == matrix.numel()


def test_repeated_outputs_fill_the_shape_that_was_narrowed():
    """narrow_outputs and repeat_outputs undo each other, in both orders of the axes."""
    for axes, shape in (("out in kernel", (8, 3, 2)), ("in out kernel", (3, 8, 2))):
        where = Layout(shape, axes)
        narrow = where.narrow_outputs(4)
        assert narrow.outputs == 2
        assert where.repeat_outputs(torch.zeros(narrow.shape), 4).shape == shape


# --- a layout is a value -------------------------------------------------------------------------


@some
@given(where=layouts())
def test_the_repr_of_a_layout_is_its_constructor(where):
    """Equal values have equal hashes, whichever way the axes were written."""
    again = eval(repr(where), {"Layout": Layout, "Block": Block})  # noqa: S307 - our own repr
    spelled = Layout(
        list(where.shape), " ".join(where.axes), groups=where.groups, blocks=list(where.blocks)
    )
    assert again == where == spelled
    assert hash(again) == hash(where) == hash(spelled)


def test_layouts_that_differ_are_not_equal():
    """Each field counts."""
    plain = Layout((4, 6, 3), "out in kernel")
    others = [
        Layout((4, 3, 6), "out in kernel"),
        Layout((4, 6, 3), "in out kernel"),
        Layout((4, 6, 3), "out in kernel", groups=2),
        Layout((4, 6, 3), "out in kernel", taps_per_output=2),
        Layout((4, 6, 3), "out in kernel", taps_per_input=2),
        Layout((4, 6, 3), "out in kernel", blocks=(Block("a", 2), Block("b", 2))),
        Layout((4, 6, 3), "out in kernel", role="projection"),
        Layout((4, 6, 3), "out in kernel", operation="convolution"),
    ]
    assert len({plain, *others}) == 9


def test_outputs_are_counted_over_all_groups():
    """torch stores a transposed convolution's outputs for one group only."""
    for kind in (nn.Conv2d, nn.ConvTranspose2d):
        assert layout(kind(8, 12, 3, groups=4)).outputs == 12


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axes", "more", "what"),
    [
        ((2, 3), "out inn", {}, "an axis has an unknown name"),
        ((2, 3), "out in kernel", {}, "the layout does not name every axis once"),
        ((2, 3), "out in", {"role": "wieght"}, "the role is unknown"),
        ((2, 3), "out channel", {}, "a channel axis"),
        ((2, -3), "out in", {}, "a shape is made of whole numbers"),
        ((2, 3.0), "out in", {}, "a shape is made of whole numbers"),
        ((2, 3), "out in", {"taps_per_output": 0}, "taps are a positive number"),
        ((2, 3), "out in", {"taps_per_input": nan}, "taps are a positive number"),
        ((6, 3), "out in", {"groups": 4}, "groups do not divide the channels"),
        ((6, 3), "out in", {"groups": 0}, "groups do not divide the channels"),
        ((6,), "channel", {"groups": 2}, "groups need an out or in axis"),
        ((6, 3), "out in", {"blocks": (Block("a", 5),)}, "the blocks do not fill the out axis"),
        ((2, 3, 4), "out out in", {"blocks": (Block("a", 6),)}, "blocks cut one out axis"),
        ((1,), "channel", {"blocks": (Block("a", 1),)}, "blocks cut one out axis"),
        ((6, 3), "out in", {"groups": 2, "blocks": (Block("a", 6),)}, "groups and blocks"),
    ],
)
def test_words_and_sizes_that_do_not_fit_are_refused_at_construction(shape, axes, more, what):
    """A layout that exists can be trusted."""
    with pytest.raises(FaninError, match=what):
        Layout(shape, axes, **more)


@pytest.mark.parametrize(
    "where",
    [
        Layout((5,), "out", role="bias"),
        Layout((5,), "channel", role="norm_scale"),
        Layout((), ""),
        layout(nn.BatchNorm2d(4)),
        layout(nn.PReLU(3)),
        layout(nn.Linear(3, 4), "bias"),
    ],
    ids=str,
)
def test_a_parameter_that_is_not_summed_over_has_no_fans(where):
    """torch raises too; a number made up here would be drawn from."""
    assert not where.has_fans
    for ask in (lambda: where.fan_in, lambda: where.fan_out, where.matrix_shape):
        with pytest.raises(FaninError, match="axes"):
            ask()


@pytest.mark.parametrize(
    ("layer", "input_size"),
    [
        (nn.Conv1d(2, 2, 1, stride=3, padding=1), (1,)),
        (nn.ConvTranspose1d(2, 2, 1, stride=1, padding=1, output_padding=0), (2,)),
        (nn.ConvTranspose1d(2, 2, 1, stride=3, padding=1, output_padding=2), (1,)),
        (nn.Conv2d(2, 2, 3), (5, 2)),
        (nn.Conv1d(2, 2, 2, padding=1), (0,)),
        (nn.Conv2d(2, 2, 3), (5,)),
        (nn.Conv1d(2, 2, 3), 5),
    ],
    ids=str,
)
def test_an_input_that_reaches_no_output_is_refused(layer, input_size):
    """A fan of 0 would ask for weights of infinite size."""
    with pytest.raises(FaninError, match="input"):
        layout(layer, input_size=input_size)


def test_what_a_layer_does_not_have_cannot_be_given():
    """An option that were ignored would be taken for counted."""
    with pytest.raises(FaninError, match="only a convolution has an input size"):
        layout(nn.Linear(2, 3), input_size=(4, 4))
    with pytest.raises(FaninError, match="only an EmbeddingBag has a bag size"):
        layout(nn.Embedding(2, 3), bag_size=4)
    with pytest.raises(FaninError, match="a layout has counted its taps already"):
        fans(layout(nn.Conv1d(2, 3, 3)), input_size=(4,))
    for bag_size in (0, -1, nan):
        with pytest.raises(FaninError, match="a bag holds at least one row"):
            layout(nn.EmbeddingBag(2, 3), bag_size=bag_size)
    with pytest.raises(FaninError, match="maximum"):
        layout(nn.EmbeddingBag(2, 3, mode="max"), bag_size=4)
