"""``fanin audit``: its exit codes, its files, and what it says to wrong words, word for word.

The texts are in ``cli_audit.txt``. To change them on purpose: run this file
(``python -m tests.golden.test_cli_audit``), read the difference, and commit it with its reason.
"""

import json
import sys
from errno import ENOSPC
from functools import partial
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree

import pytest
import torch
from tests.audit import samples
from tests.golden.commands import transcript, write_texts

from fanin._audit import Report
from fanin._cli import _audit, main

GOLDEN = Path(__file__).parent / "cli_audit.txt"

FILES = {
    "net.py": """
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self, depth=3, width=64):
                super().__init__()
                print("the user's code prints")
                self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
                self.head = nn.Linear(width, 10)

            def forward(self, x):
                for layer in self.layers:
                    x = torch.relu(layer(x))
                return self.head(x)

        def broken():
            net = Net()
            net.layers[1].weight.data[0, 0] = torch.nan
            return net
    """,
    "data.py": """
        import torch

        def labels():
            return torch.arange(64) % 10

        targets = torch.ones(64, 10)
        text = "labels"

        def loss(logits, labels):
            return 3 * torch.nn.functional.cross_entropy(logits, labels)

        def fails(logits):
            raise RuntimeError("no loss today")
    """,
}

TRANSCRIPT = (
    "fanin audit net.py:Net",
    "fanin audit net.py:Net --input 64x64 --target data.py:label",
    "fanin audit net.py:Net --input 64x64 --loss data.py:text",
    "fanin audit net.py:Net --input 64x64 --loss data.py:fails",
    "fanin audit net.py:Net --input 64x64 --target data.py:text",
    "fanin audit net.py:Net --input 64x64 --draws 3",
    "fanin audit net.py:Net --input 64x64 --meta",
    "fanin audit net.py:Net --input 64x64 --recipe steadi",
    "fanin audit net.py:Net --input 64x64 --html nowhere/audit.html",
    "fanin audit net.json",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory with a model, targets and losses."""
    write_texts(FILES, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def asked(monkeypatch, folder):
    """What the audit is asked; it answers with a sample."""
    calls = []

    def answer(sample):
        monkeypatch.setattr(_audit, "audit", lambda *_, **words: calls.append(words) or sample())
        return calls

    return answer


def audit(*words):
    return main(["audit", "net.py:Net", "--input", "64x64", *words])


def test_wrong_words_are_answered_as_written():
    """With the way out, and before anything was measured."""
    assert transcript(TRANSCRIPT, partial(write_texts, FILES)) == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("sample", "code", "strict_code"),
    [
        (samples.healthy, 0, 0),
        (samples.vanishing, 1, 1),
        (samples.transformer, 1, 1),
        (samples.not_finite, 1, 1),
        (samples.warned, 0, 1),
        (samples.noted, 0, 0),
    ],
)
def test_the_exit_code_is_that_of_the_worst_finding(asked, sample, code, strict_code, capsys):
    """1 for an error; with --strict for a warning; never for a note."""
    asked(sample)
    assert audit() == code
    assert audit("--strict") == strict_code
    assert capsys.readouterr().out.count("\nnote: made by net.py:Net()") == 2


def test_the_words_reach_the_audit(asked):
    """Each option is one argument of fanin.audit."""
    calls = asked(samples.healthy)
    assert audit() == 0
    words = ["--mode", "evaluation", "--recipe", "kaiming", "--seed", "5", "--draws", "3"]
    words += ["--optimizer", "sgd", "--learning-rate", "0.5", "--spectrum"]
    assert audit(*words, "--loss", "data.py:loss", "--target", "data.py:labels") == 0
    plain, full = calls
    assert (plain["training"], plain["plan"], plain["spectrum"]) == (None, None, None)
    assert "loss" not in plain
    assert "target" not in plain
    plan = full.pop("plan")
    assert (plan.recipe, plan.mode) == ("kaiming", "evaluation")
    assert full.pop("loss").__name__ == "loss"
    assert torch.equal(full.pop("target"), torch.arange(64) % 10)
    assert full == {
        "training": False,
        "seed": 5,
        "draws": 3,
        "optimizer": "sgd",
        "learning_rate": 0.5,
        "spectrum": True,
        "progress": None,
    }


def test_a_class_of_loss_is_made_and_a_value_is_taken_as_it_is(asked):
    """As torch.nn has them."""
    calls = asked(samples.healthy)
    assert audit("--loss", "torch.nn:CrossEntropyLoss", "--target", "data.py:targets") == 0
    assert isinstance(calls[0]["loss"], torch.nn.CrossEntropyLoss)
    assert torch.equal(calls[0]["target"], torch.ones(64, 10))


def test_json_alone_is_printed_alone(folder, capsys):
    """Whatever the user's code prints: a program reads it."""
    for words in (["--json"], ["--json", "-"]):
        assert audit("--target", "data.py:labels", *words) == 0
        printed = capsys.readouterr()
        assert Report.from_json(printed.out).model == "Net"
        assert "the user's code prints" in printed.err


def test_files_are_written_and_the_report_is_printed_too(folder, capsys):
    """All of one run."""
    words = ["--json", "a.json", "--html", "a.html", "--junit", "a.xml"]
    assert audit("--target", "data.py:labels", *words) == 0
    printed = capsys.readouterr().out
    assert printed == f"{Report.load('a.json')}\n"
    assert (folder / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    suites = ElementTree.parse(folder / "a.xml").getroot()  # noqa: S314 - our own file
    assert suites.find("testsuite").findtext("system-out") == printed.rstrip("\n")
    assert sorted(path.name for path in folder.glob("a.*")) == ["a.html", "a.json", "a.xml"]


def test_the_same_command_prints_the_same_report(folder, capsys):
    """The model's own draw is of the seed too; torch's generator is left alone."""
    before = torch.get_rng_state()
    texts = []
    for words in (["--json"], ["--json"], ["--json", "--seed", "1"]):
        audit(*words)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_recipe_is_looked_at_in_place_of_the_models_weights(folder, capsys):
    """And named, with its seed."""
    assert audit("--recipe", "kaiming", "--seed", "3", "--draws", "2", "--json") == 0
    report = Report.from_json(capsys.readouterr().out)
    assert (report.recipe, report.seed, report.draws) == ("kaiming", 3, 2)
    assert report.plan


def test_a_broken_start_is_found_and_fails(folder, capsys):
    """End to end: one NaN."""
    assert main(["audit", "net.py:broken", "--input", "64x64", "--json"]) == 1
    report = Report.from_json(capsys.readouterr().out)
    assert "layers.1" in report.findings[0].where
    assert json.loads(report.to_json())["findings"][0]["severity"] == "error"


@pytest.mark.parametrize("option", ["--html", "--json", "--junit"])
def test_a_directory_is_no_file_to_save_in(folder, capsys, option):
    """Told before the model is made, which may take minutes."""
    assert audit(option, ".") == 2
    printed = capsys.readouterr()
    assert f"where: {option}\n  found: ., a directory" in printed.err
    assert "the user's code prints" not in printed.err


def test_two_reports_do_not_go_to_one_file(folder, capsys):
    """The second would replace the first."""
    assert audit("--html", "audit.x", "--json", "./audit.x") == 2
    assert "--json and --html" in capsys.readouterr().err
    assert not (folder / "audit.x").exists()


def test_a_report_that_cannot_be_written_is_no_verdict(folder, capsys, monkeypatch):
    """Exit code 1 says that the start is not healthy."""

    def full(*_, **__):
        raise OSError(ENOSPC, "No space left on device", "a.html")

    monkeypatch.setattr(Report, "to_html", full)
    assert audit("--target", "data.py:labels", "--html", "a.html") == 2
    assert "No space left on device" in capsys.readouterr().err


def test_a_word_that_is_unknown_is_answered_with_the_usage_of_the_command(capsys):
    """That of fanin alone names no option of it."""
    assert audit("--bogus") == 2
    printed = capsys.readouterr().err
    assert printed.startswith("usage: fanin audit ")
    assert "unrecognized arguments: --bogus" in printed


def test_a_file_that_many_options_name_runs_once(folder, capsys):
    """It may take long; and a class of it is then one class."""
    net, data = (dedent(FILES[name]) for name in ("net.py", "data.py"))
    more = "def batch():\n    return torch.randn(64, 64)\n\nprint('run')\n"
    (folder / "train.py").write_text(f"{net}\n{data}\n{more}", encoding="utf-8")
    words = ["--batch", "train.py:batch", "--target", "train.py:labels", "--loss", "train.py:loss"]
    assert main(["audit", "train.py:Net", *words, "--json"]) in (0, 1)
    first = capsys.readouterr()
    assert first.err.splitlines().count("run") == 1
    assert not any(name.startswith("_fanin_target") for name in sys.modules)
    main(["audit", "train.py:Net", *words, "--json"])
    assert capsys.readouterr() == first


def test_a_terminal_shows_what_is_going_on(folder, capsys, monkeypatch):
    """Many draws of a large model take minutes; elsewhere standard error is the user's code's."""
    assert audit("--recipe", "kaiming") == 0
    assert capsys.readouterr().err == "the user's code prints\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert audit("--recipe", "kaiming", "--draws", "2") == 0
    assert "auditing Net" in capsys.readouterr().err


if __name__ == "__main__":
    GOLDEN.write_text(transcript(TRANSCRIPT, partial(write_texts, FILES)), encoding="utf-8")
