"""``format="dcp"``: read by torch.distributed.checkpoint, whole and resharded."""

import pytest
import torch
from tests.checkpoint.samples import TOKENS, Tied, mlp, on_meta, same
from torch.distributed import checkpoint

import fanin
from fanin import FaninError
from fanin._checkpoint import _dcp
from fanin.initializers import Custom

write = fanin.write_checkpoint


@pytest.fixture(scope="module")
def plan():
    return fanin.plan(Tied(), TOKENS)


def loaded(model, directory):
    """The state dict as torch reads it."""
    state = {name: torch.zeros_like(one) for name, one in model.state_dict().items()}
    with pytest.warns(UserWarning, match="single process"):
        checkpoint.load(state, checkpoint_id=directory, no_dist=True)
    return state


@pytest.mark.parametrize("most", [1 << 27, 256])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_torch_reads_what_materialize_gives(plan, most, dtype, tmp_path, monkeypatch):
    """Every name of the state dict, tied ones too, however small the parts are."""
    monkeypatch.setattr(_dcp, "_MOST", most)
    model, told = on_meta(Tied), []
    receipt = write(
        plan,
        model,
        tmp_path / "out",
        seed=3,
        dtype=dtype,
        format="dcp",
        progress=lambda *numbers: told.append(numbers),
    )
    model.scale = torch.ones(1)
    plan.materialize(model, seed=3, dtype=dtype)
    state, found = model.state_dict(), loaded(model, tmp_path / "out")
    assert all(same(found[name], state[name]) for name in state)
    assert told[-1] == (receipt.size, receipt.size)
    assert {file.name for file in receipt.files} == {
        path.name for path in (tmp_path / "out").glob("*.distcp")
    }


def test_the_same_call_again_keeps_it(plan, tmp_path):
    """And reads no number."""
    first = write(plan, on_meta(Tied), tmp_path, seed=0, format="dcp")
    times = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.distcp"))]
    assert write(plan, on_meta(Tied), tmp_path, seed=0, format="dcp") == first
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.distcp"))] == times


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_stopped_it_leaves_nothing_and_begins_anew(plan, tmp_path, failure):
    """torch wraps what fails while it writes; here it comes out as it was."""

    def fails(tensor, layout):
        raise failure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_dcp, "_described", lambda *a: fails(None, None))
        with pytest.raises((KeyboardInterrupt, FaninError)):
            write(plan, on_meta(Tied), tmp_path, seed=0, format="dcp")
    assert list(tmp_path.iterdir()) == []
    write(plan, on_meta(Tied), tmp_path, seed=0, format="dcp")
    assert (tmp_path / ".metadata").exists()


def test_code_of_the_users_that_fails_is_named(tmp_path):
    """Through torch's wrapping."""

    def fails(tensor, layout):
        raise RuntimeError("not today")

    with torch.device("meta"):
        model, batch = mlp(), torch.ones(8, 20)
    plan = fanin.plan(model, batch).replace({"0.weight": Custom(fails)})
    with pytest.raises(FaninError, match="not today"):
        write(plan, model, tmp_path / "out", seed=0, format="dcp")


def test_somebody_elses_checkpoint_is_not_overwritten(plan, tmp_path):
    """Also one that torch wrote."""
    with pytest.warns(UserWarning, match="single process"):
        checkpoint.save({"a": torch.ones(2)}, checkpoint_id=tmp_path / "out", no_dist=True)
    with pytest.raises(FaninError, match="nothing is overwritten"):
        write(plan, on_meta(Tied), tmp_path / "out", seed=0, format="dcp")


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_file_that_is_gone_or_cut_is_named_and_all_are_written_anew(plan, tmp_path, change):
    """torch would read the rest, and fail in the middle."""
    first = write(plan, on_meta(Tied), tmp_path, seed=0, format="dcp")
    change(tmp_path / first.files[3].name)
    with pytest.raises(FaninError, match=f"was changed(?s:.*){first.files[3].name}"):
        write(plan, on_meta(Tied), tmp_path, seed=0, format="dcp")
    (tmp_path / ".metadata").unlink()
    assert write(plan, on_meta(Tied), tmp_path, seed=0, format="dcp") == first


def test_a_failure_of_torchs_writer_is_a_sentence_about_room(plan, tmp_path, monkeypatch):
    """On a full disk it says that a position is unexpected, and nothing of the disk."""

    def fails(*_, **__):
        raise RuntimeError("unexpected pos 704 vs 598")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(FaninError, match=r"unexpected pos 704 vs 598; .* free") as error:
        write(plan, on_meta(Tied), tmp_path / "out", seed=0, format="dcp")
    assert error.value.fix.startswith("make room")
    assert list(tmp_path.iterdir()) == []


def test_the_room_that_is_asked_for_is_that_of_the_files(plan, tmp_path, monkeypatch):
    """Tied tensors are there twice, and each part is a file with a frame of its own."""
    asked = []
    monkeypatch.setattr(_dcp, "require_room", lambda _, size: asked.append(size))
    receipt = write(plan, on_meta(Tied), tmp_path, seed=0, format="dcp")
    written = sum(file.size for file in receipt.files)
    assert receipt.size < written <= asked[0] < 1.5 * written
