"""``fanin checkpoint``: what it writes, prints and refuses, and what Ctrl-C keeps."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from tests.checkpoint.samples import contents, read_all, same

import fanin
from fanin._cli import _checkpoint, main

NET = """
    import torch
    from torch import nn

    def make(width=30):
        print("the user's code prints")
        return nn.Sequential(nn.Linear(20, width), nn.ReLU(), nn.Linear(width, 5))

    class Tables(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(20, 5)
            self.register_buffer("angles", torch.arange(5.0).sin())

        def forward(self, x):
            return self.fc(x) + self.angles

    def branching():
        rate = torch.linspace(0, 1, 3)[1].item()
        return nn.Sequential(nn.Linear(20, 5), nn.Dropout(rate))

    built = make()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory with net.py, where the command is given."""
    (tmp_path / "net.py").write_text(dedent(NET), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words, capsys, code=0):
    """What a command prints."""
    assert main(["checkpoint", *words.split()]) == code
    return capsys.readouterr()


def test_it_writes_what_the_plan_draws(folder, capsys):
    """And says so in two lines; what the user's code prints is apart."""
    printed = run(
        "net.py:make --set width=40 --input 8x20 --recipe kaiming --dtype bf16 --seed 3 --out out",
        capsys,
    )
    assert printed.out.splitlines()[0] == "made by net.py:make(width=40), run on what --input says"
    assert printed.out.splitlines()[1].startswith("written to out: 4 tensors, 2.09 kB in 1 file")
    assert "the user's code prints" in printed.err
    model = torch.nn.Sequential(
        torch.nn.Linear(20, 40), torch.nn.ReLU(), torch.nn.Linear(40, 5)
    ).bfloat16()
    plan = fanin.plan(model.float(), torch.ones(8, 20), recipe=fanin.recipes.kaiming)
    plan.apply(model.bfloat16(), seed=3)
    found = read_all(folder / "out")
    assert all(same(found[name], one) for name, one in model.state_dict().items())


def test_the_same_command_goes_on_and_another_is_refused(folder, capsys):
    """Exit code 2, and the difference by name."""
    words = "net.py:make --input 8x20 --shard-size 1KB --out out"
    run(words, capsys)
    before = contents(folder / "out")
    (folder / "out" / "model-00001-of-00002.safetensors").unlink()
    run(words, capsys)
    assert contents(folder / "out") == before
    assert "the seed: 0 there, 1 here" in run(f"{words} --seed 1", capsys, code=2).err


def test_a_saved_plan_needs_no_batch(folder, capsys):
    """The same files as by the recipe that it was made with."""
    run("net.py:make --input 8x20 --recipe orthogonal --out first", capsys)
    words = "plan net.py:make --input 8x20 --recipe orthogonal --save plan.json"
    assert main(words.split()) == 0
    run("net.py:make --plan plan.json --out second", capsys)
    assert contents(folder / "first") == contents(folder / "second")
    refused = run("net.py:make --plan plan.json --recipe kaiming --out x", capsys, code=2)
    assert "a saved plan needs no recipe" in refused.err
    assert "holds no model" in run("plan.json --out x", capsys, code=2).err


def test_json_is_the_receipt_and_nothing_else(folder, capsys):
    """For scripts."""
    printed = run("net.py:make --input 8x20 --out out --json", capsys)
    assert json.loads(printed.out)["files"][0]["name"] == "model.safetensors"


def test_a_model_that_needs_memory_is_told_of_the_option(folder, capsys):
    """Both where its code does not run without, and where values are not known."""
    for target, says in (("Tables", "angles"), ("branching", "item")):
        words = f"net.py:{target} --input 8x20 --out {target}"
        refused = run(words, capsys, code=2).err
        assert says in refused
        assert "--in-memory" in refused
        assert not (folder / target).exists()
        run(f"{words} --in-memory", capsys)
    assert read_all(folder / "Tables")["angles"].equal(torch.arange(5.0).sin())


def test_a_model_that_is_made_already_is_written(folder, capsys):
    """It has memory, and the plan of it draws."""
    run("net.py:built --input 8x20 --out out", capsys)
    run("net.py:make --input 8x20 --out other", capsys)
    assert contents(folder / "out") == contents(folder / "other")


def test_the_other_format_is_torchs(folder, capsys):
    """Named on the command line."""
    run("net.py:make --input 8x20 --out out --format dcp", capsys)
    assert (folder / "out" / ".metadata").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("net.py:make --input 8x20 --out net.py/b", "no place for a checkpoint"),
        ("net.py:make --input 8x20 --out net.py", "no place for a checkpoint"),
        ("net.py:make --input 8x20 --out out --dtype int8", "use one of"),
        ("net.py:make --input 8x20 --out out --shard-size big", "no size of a file"),
        ("net.py:make --out out", "does not say what it runs on"),
        ("net.py:make --input 8x20 --out out --recipe stedy", "use one of: steady"),
        ("net.py:none --input 8x20 --out out", "has no 'none'"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_made(folder, capsys, words, says):
    """Exit code 2 and the four beats."""
    assert says in run(words, capsys, code=2).err
    assert [path.name for path in folder.iterdir() if path.name != "__pycache__"] == ["net.py"]


@pytest.mark.parametrize(
    ("after", "says", "kept"),
    [
        (0, "no file was complete, and none is kept", []),
        (2400, "complete files are kept in a/out; the same command goes on from there", [1]),
        (3140, "complete files are kept in a/out; the same command goes on from there", [1]),
    ],
)
def test_ctrl_c_says_what_is_kept(folder, capsys, monkeypatch, after, says, kept):
    """Exit code 130, no traceback; also as the last byte is written."""
    write = _checkpoint.write_checkpoint

    def interrupted(*arguments, **options):
        def stop(done, total):
            if done > after or done == total:
                raise KeyboardInterrupt

        return write(*arguments, **{**options, "progress": stop})

    monkeypatch.setattr(_checkpoint, "write_checkpoint", interrupted)
    words = "net.py:make --input 8x20 --shard-size 1KB --out a/out"
    assert says in run(words, capsys, code=130).err
    names = [f"model-0000{number}-of-00002.safetensors" for number in kept]
    assert sorted(contents(folder / "a" / "out")) == names
    assert (folder / "a").exists() == bool(kept)


def test_a_model_that_is_claimed_by_nobody_on_meta_is_told_of_the_option(folder, capsys):
    """A table that is added has no rule, and in memory a start of its own."""
    (folder / "net.py").write_text(
        dedent(
            """
            import torch
            from torch import nn

            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.fc, self.token = nn.Linear(20, 5), nn.Parameter(torch.randn(5))

                def forward(self, x):
                    return torch.cat([self.fc(x), self.token.expand(8, 5)])
            """
        ),
        encoding="utf-8",
    )
    refused = run("net.py:Net --input 8x20 --out out", capsys, code=2).err
    assert "--in-memory" in refused
    run("net.py:Net --input 8x20 --out out --in-memory", capsys)


@pytest.mark.slow
def test_ctrl_c_after_the_answer_does_not_kill(folder):
    """Python takes a second to leave, in which a signal would have its way."""
    words = ["-m", "fanin", "checkpoint", "net.py:make", "--input", "8x20", "--out", "out"]
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(fanin.__file__).parents[1])},
    )
    with process:
        assert process.stdout.readline().startswith(b"made by")
        assert process.stdout.readline().startswith(b"written to out")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    # 130 where it came before the command had returned.
    assert process.returncode in (0, 130)


def test_progress_without_a_terminal_is_a_line_at_each_quarter(folder, capsys):
    """So that the log of a job tells how far it is."""
    printed = run("net.py:make --input 8x20 --out out", capsys)
    assert "Sequential: 100 % written" in printed.err.replace(sys.executable, "")


def test_progress_on_a_terminal_is_a_bar_with_the_time_left(folder, capsys, monkeypatch):
    """As for the other commands that take long."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    printed = run("net.py:make --input 8x20 --out out", capsys)
    assert "writing Sequential" in printed.err
