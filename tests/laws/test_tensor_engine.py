"""The engine of tensor operations: the same bits, on the tensor's device, in bounded memory.

No accelerator is needed. On the CPU it runs by the same lines as elsewhere; the meta device stands
for another one, where a tensor of the CPU among the operands is an error.
"""

import math
import weakref
from collections import Counter
from functools import cache, partial
from unittest.mock import patch

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.laws.test_engines_agree import (
    FLOATS,
    STREAM,
    any_part,
    bits,
    drawn,
    draws,
    near_carries,
    regions,
)
from tests.oracles import test_stream_definition as definition
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import fanin
from fanin import FaninError, _engine, _stream
from fanin._cli import _doctor
from fanin._engine import (
    DeviceReport,
    Distribution,
    Native,
    Plain,
    TensorOperations,
    _devices,
    _tensors,
    describe,
    draws_on,
    engine,
    levels,
)
from fanin._layout import Layout
from fanin._stream import Region, Stream
from fanin.initializers import Constant, Custom, Normal, Uniform, VarianceScaling, _target

TENSORS = TensorOperations()
OTHERS = [Plain(), *(Native(level) for level in levels()[-1:])]
META = torch.device("meta")

# ---- bits -----------------------------------------------------------------------------------


@any_part
def test_any_part_in_any_type_is_that_of_the_other_engines(draw, region):
    """Whole, slices, strides, rows that start unevenly: one formula for all of them."""
    got = drawn(TENSORS, *draw, region)
    for other in OTHERS:
        assert torch.equal(got, drawn(other, *draw, region)), other.name


@near_carries
def test_counters_carry_into_their_second_word(block, before, width, step):
    """Elements on both sides of a multiple of 2^34: where int32 and float arithmetic would fail."""
    region = Region((2**62,), (block * 2**34 - before,), (width,), (step,))
    got = drawn(TENSORS, "bits", torch.int32, region)
    assert torch.equal(got, drawn(Plain(), "bits", torch.int32, region))


numbers = st.floats(-3e38, 3e38, width=64)
sizes = st.floats(0.0, 5e37) | st.floats(0.0, 1e-37) | st.floats(0.0, 10.0)
cuts = st.floats(-8.0, 8.0) | st.sampled_from([-math.inf, math.inf, 0.0])


@st.composite
def laws(draw):
    """A fill function with any parameters that it takes."""
    kind = draw(st.sampled_from(["uniform", "normal", "truncated"]))
    if kind == "uniform":
        low, high = sorted((draw(numbers | sizes), draw(numbers | sizes)))
        return partial(_stream.fill_uniform, low=low, high=high)
    std = draw(sizes)
    mean = draw(st.floats(-1e37, 1e37) | st.sampled_from([0.0, -0.0, 1.0]))
    if kind == "normal":
        return partial(_stream.fill_normal, mean=mean, std=std)
    low, high = sorted((draw(cuts), draw(cuts)))
    return partial(_stream.fill_truncated_normal, mean=mean, std=std, low=low, high=high)


def result_of(by, law, dtype):
    """The bits of a draw, or the words of its refusal."""
    out = torch.empty(700, dtype=dtype)
    try:
        with patch.object(_stream, "engine", lambda: by):
            law(out, STREAM)
    except FaninError as error:
        return str(error)
    return bits(out).tolist()


@settings(max_examples=200)
@given(law=laws(), dtype=st.sampled_from(FLOATS))
@example(partial(_stream.fill_normal, mean=0.0, std=1e-39), torch.float32)
@example(partial(_stream.fill_normal, mean=0.0, std=1e-39), torch.bfloat16)
@example(partial(_stream.fill_normal, mean=0.0, std=1e-6), torch.float16)
@example(partial(_stream.fill_normal, mean=0.0, std=6e4), torch.float16)
@example(partial(_stream.fill_normal, mean=-0.0, std=0.0), torch.float32)
@example(partial(_stream.fill_uniform, low=-1e-45, high=0.0), torch.float32)
def test_any_parameters_give_the_bits_of_the_other_engines(law, dtype):
    """Subnormals, overflow, zeros and their signs: every rounding, in every type."""
    got, expected = result_of(TENSORS, law, dtype), result_of(Plain(), law, dtype)
    assert got == expected


@settings(max_examples=40)
@given(draw=draws, region=regions(), chunk=st.integers(40, 3000))
@example(("normal", torch.float32), Region.of((9, 40, 30), (slice(2, 5), slice(1, None, 2))), 4)
@example(("normal", torch.float32), Region.of((3, 400), (slice(1, 3), slice(1, None, 3))), 5)
def test_how_a_draw_is_cut_does_not_show(draw, region, chunk):
    """Another device is given more at once than the CPU; the bits must not depend on it."""
    with patch.object(_tensors, "CPU_CHUNK", chunk):
        got = drawn(TENSORS, *draw, region)
    assert torch.equal(got, drawn(Plain(), *draw, region))


def test_the_chunks_of_another_device_give_the_same():
    """More than two of them, of their real size."""
    region = Region.whole((2 * _tensors.CHUNK + 77,))
    with patch.object(_tensors, "CPU_CHUNK", _tensors.CHUNK):
        got = drawn(TENSORS, "normal", torch.float32, region)
    assert torch.equal(got, drawn(OTHERS[-1], "normal", torch.float32, region))


def test_the_golden_values_are_drawn():
    """The file that pins the stream, not only the other engines."""
    for row in definition.GOLDEN["draws"]:
        if row["draw"] == "bits":
            words = definition.drawn(TENSORS, row, torch.int32).tolist()
            assert [f"{word & 0xFFFFFFFF:08x}" for word in words] == row["words"]
            continue
        for dtype in (*definition.TYPES, "float64"):
            got = definition.drawn(TENSORS, row, getattr(torch, dtype)).tolist()
            text = row["float32" if dtype == "float64" else dtype]
            assert got == [float.fromhex(value) for value in text], (row, dtype)


def test_a_published_vector_of_threefry_is_drawn():
    """Counter and key zero, of Random123."""
    out = torch.empty(4, dtype=torch.int32)
    TENSORS.fill(out, None, bytes(16), 0, Distribution.BITS, (0.0, 0.0, 0.0, 0.0, 0, 0))
    words = " ".join(f"{word & 0xFFFFFFFF:08x}" for word in out.tolist())
    assert words == "9c6ca96a e17eae66 fc10ecd4 5256a7d8"


def test_the_position_of_a_cut_word_is_exact():
    """Its product has 64 bits: the ends and random words, against Python's integers."""
    words = torch.randint(-(2**31), 2**31, (500,), generator=torch.Generator().manual_seed(0))
    words = torch.cat([torch.tensor([-(2**31), -1, 0, 2**31 - 1]), words]).to(torch.int32)
    for first, span in ((0, 2**32), (12345, 2**32 - 54321), (2**32 - 2**16, 2**16), (7, 99991)):
        got = _tensors._moved(words, first, span).tolist()
        expected = [first + (((word + 2**31) * span) >> 32) - 2**31 for word in words.tolist()]
        assert got == expected


# ---- operations, and where they are ---------------------------------------------------------

# Each of them rounds once, to nearest, or not at all.
EXACT = {
    *("arange", "full_like", "stack", "gather", "where", "clamp_", "lt", "copy_", "_to_copy"),
    *("detach", "view", "unsqueeze", "slice"),
    *("add", "add_", "sub", "rsub", "mul", "mul_", "floor_divide", "remainder"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_xor_", "__lshift__", "__rshift__"),
}


class Watch(TorchDispatchMode):
    """Counts operations, the devices and types of their results, and the bytes alive at once."""

    def __init__(self, out):
        super().__init__()
        self.operations, self.devices, self.dtypes = Counter(), set(), set()
        self.alive = self.most = 0
        self.known = {out.untyped_storage()._cdata}

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        self.operations[function.overloadpacket.__name__] += 1
        for tensor in filter(torch.is_tensor, tree_leaves(result)):
            self.devices.add(tensor.device)
            self.dtypes.add(tensor.dtype)
            self._count(tensor.untyped_storage())
        return result

    def _count(self, storage):
        place, size = storage._cdata, storage.nbytes()
        if place not in self.known:
            self.known.add(place)
            self.alive += size
            self.most = max(self.most, self.alive)
            weakref.finalize(storage, self._forget, place, size)

    def _forget(self, place, size):
        self.known.discard(place)
        self.alive -= size


@cache
def watched(trial, dtype, region):
    """One draw on the meta device."""
    _, distribution, parameters = trial
    out = torch.empty(region.shape, dtype=dtype, device=META)
    with Watch(out) as watch:
        TENSORS.fill(out, region, bytes(16), 0, distribution, parameters)
    return watch


LARGE = 2 * _tensors.CHUNK + 5
PARTS = {
    "whole": Region.whole((LARGE,)),
    "rows": Region((LARGE, 9), (0, 3), (LARGE // 4, 4), (2, 1)),
    "step 3": Region((3 * LARGE,), (1,), (LARGE - 1,), (3,)),
    "column": Region((LARGE, 1 << 20), (0, 5), (LARGE, 1), (1, 1)),
}
KINDS = [(_devices.BITS, torch.int32), *((trial, torch.float32) for trial in _devices.VALUES[:3])]
KINDS += [(_devices.VALUES[1], torch.bfloat16), (_devices.VALUES[0], torch.float16)]
parts = pytest.mark.parametrize("region", PARTS.values(), ids=PARTS)
kinds = pytest.mark.parametrize(
    ("trial", "dtype"), KINDS, ids=[f"{trial[0]} {dtype}" for trial, dtype in KINDS]
)


@parts
@kinds
def test_every_operation_is_exactly_rounded_and_on_the_device_of_the_tensor(trial, dtype, region):
    """What no test here can run on a GPU rests on this: no sqrt, log, division or fused operation.

    Nor float64, which some devices lack, nor a value read back, for which a device is waited.
    """
    watch = watched(trial, dtype, region)
    assert set(watch.operations) <= EXACT
    assert watch.devices == {META}
    assert torch.float64 not in watch.dtypes


@parts
@kinds
def test_a_draw_of_any_size_takes_under_100_mb_beside_the_tensor(trial, dtype, region):
    """The tensor that is drawn may fill the device."""
    assert watched(trial, dtype, region).most < 100e6


LAYOUT = Layout((8, 6), "out in")
EVERYWHERE = [
    Constant(0.3),
    Uniform(-1, 1),
    Normal(0.1),
    Normal(0.1, 0.2, cut=2),
    VarianceScaling("relu"),
    VarianceScaling("relu", fan="avg", distribution="uniform"),
]


@pytest.mark.parametrize("initializer", EVERYWHERE, ids=repr)
@pytest.mark.parametrize(
    "layout", [LAYOUT, fanin.layout(nn.MultiheadAttention(6, 2), "in_proj_weight")], ids=str
)
def test_initializers_that_draw_on_any_device_use_nothing_of_the_cpu(initializer, layout):
    """Also where blocks are drawn apart: an operand of another device would be refused."""
    assert initializer.on_any_device
    out = torch.empty(layout.shape, device=META)
    with (
        patch.object(_stream, "engine", lambda: TENSORS),
        patch.object(_stream, "_checked", lambda _out, region, _dtypes: region),
        Watch(out) as watch,
    ):
        initializer.draw_into(out, layout, STREAM, None)
    assert watch.devices == {META}


# ---- who draws ------------------------------------------------------------------------------


@pytest.fixture
def asked():
    """As with FANIN_ENGINE=tensors."""
    _devices.trouble.cache_clear()
    with (
        patch.object(_engine, "engine", lambda: TENSORS),
        patch.object(_stream, "engine", lambda: TENSORS),
    ):
        yield
    _devices.trouble.cache_clear()


def test_other_devices_draw_only_where_it_is_asked_for(asked):
    """By default nothing changes: drawn on the CPU, and copied."""
    with patch.object(_engine, "trouble", lambda _device, _dtype: None):
        assert draws_on(torch.device("cuda"), torch.float32)
        with patch.object(_engine, "engine", lambda: OTHERS[-1]):
            assert not draws_on(torch.device("cuda"), torch.float32)
            assert draws_on(torch.device("cpu"), torch.float32)


def test_a_device_that_cannot_be_tried_does_not_draw(asked):
    """Meta has no numbers; CUDA is not in every build. Neither may end in an error."""
    assert not draws_on(META, torch.float32)
    reason = _devices.trouble(torch.device("xpu", 17), torch.float32)
    assert reason is not None
    assert "\n" not in reason


def fused(coefficients, t):
    """Horner's rule with one rounding for each product and sum, as a compiler may make it."""
    *lower, highest = (float.fromhex(c) for c in coefficients)
    result = torch.full_like(t, highest)
    for value in reversed(lower):
        result = (result.double() * t.double() + value).float()
    return result


def without_subnormals(values, word, distribution, parameters):
    value = values(word, distribution, parameters)
    return torch.where(value.abs() < 2.0**-126, torch.zeros_like(value), value)


def without_high_word(hashed, key, substream, counter):
    return hashed(key, substream, counter & 0xFFFFFFFF)


FAULTS = {
    "normal: ": ("_horner", lambda _right: fused),
    "subnormals of float32: ": ("_values", lambda right: partial(without_subnormals, right)),
    "uniform: ": ("_hashed", lambda right: partial(without_high_word, right)),
}


@pytest.mark.parametrize(("place", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_device_with_other_arithmetic_is_found_out(asked, request, place, fault):
    """Fused multiply-adds, flushed subnormals, narrow integers: what a device may do otherwise."""
    with patch.object(_tensors, place, fault(getattr(_tensors, place))):
        reason = _devices.trouble(torch.device("cpu"), torch.float32)
    what = next(name for name, case in FAULTS.items() if case[0] == place)
    assert reason is not None
    assert reason.startswith(what)
    assert "of 8192 numbers differ" in reason


def test_a_cast_that_cuts_instead_of_rounding_is_found_out(asked):
    """In the 16-bit types alone: each dtype is tried for itself."""
    cut = lambda value: (value.view(torch.int32) >> 16).to(torch.int16)
    with patch.object(_tensors, "_to_bfloat16", cut):
        report = _devices.report_on(torch.device("cpu"))
    assert report.draws == ("float32", "float64", "float16")
    assert report.trouble is not None
    assert report.trouble.startswith("bfloat16: uniform: ")


class TestPlaceOfTheDraw:
    """`fill_target` on the meta device, which stands for another one."""

    @staticmethod
    def places(tensor, *, drawn_there, on_any_device=True, fails=False):
        """The devices of the tensors that the draw was given, in turn."""
        given = []

        def draw(out):
            given.append(out.device.type)
            if fails and out.is_meta:
                raise torch.OutOfMemoryError("no room")
            if not out.is_meta:
                out.zero_()

        with patch.object(_target, "draws_on", lambda _device, _dtype: drawn_there):
            _target.fill_target(tensor, draw, on_any_device=on_any_device)
        return given

    def test_a_device_that_draws_is_given_its_own_tensor(self):
        assert self.places(torch.empty(3, device=META), drawn_there=True) == ["meta"]

    def test_a_device_that_does_not_is_copied_to(self):
        assert self.places(torch.empty(3, device=META), drawn_there=False) == ["cpu"]

    def test_an_initializer_that_needs_the_cpu_has_it(self):
        """Matrix products differ between devices, and a function of the user's may draw."""
        tensor = torch.empty(3, device=META)
        assert self.places(tensor, drawn_there=True, on_any_device=False) == ["cpu"]

    def test_a_device_without_room_for_a_draw_is_copied_to(self):
        """A copy takes no memory of the device, and the numbers are the same."""
        tensor = torch.empty(3, device=META)
        assert self.places(tensor, drawn_there=True, fails=True) == ["meta", "cpu"]

    def test_what_is_not_plain_memory_is_copied_to(self):
        tensor = torch.empty(3, 4, device=META).t()
        assert self.places(tensor, drawn_there=True) == ["cpu"]


def test_functions_of_the_user_s_and_matrices_are_drawn_on_the_cpu():
    """Their numbers come from the CPU's generator, or from products that devices round apart."""
    own = Custom(lambda tensor, layout: tensor.zero_())
    assert not any(one.on_any_device for one in (own, fanin.initializers.Orthogonal()))


def test_a_tensor_of_a_device_that_does_not_draw_is_refused_by_the_stream(asked):
    """Before anything is written; `fill_` copies there instead."""
    with pytest.raises(FaninError, match="contiguous CPU tensor"):
        _stream.fill_normal(torch.empty(3, device=META), Stream(0, ""), 0.0, 1.0)


def test_a_whole_plan_is_the_same_from_this_engine(asked):
    """Weights, biases, tables, and an orthogonal matrix whose draws it makes."""
    make = lambda: nn.Sequential(nn.Embedding(50, 24), nn.Linear(24, 40), nn.Linear(40, 8))
    plan = fanin.plan(make(), torch.zeros(2, 5, dtype=torch.int64))
    plan = plan.replace({"2.weight": fanin.initializers.Orthogonal()})
    found = make()
    plan.apply(found, seed=1)
    expected = make()
    with patch.object(_stream, "engine", lambda: OTHERS[-1]):
        plan.apply(expected, seed=1)
    for name, value in found.state_dict().items():
        assert torch.equal(value, expected.state_dict()[name]), name


def test_the_environment_variable_asks_for_this_engine(monkeypatch):
    engine.cache_clear()
    monkeypatch.setenv("FANIN_ENGINE", "tensors")
    try:
        report = describe()
        assert isinstance(engine(), TensorOperations)
    finally:
        engine.cache_clear()
    assert (report.name, report.instructions) == ("tensors", "torch operations")
    assert (report.library, report.why_not_native) == (None, "FANIN_ENGINE=tensors")


# ---- what doctor says -----------------------------------------------------------------------

GOOD = DeviceReport("cuda:0", ("float32", "bfloat16"), None)
PARTLY = DeviceReport("mps:0", ("float32",), "float64: TypeError: no float64")
BAD = DeviceReport("xpu:0", (), "float32: normal: 9 of 8192 numbers differ from the CPU's")
SAID = [
    (GOOD, "tensors", "draws float32, bfloat16; other dtypes are copied"),
    (
        GOOD,
        "native",
        "drawn on the CPU and copied; FANIN_ENGINE=tensors would draw float32, bfloat16 there",
    ),
    (PARTLY, "tensors", "draws float32; other dtypes are copied; not there: " + PARTLY.trouble),
    (BAD, "tensors", "drawn on the CPU and copied; not there: " + BAD.trouble),
    (BAD, "native", "drawn on the CPU and copied; not there: " + BAD.trouble),
]


@pytest.mark.parametrize(("report", "by", "said"), SAID)
def test_doctor_says_where_numbers_are_drawn_and_why(capsys, report, by, said):
    """A device that differs is not an error, since it is copied to; but it must be seen."""
    found = _engine.EngineReport(by, "x", 1, None, None)
    with (
        patch.object(_doctor, "describe", lambda: found),
        patch.object(_doctor, "devices", lambda: (report,)),
    ):
        assert _doctor.doctor()
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines[report.name] == said


def test_doctor_tries_the_devices_that_are_there(capsys):
    """The CPU stands for one."""
    with patch.object(_engine, "accelerators", lambda: (torch.device("cpu"),)):
        assert _doctor.doctor()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("cpu ")]
    assert "float32, float64, bfloat16, float16" in line
    assert "differ" not in line


def test_without_accelerators_there_are_no_other_devices():
    if torch.accelerator.is_available():
        pytest.skip("there is one")
    assert _devices.accelerators() == ()
    assert _engine.devices() == ()
