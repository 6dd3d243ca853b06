"""Whatever draws, with whatever instructions, on however many threads: the same bits."""

import os
import signal
import struct
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fanin import FaninError, _engine, _stream
from fanin._engine import Engine, Native, Plain, _native, describe, engine, levels
from fanin._stream import Region, Stream

PLAIN = Plain()
COMPILED = [Native(level) for level in levels()]
STREAM = Stream(3, "layers.0.weight")
FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
FILLS: dict[str, Callable[..., None]] = {
    "uniform": partial(_stream.fill_uniform, low=-0.3, high=0.7),
    "normal": partial(_stream.fill_normal, mean=0.1, std=0.02),
    "truncated": partial(_stream.fill_truncated_normal, mean=0.1, std=2.0, low=-2.0, high=1.5),
    "tail": partial(_stream.fill_truncated_normal, mean=0.0, std=1.0, low=2.5, high=float("inf")),
    "bits": _stream.fill_bits,
}

compiled = pytest.mark.skipif(not COMPILED, reason="fanin was built without a C compiler")
draws = st.sampled_from([(name, t) for name in FILLS if name != "bits" for t in FLOATS]) | st.just(
    ("bits", torch.int32)
)


def bits(value: Tensor) -> Tensor:
    """The same memory as integers: a comparison that sees the sign of zero."""
    return value.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[value.element_size()])


def drawn(
    by: Engine, fill: str, dtype: torch.dtype, region: Region, *, stream: Stream = STREAM
) -> Tensor:
    out = torch.empty(region.shape, dtype=dtype)
    with patch.object(_stream, "engine", lambda: by):
        FILLS[fill](out, stream, region=region)
    return bits(out)


@st.composite
def regions(draw: st.DrawFn) -> Region:
    """One to four axes with starts and steps; rows short and long, elements near and far."""
    axes = draw(st.integers(0, 3))
    full, start, count, step = [], [], [], []
    for axis in range(axes + 1):
        longest = 1500 if axis == axes else 9
        count.append(draw(st.integers(min(axes, 1), longest)))
        step.append(draw(st.integers(1, 9)))
        start.append(draw(st.integers(0, 2000)))
        full.append(start[-1] + count[-1] * step[-1] + draw(st.integers(0, 2000)))
    return Region(tuple(full), tuple(start), tuple(count), tuple(step))


def any_part(test):
    """Draws of every kind, of parts of every form."""
    for draw, region in (
        (("normal", torch.float32), Region.of((37, 2048), (slice(2, 30, 3), slice(1, 2000)))),
        (("normal", torch.float32), Region.of((37, 2048), (slice(2, 30), slice(1, 2000, 3)))),
        (("bits", torch.int32), Region.of((9, 40, 30), (slice(2, 5), slice(1, None, 2), 3))),
        (("uniform", torch.float16), Region.whole(())),
        (("uniform", torch.float16), Region.whole((4, 0))),
    ):
        test = example(draw, region)(test)
    return settings(max_examples=150)(given(draw=draws, region=regions())(test))


def near_carries(test):
    """Rows that lie on both sides of a multiple of 2^34, near and far apart."""
    drawn_from = given(
        block=st.integers(1, 2**26),
        before=st.integers(0, 3000),
        width=st.integers(1, 3000),
        step=st.sampled_from([1, 2, 3, 4, 7, 2**33, 2**34 + 1]),
    )
    return settings(max_examples=60)(drawn_from(test))


@compiled
@any_part
def test_any_part_in_any_type_is_the_same_from_every_engine(draw, region):
    """Rows, strides, joins of axes, odd starts: every path of the core against the definition."""
    expected = drawn(PLAIN, *draw, region)
    for native in COMPILED:
        assert torch.equal(drawn(native, *draw, region), expected), native.instructions


@compiled
@near_carries
def test_counters_carry_into_their_second_word(block, before, width, step):
    """Elements on both sides of a multiple of 2^34, near and far apart."""
    start = block * 2**34 - before
    region = Region((2**62,), (start,), (width,), (step,))
    expected = drawn(PLAIN, "bits", torch.int32, region)
    for native in COMPILED:
        assert torch.equal(drawn(native, "bits", torch.int32, region), expected)


@compiled
@pytest.mark.parametrize("name", ["uniform", "normal", "truncated"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_draw_too_large_for_the_cache_is_the_same(name, dtype):
    """Large draws are written another way, on several threads."""
    region = Region.whole((2**22 + 5,))
    expected = drawn(PLAIN, name, dtype, region)
    for native in COMPILED:
        assert torch.equal(drawn(native, name, dtype, region), expected), native.instructions


@compiled
@pytest.mark.parametrize("offset", [1, 2, 3, 5])
def test_where_the_output_lies_in_memory_does_not_matter(offset):
    """Views start anywhere: alignment may choose instructions, never values."""
    count = 2**22 + 77
    expected = drawn(COMPILED[-1], "normal", torch.float32, Region.whole((count,)))
    memory = torch.zeros(count + 8)
    with patch.object(_stream, "engine", lambda: COMPILED[-1]):
        FILLS["normal"](memory[offset : offset + count], STREAM)
    assert torch.equal(bits(memory[offset : offset + count]), expected)
    assert not memory[:offset].any()
    assert not memory[offset + count :].any()


@compiled
@pytest.mark.parametrize(
    "region", [Region.whole((2**20 + 3,)), Region.of((2**20, 9), (slice(None), slice(1, 3)))]
)
def test_the_number_of_threads_does_not_matter(region):
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 16):
            torch.set_num_threads(threads)
            results.append(drawn(COMPILED[-1], "normal", torch.float32, region))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


@compiled
def test_a_draw_in_many_calls_is_the_draw_in_one():
    """Long draws are cut so that Ctrl-C is heard; the cuts must not show."""
    region = Region.of((50, 400), (slice(1, None, 2), slice(3, 390)))
    expected = drawn(COMPILED[-1], "normal", torch.float32, region)
    with patch.object(_native, "UNINTERRUPTED", 1001):
        assert torch.equal(drawn(COMPILED[-1], "normal", torch.float32, region), expected)


@compiled
def test_flushing_subnormals_does_not_change_the_core_s_numbers():
    """torch.set_flush_denormal is a setting of the caller's thread; the stream has none."""
    tiny = partial(_stream.fill_normal, mean=0.0, std=1e-38)
    expected, flushed = torch.empty(100), torch.empty(100)
    with patch.object(_stream, "engine", lambda: COMPILED[-1]):
        tiny(expected, STREAM)
        assert torch.set_flush_denormal(True)
        try:
            tiny(flushed, STREAM)
        finally:
            torch.set_flush_denormal(False)
    assert torch.equal(bits(flushed), bits(expected))
    assert ((expected.abs() < 1.17e-38) & (expected != 0)).any()


@compiled
def test_draws_in_several_threads_at_once_do_not_meet():
    region = Region.whole((2**20,))
    streams = [Stream(0, str(number)) for number in range(8)]
    draw = partial(drawn, COMPILED[-1], "normal", torch.float32, region)
    results: dict[int, Tensor] = {}

    def run(number: int) -> None:
        out = torch.empty(region.shape)
        FILLS["normal"](out, streams[number])
        results[number] = bits(out)

    with patch.object(_stream, "engine", lambda: COMPILED[-1]):
        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(torch.equal(results[n], draw(stream=streams[n])) for n in range(8))


@compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_draws_the_same_on_threads():
    """Data loaders fork after the model is made: no thread may be left that a child misses."""
    region = Region.whole((2**20,))
    expected = drawn(COMPILED[-1], "normal", torch.float32, region)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest may have threads of its own
        child = os.fork()
    if child == 0:
        same = False
        try:
            again = drawn(COMPILED[-1], "normal", torch.float32, region)
            same = again.numpy().tobytes() == expected.numpy().tobytes()
        finally:
            os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@compiled
def test_an_interrupt_stops_a_long_draw_and_leaves_no_thread_writing():
    """Ctrl-C is raised once the core has returned; the next draw is whole and right."""
    out = torch.empty(2**22)

    def draw_for_ever() -> None:
        while True:
            FILLS["normal"](out, STREAM)

    main = threading.get_ident()
    if main != threading.main_thread().ident:
        pytest.skip("Python raises signals in the main thread only")
    timer = threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT))
    with patch.object(_stream, "engine", lambda: COMPILED[-1]):
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the timer may be early
            timer.start()
            draw_for_ever()
        timer.join()
        out.zero_()
        assert not out.any()
        FILLS["normal"](out, STREAM)
    expected = drawn(COMPILED[0], "normal", torch.float32, Region.whole((2**22,)))
    assert torch.equal(bits(out), expected)


@pytest.mark.parametrize(("wanted", "kind"), [("plain", Plain), ("native", Native)])
def test_the_environment_variable_forces_an_engine(wanted, kind):
    if kind is Native and not COMPILED:
        pytest.skip("fanin was built without a C compiler")
    assert isinstance(_engine._choose(wanted), kind)


def test_an_unknown_engine_is_refused_with_the_nearest_name():
    with pytest.raises(FaninError, match=r"found: nativ\n.*set it to native"):
        _engine._choose("nativ")


def test_without_the_library_numpy_draws_and_the_report_says_why():
    """An installation without a compiler works, and says what it lacks."""
    missing = Path("/nowhere/libcore.so")
    engine.cache_clear()
    try:
        with (
            patch.object(_native, "library_path", lambda: missing),
            patch.dict(os.environ, {"FANIN_ENGINE": ""}),
        ):
            report = describe()
            assert levels() == ()
            assert (report.name, report.instructions, report.library) == ("plain", "numpy", None)
            assert report.why_not_native is not None
            assert "/nowhere/libcore.so" in report.why_not_native
            with pytest.raises(FaninError, match="does not load"):
                _engine._choose("native")
    finally:
        engine.cache_clear()


@compiled
def test_a_library_of_another_version_is_not_called():
    """It would read the request wrongly: memory, not only numbers, would be at risk."""
    with (
        patch.object(_native, "REQUEST", struct.Struct("=i")),
        pytest.raises(OSError, match="another version"),
    ):
        Native()


@compiled
def test_the_report_names_the_core_and_its_instructions():
    engine.cache_clear()
    with patch.dict(os.environ, {"FANIN_ENGINE": "native"}):
        report = describe()
    engine.cache_clear()
    assert report.name == "native"
    assert report.instructions == levels()[-1]
    assert report.library == str(_native.library_path())
    assert report.why_not_native is None
