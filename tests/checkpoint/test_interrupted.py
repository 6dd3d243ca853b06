"""Killed, interrupted, or out of room: no half file under a final name, and the rest goes on."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.checkpoint.samples import BATCH, contents, mlp, on_meta
from tests.checkpoint.worker import planned

import fanin
from fanin import FaninError
from fanin._checkpoint import _directory, _journal, _shard, _write

HERE = Path(__file__).parent
write = fanin.write_checkpoint


@pytest.fixture(scope="module")
def plan():
    return fanin.plan(mlp(), BATCH)


@pytest.fixture
def whole(plan, tmp_path):
    """What an undisturbed call writes: three files and their index."""
    write(plan, on_meta(mlp), tmp_path / "whole", seed=0, shard_size=1000)
    return contents(tmp_path / "whole")


class Writer:
    """Processes that write the worker's checkpoint, one after the other."""

    def __init__(self, process):
        self._process = process

    def _run(self, directory, kind, seconds):
        self._process.stdin.write(f"{directory} {kind} {seconds}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def whole(self, directory, kind):
        """Let it run; returns the seconds."""
        began = time.perf_counter()
        assert self._run(directory, kind, 0) == 0
        return time.perf_counter() - began

    def killed(self, directory, kind, after):
        """kill -9 after so many seconds."""
        assert self._run(directory, kind, after) in (0, signal.SIGKILL)


@pytest.fixture(scope="module")
def writer():
    environment = {**os.environ, "PYTHONPATH": str(Path(fanin.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, str(HERE / "worker.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    with process:
        yield Writer(process)
        process.stdin.close()


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(2))
def test_killed_at_any_moment_and_begun_again_it_is_complete_and_identical(
    attempt, writer, tmp_path
):
    """kill -9 leaves no time to tidy up: what has its name must be whole at every moment."""
    duration = writer.whole(tmp_path / "whole", "safetensors")
    wanted = contents(tmp_path / "whole")
    moments = random.Random(attempt)
    for turn in range(10):
        if turn % 5 == 0:
            directory = tmp_path / str(turn)
        writer.killed(directory, "safetensors", moments.uniform(0, duration))
        found = contents(directory) if directory.exists() else {}
        assert all(found[name] == wanted[name] for name in found)
        if turn % 5 == 4:
            writer.whole(directory, "safetensors")
            assert contents(directory) == wanted


@pytest.mark.slow
def test_a_distributed_checkpoint_that_was_killed_is_written_anew(writer, tmp_path):
    """torch sees none before the last file has its name."""
    from torch.distributed import checkpoint

    out, whole = tmp_path / "out", tmp_path / "whole"
    duration = writer.whole(whole, "dcp")
    moments = random.Random(0)
    for _ in range(6):
        writer.killed(out, "dcp", moments.uniform(0, duration))
        if (out / ".metadata").exists():
            assert len(list(out.glob("*.distcp"))) == len(list(whole.glob("*.distcp")))
    writer.whole(out, "dcp")
    model, plan = planned()
    plan.materialize(model, seed=0, dtype=torch.bfloat16)
    state = {name: torch.zeros_like(one) for name, one in model.state_dict().items()}
    with pytest.warns(UserWarning, match="single process"):
        checkpoint.load(state, checkpoint_id=out, no_dist=True)
    assert all(torch.equal(state[name], one) for name, one in model.state_dict().items())


STEPS = {
    "the first byte": (_shard, "header_of", 1),
    "a draw in the second file": (_shard, "Check", 5),
    "the journal": (_journal, "write_text", 2),
    "the directory": (_journal, "_sync", 2),
    "the index": (_write, "index_of", 1),
}


@pytest.mark.parametrize(("place", "name", "turn"), STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_stopped_at_any_step_it_goes_on(plan, tmp_path, whole, failure, place, name, turn):
    """Ctrl-C and a full disk at each kind of step; what is complete is the same."""
    count, real = 0, getattr(place, name)

    def fails(*arguments, **options):
        nonlocal count
        count += 1
        if count == turn:
            raise failure
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, fails)
        with pytest.raises((KeyboardInterrupt, FaninError, OSError)):
            write(plan, on_meta(mlp), tmp_path / "out", seed=0, shard_size=1000)
    assert count == turn
    left = contents(tmp_path / "out")
    assert all(left[name] == whole[name] for name in left)
    write(plan, on_meta(mlp), tmp_path / "out", seed=0, shard_size=1000)
    assert contents(tmp_path / "out") == whole


def test_what_is_complete_is_not_drawn_again(plan, tmp_path):
    """Only then is a large checkpoint worth going on with."""
    drawn = []

    def noted(path, items, **options):
        drawn.append(path.name)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return _shard.write_shard(path, items, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_write, "write_shard", noted)
        with pytest.raises(KeyboardInterrupt):
            write(plan, on_meta(mlp), tmp_path, seed=0, shard_size=1000)
        write(plan, on_meta(mlp), tmp_path, seed=0, shard_size=1000)
    first, *rest = (f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3))
    assert drawn == [first, rest[0], *rest]


@pytest.mark.parametrize("kind", ["safetensors", "dcp"])
def test_a_file_larger_than_the_system_allows_is_a_sentence(plan, tmp_path, kind):
    """As a full disk, by a real failure to write in the middle of a file; torch's says nothing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        with pytest.raises(FaninError, match="could not be written") as error:
            write(plan, on_meta(mlp), tmp_path / "out", seed=0, format=kind)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in error.value.found
    assert list(tmp_path.iterdir()) == []
    write(plan, on_meta(mlp), tmp_path / "out", seed=0, format=kind)
    assert list((tmp_path / "out").glob("*.safetensors" if kind == "safetensors" else ".metadata"))


def test_too_little_room_is_said_before_anything_is_drawn(plan, tmp_path, monkeypatch):
    """Not after an hour."""
    monkeypatch.setattr(_directory.shutil, "disk_usage", lambda _: _Usage())
    for kind in ("safetensors", "dcp"):
        with pytest.raises(FaninError, match="not enough room"):
            write(plan, on_meta(mlp), tmp_path / "out", seed=0, format=kind)
        assert list(tmp_path.iterdir()) == []


class _Usage:
    free = 100


REASONS = {
    "make room": errno.ENOSPC,
    "can be written to": errno.EROFS,
    "allow larger files": errno.EFBIG,
    "mend it": errno.EIO,
}


@pytest.mark.parametrize(("says", "number"), REASONS.items(), ids=REASONS)
@pytest.mark.parametrize("kind", ["safetensors", "dcp"])
def test_the_way_out_of_an_error_of_the_system_is_that_of_the_error(
    plan, tmp_path, monkeypatch, kind, says, number
):
    """There is nothing to make room for on a disk that is read-only."""

    def fails(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_directory.Path, "mkdir", fails)
    with pytest.raises(FaninError, match="could not be written") as error:
        write(plan, on_meta(mlp), tmp_path / "out", seed=0, format=kind)
    assert says in error.value.fix
    assert ("make room" in error.value.fix) == (says == "make room")


def test_an_unfinished_file_of_a_killed_process_is_written_over(plan, tmp_path, whole):
    """Where it is says that it is no checkpoint; also one of another size of files goes."""
    beside = tmp_path / "out" / ".fanin-unfinished"
    beside.mkdir(parents=True)
    for name in ("model-00001-of-00003.safetensors", "model-00001-of-00009.safetensors"):
        (beside / name).write_bytes(b"half" * 5000)
    write(plan, on_meta(mlp), tmp_path / "out", seed=0, shard_size=1000)
    assert contents(tmp_path / "out") == whole
