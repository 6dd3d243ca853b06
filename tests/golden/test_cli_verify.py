"""``fanin verify``, word for word, and its exit codes.

The texts are in ``cli_verify.txt``, as a terminal shows them. To change them on purpose: run this
file (``python -m tests.golden.test_cli_verify``), read the difference, and commit it with its
reason.
"""

import json
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from tests.golden.commands import transcript
from tests.hosts.pages import blocks
from tests.laws.test_missing import write_safetensors
from torch import nn

import fanin
from fanin._cli import main

GOLDEN = Path(__file__).parent / "cli_verify.txt"

NET = """
    from torch import nn

    class Net(nn.Sequential):
        def __init__(self, width=16):
            super().__init__(
                nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, 10)
            )
"""

TRANSCRIPT = (
    "fanin verify net.json start.safetensors",
    "fanin verify net.json start.safetensors --seed 1",
    "fanin verify net.json trained.pt",
    "fanin verify net.json older.pt",
    "fanin verify net.py:Net start.safetensors --input 64x16 --recipe kaiming",
    "fanin verify net.py:Net start.safetensors --input 64x16 --recipe kaiming --in-memory",
    "fanin verify net.py:Net start.safetensors --input 64x16 --recipe xavier",
    "fanin verify net.py:Net written --input 64x16 --recipe kaiming",
    "fanin verify net.py:Net written --input 64x16 --recipe xavier",
    "fanin verify net.json written",
    "fanin verify net.json start.safetensors --in-memory",
    "fanin verify net.json start.safetensors --recipe gpt2",
    "fanin verify net.json strat.safetensors",
    "fanin verify net.json net.py",
    "fanin verify net.json .",
    "fanin verify net.json broken.safetensors",
    "fanin verify nett.json start.safetensors",
)


def net():
    return nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 10))


def write_files(folder):
    """A model, its plan, and checkpoints: the start, one step later, an older one, and fanin's."""
    (folder / "net.py").write_text(dedent(NET), encoding="utf-8")
    model = net()
    plan = fanin.plan(model, torch.ones(64, 16), recipe=fanin.recipes.kaiming)
    plan.save(folder / "net.json")
    plan.apply(model, seed=0)
    write_safetensors(folder / "start.safetensors", model.state_dict())
    with torch.device("meta"):
        empty = net()
    planned = fanin.plan(empty, torch.ones(64, 16), recipe=fanin.recipes.kaiming)
    fanin.write_checkpoint(planned, empty, folder / "written", seed=0)
    older = {name: tensor for name, tensor in model.state_dict().items() if name != "3.bias"}
    torch.save({**older, "scale": torch.ones(3)}, folder / "older.pt")
    with torch.no_grad():
        model[3].weight[2, 7] += 0.25
    torch.save({"model": model.state_dict(), "step": 1}, folder / "trained.pt")
    whole = (folder / "start.safetensors").read_bytes()
    (folder / "broken.safetensors").write_bytes(whole[:-100])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory with the files, which is the current one."""
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_text_is_as_written():
    """What a user reads changes only on purpose."""
    assert transcript(TRANSCRIPT, write_files) == GOLDEN.read_text(encoding="utf-8")


def test_the_page_shows_what_is_printed():
    """Its commands are among those above."""
    shown = blocks("verify-a-start.md", "console")
    assert shown
    for block in shown:
        assert block in GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["start.safetensors"], 0),
        (["start.safetensors", "--seed", "0"], 0),
        (["start.safetensors", "--seed", "1"], 1),
        (["trained.pt"], 1),
        (["older.pt"], 1),
        (["nothing.pt"], 2),
        (["start.safetensors", "--seed", "-1"], 2),
        ([], 2),
    ],
)
def test_the_exit_code_is_the_verdict(folder, words, code):
    """0 equal, 1 different, 2 no answer."""
    assert main(["verify", "net.json", *words]) == code


@pytest.mark.parametrize(("checkpoint", "ok"), [("start.safetensors", 0), ("trained.pt", 1)])
def test_json_is_the_record_and_nothing_else(folder, checkpoint, ok, capsys):
    """The same as of `Plan.verify`."""
    assert main(["verify", "net.json", checkpoint, "--json"]) == ok
    data = json.loads(capsys.readouterr().out)
    record = fanin.Plan.load("net.json").verify(checkpoint, seed=0)
    assert data == json.loads(record.to_json())
    assert {one["state"] for one in data["tensors"]} >= {"equal", "not drawn"}


def test_a_checkpoint_that_is_not_there_is_told_before_the_model_is_made(folder, capsys):
    """Making it may take minutes."""
    assert main(["verify", "nothing.py:Net", "nothing.pt"]) == 2
    assert "there is no such checkpoint" in capsys.readouterr().err


if __name__ == "__main__":
    GOLDEN.write_text(transcript(TRANSCRIPT, write_files), encoding="utf-8")
