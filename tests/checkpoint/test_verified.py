"""``fanin verify`` of what ``fanin checkpoint`` wrote: one plan of a TARGET, and what it keeps."""

from textwrap import dedent

import pytest
import torch
from tests.checkpoint.samples import read
from tests.laws.test_missing import write_safetensors

import fanin
from fanin._cli import main
from fanin.initializers import Ones

NET = """
    import torch
    from torch import nn

    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 5))

    class Token(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.token = nn.Linear(8, 5), nn.Parameter(torch.randn(5))

        def forward(self, x):
            return torch.cat([self.fc(x), self.token.expand(4, 5)])

    class Scaled(Net):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.full((5,), 2.0))
            nn.init.zeros_(self[3].weight)

        def forward(self, x):
            return super().forward(x) * self.scale

    built = Net()
"""
INPUT = ("--input", "4x8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory with net.py, where commands are given."""
    (tmp_path / "net.py").write_text(dedent(NET), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(target, *words):
    assert main(["checkpoint", f"net.py:{target}", *INPUT, "--out", "out", *words]) == 0


def verified(capsys, target, *words, code, place="out"):
    """What the command prints."""
    capsys.readouterr()
    given = () if target.endswith(".json") else INPUT
    name = target if given == () else f"net.py:{target}"
    assert main(["verify", name, place, *given, *words]) == code
    return capsys.readouterr()


def spoil(folder, name, value):
    """The one file of the checkpoint with another tensor."""
    path = folder / "out" / "model.safetensors"
    tensors, _ = read(path)
    tensors[name] = torch.full_like(tensors[name], value)
    write_safetensors(path, tensors)


def test_the_same_target_is_planned_the_same_way(folder, capsys):
    """So that what the one command fills the other compares: norms have no values on meta."""
    written("Net")
    assert "6 equal" in verified(capsys, "Net", code=0).out
    spoil(folder, "1.weight", float("nan"))
    assert "1.weight" in verified(capsys, "Net", code=1).out
    (folder / "out" / "fanin-checkpoint.json").unlink()
    assert "1.weight" in verified(capsys, "Net", code=1).out


@pytest.mark.parametrize("target", ["Scaled", "Token", "built"])
def test_what_was_planned_in_memory_is_planned_in_memory(folder, capsys, target):
    """As the journal's checksum says, or where there is no other way."""
    written(target, "--in-memory", "--seed", "3")
    printed = verified(capsys, target, "--seed", "3", code=0)
    assert ", in memory: " in printed.out
    assert "\nkept, with the bytes that fanin-checkpoint.json says: " in printed.out
    assert not printed.err
    assert verified(capsys, target, "--seed", "3", "--in-memory", code=0).out


@pytest.mark.parametrize("value", [float("nan"), 3.0])
@pytest.mark.parametrize("place", ["out", "out/model.safetensors"])
def test_a_kept_tensor_that_was_changed_is_different(folder, capsys, value, place):
    """Its CRC is in the journal, though its numbers are in no plan."""
    written("Scaled", "--in-memory")
    assert verified(capsys, "Scaled", code=0, place=place)
    spoil(folder, "scale", value)
    printed = verified(capsys, "Scaled", code=1, place=place).out
    assert "scale" in printed
    assert "kept, with other bytes than fanin-checkpoint.json says" in printed


def test_a_kept_tensor_that_is_gone_is_missing(folder, capsys):
    """A model would load without it, or not."""
    written("Scaled", "--in-memory")
    path = folder / "out" / "model.safetensors"
    tensors = {name: one for name, one in read(path)[0].items() if name != "scale"}
    write_safetensors(path, tensors)
    assert "1 missing" in verified(capsys, "Scaled", code=1).out


def test_the_numbers_of_a_plan_in_a_checkpoint_of_another_are_no_proof(folder, capsys):
    """Both checksums are named, and the way out; a difference is a difference as ever."""
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 8), torch.nn.LayerNorm(8), torch.nn.ReLU(), torch.nn.Linear(8, 5)
    )
    plan = fanin.plan(model, torch.ones(4, 8))
    other = plan.replace({"1.weight": Ones})
    plan.save("plan.json")
    other.save("other.json")
    fanin.write_checkpoint(other, model, "out", seed=0)
    assert verified(capsys, "other.json", code=0).out
    refused = verified(capsys, "plan.json", code=2)
    assert (plan.checksum in refused.err, other.checksum in refused.err) == (True, True)
    assert "from another plan" in refused.err
    assert not refused.out
    different = verified(capsys, "plan.json", "--seed", "1", code=1)
    assert "does NOT hold" in different.out
    assert other.checksum in different.err


def test_another_recipe_is_different_and_says_of_which_plan_the_checkpoint_is(folder, capsys):
    """The likely cause."""
    written("Net", "--recipe", "kaiming")
    printed = verified(capsys, "Net", "--recipe", "xavier", code=1)
    assert "written from another plan" in printed.err
    assert verified(capsys, "Net", "--recipe", "kaiming", code=0).out


def test_a_start_in_memory_without_a_journal_is_told_of_the_option(folder, capsys):
    """Zeros that a model declares are drawn on the meta device, where they have no values."""
    torch.manual_seed(0)
    names = {}
    exec(dedent(NET), names)  # noqa: S102 - the text above
    model = names["Scaled"]()
    fanin.plan(model, torch.ones(4, 8)).apply(model, seed=0)
    write_safetensors(folder / "start.safetensors", model.state_dict())
    different = verified(capsys, "Scaled", code=1, place="start.safetensors")
    assert "--in-memory also keeps" in different.err
    assert not verified(capsys, "Scaled", "--in-memory", code=0, place="start.safetensors").err


def test_a_journal_that_cannot_be_read_is_no_answer(folder, capsys):
    """What was kept is not known then."""
    written("Net")
    (folder / "out" / "fanin-checkpoint.json").write_text("{}")
    refused = verified(capsys, "Net", code=2).err
    assert "cannot be read" in refused
    assert "move this file away" in refused


def test_a_checkpoint_beside_another_ones_journal_is_not_of_it(folder, capsys):
    """The journal lists its files."""
    written("Net", "--recipe", "xavier")
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 8), torch.nn.LayerNorm(8), torch.nn.ReLU(), torch.nn.Linear(8, 5)
    )
    fanin.plan(model, torch.ones(4, 8)).apply(model, seed=0)
    write_safetensors(folder / "out" / "mine.safetensors", model.state_dict())
    assert not verified(capsys, "Net", code=0, place="out/mine.safetensors").err


def test_a_model_is_made_in_one_way(folder, capsys):
    """Two options that say the opposite."""
    written("Net")
    assert "in one way" in verified(capsys, "Net", "--meta", "--in-memory", code=2).err


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, about one process
def test_a_distributed_checkpoint_has_the_checksums_of_what_was_kept(folder, capsys):
    """They are those of the values at the start of the call."""
    written("Scaled", "--in-memory", "--format", "dcp")
    assert "fanin-checkpoint.json says: 4 of 4" in verified(capsys, "Scaled", code=0).out
