"""``fanin compare``: its words, its exit codes, its files, and what Ctrl-C keeps.

The texts are in ``cli_compare.txt``. To change them on purpose: run this file
(``python -m tests.golden.test_cli_compare``), read the difference, and commit it with its reason.
"""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from tests.golden.commands import transcript, write_texts

from fanin._cli import _compare, main
from fanin._compare import Comparison

GOLDEN = Path(__file__).parent / "cli_compare.txt"
ROOT = Path(__file__).parents[2]

FILES = {
    "net.py": """
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self, width=16):
                super().__init__()
                print("the user's code prints")
                self.inputs, self.drop = nn.Linear(6, width), nn.Dropout(0.1)
                self.head = nn.Linear(width, 3)

            def forward(self, x):
                return self.head(self.drop(torch.relu(self.inputs(x))))

        net = Net()

        def flat(width=8):
            return nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))

        class Images(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.head = nn.Conv2d(1, 2, 7, stride=7), nn.Linear(32, 10)

            def forward(self, x):
                return self.head(self.conv(x).relu().flatten(1))

        def broken():
            raise RuntimeError("no model today")

        def small(site):
            "w ~ N(0, 0.1²), b = 0"
            from fanin.initializers import Normal, Zeros
            return Zeros if site.role == "bias" else Normal(0.1)
    """,
    "data.py": """
        import torch

        def drawn(seed, n):
            generator = torch.Generator().manual_seed(seed)
            x = torch.randn(n, 6, generator=generator)
            return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()

        pair = drawn(0, 128)
        text = "labels"

        def pairs():
            return drawn(0, 128), drawn(1, 64)

        def batches(seed):
            return lambda step: drawn(1000 * seed + step, 16)

        def made():
            return batches

        def loss(output, targets):
            return 2 * torch.nn.functional.cross_entropy(output, targets)
    """,
}

TRANSCRIPT = (
    "fanin compare net.py:Net --data digits --budget 2x",
    "fanin compare net.py:Net --data digits --rates 0.1;0.2",
    "fanin compare net.py:Net --data digits --recipes own,steadi",
    "fanin compare net.py:Net --data digits --recipes own,own",
    "fanin compare net.py:Net --data digits",
    "fanin compare net.py:net --data digits",
    "fanin compare net.py:broken --data data.py:pair",
    "fanin compare net.py:Nett --data data.py:pair",
    "fanin compare net.py:Net --data data.py:pear",
    "fanin compare net.py:Net --data data.py:text",
    "fanin compare net.py:Net --data data.py:pair --loss data.py:text",
    "fanin compare net.py:Net --data data.py:pair --html nowhere/compare.html",
    "fanin compare net.py:Net --data data.py:pair --resume nowhere/runs.jsonl",
    "fanin compare net.py:Net --data data.py:pair --seeds 0",
    "fanin compare net.json --data data.py:pair",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory with a model and data."""
    write_texts(FILES, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SHORT = ["--steps", "30", "--seeds", "3", "--rates", "0.01,0.1", "--workers", "0"]


def compare(*words, target="net.py:Net", data="data.py:pairs", short=SHORT):
    return main(["compare", target, "--data", data, *short, *words])


def without_times(text):
    """What is the same in every run."""
    return re.sub(r"\d+ s, fanin", "T s, fanin", text)


def test_wrong_words_are_answered_as_written():
    """With the way out, and before anything is trained."""
    assert transcript(TRANSCRIPT, partial(write_texts, FILES)) == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("2m", 120), ("1.5h", 5400)])
def test_a_budget_has_a_unit(monkeypatch, folder, text, seconds):
    """2 alone could be anything."""
    asked = []

    def stop(*_, **words):
        asked.append(words["budget"])
        raise KeyboardInterrupt

    monkeypatch.setattr(_compare, "compare", stop)
    assert compare("--budget", text) == 130
    assert asked == [seconds]


def test_the_words_reach_the_comparison(monkeypatch, folder):
    """Each option is one argument of fanin.compare."""
    asked = []

    def stop(*given, **words):
        asked.append((given, words))
        raise KeyboardInterrupt

    monkeypatch.setattr(_compare, "compare", stop)
    assert compare(short=[]) == 130
    words = "--recipes kaiming,own,net.py:small --loss data.py:loss --optimizer sgd --rates 0.2,1"
    words += " --target 0.5 --steps 70 --seeds 5 --seed 3 --workers 4 --resume r --set width=5"
    assert compare(*words.split(), short=[]) == 130
    (_, plain), ((maker, recipes, data), full) = asked
    assert plain["workers"] == os.cpu_count()
    assert (plain["steps"], plain["scoring_seeds"], plain["optimizer"]) == (500, 8, "adam")
    assert next(iter(asked[0][0][1].items())) == ("own", None)
    assert list(recipes) == ["kaiming", "own", "small"]
    assert recipes["own"] is None
    assert maker().head.in_features == 5
    assert torch.equal(data[1][0], torch.randn(64, 6, generator=torch.Generator().manual_seed(1)))
    output, targets = torch.zeros(2, 3), torch.zeros(2).long()
    assert full.pop("loss")(output, targets).item() == pytest.approx(2.1972, abs=1e-4)
    assert callable(full.pop("progress"))
    assert full == {
        "optimizer": "sgd",
        "rates": [0.2, 1],
        "target": 0.5,
        "steps": 70,
        "scoring_seeds": 5,
        "seed": 3,
        "budget": None,
        "workers": 4,
        "resume": Path("r"),
    }


def test_a_comparison_is_printed_and_kept(folder, capsys):
    """All of one run; JSON alone is printed alone, whatever the user's code prints."""
    words = ["--json", "a.json", "--html", "a.html", "--resume", "runs.jsonl"]
    assert compare(*words) == 0
    printed = capsys.readouterr()
    found = Comparison.load("a.json")
    assert printed.out == f"{found}\n"
    assert "note: made by net.py:Net, trained on data.py:pairs()" in printed.out
    assert "the user's code prints" in printed.err
    assert "Net: rates, 0 %" in printed.err
    assert "Net: scores, 100 %" in printed.err
    assert (folder / "a.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    for last in (["--json"], ["--json", "-"]):
        assert compare("--resume", "runs.jsonl", *last) == 0
        again = Comparison.from_json(capsys.readouterr().out)
        assert again.outcomes == found.outcomes


@pytest.mark.parametrize("data", ["data.py:pair", "data.py:batches", "data.py:made"])
def test_data_are_a_value_a_function_of_a_seed_or_what_makes_one(folder, data, capsys):
    """As users have them."""
    assert compare(data=data) == 0
    assert f"trained on {data}" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("data", ["data.py:batches", "data.py:made"])
def test_worker_processes_find_files_that_are_no_modules(folder, data, capfd):
    """The model, its data and the loss are sent by their names; standard output stays the
    comparison's."""
    words = ["--loss", "data.py:loss", "--recipes", "own,net.py:small", "--json"]
    assert compare("--workers", "2", *words, data=data) == 0
    found = Comparison.from_json(capfd.readouterr().out)
    assert compare("--workers", "0", *words, data=data) == 0
    assert found.outcomes == Comparison.from_json(capfd.readouterr().out).outcomes


@pytest.mark.parametrize(
    ("target", "said"), [("net.py:flat", "784 pixels each"), ("net.py:Images", "1x28x28 each")]
)
def test_digits_are_rows_or_images_as_the_model_wants_them(folder, target, said, capsys):
    """And which it was is said."""
    assert compare(target=target, data="digits") == 0
    assert f"fanin's handwritten digits, {said}" in " ".join(capsys.readouterr().out.split())


def test_the_same_command_prints_the_same_comparison(folder, capsys):
    """Up to how long it took; torch's generator is left alone."""
    before = torch.get_rng_state()
    texts = []
    for _ in range(2):
        assert compare() == 0
        texts.append(without_times(capsys.readouterr().out))
    assert texts[0] == texts[1]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_terminal_has_a_bar_with_the_time_left(folder, capsys, monkeypatch):
    """Trainings take minutes."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert compare() == 0
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "Net: scores" in text
    assert re.search(r"\d+% \d:\d\d:\d\d", text)


def test_ctrl_c_without_a_file_says_that_nothing_is_kept(monkeypatch, folder, capsys):
    """And how it would be."""

    def stop(*_, **words):
        raise KeyboardInterrupt

    monkeypatch.setattr(_compare, "compare", stop)
    assert compare() == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "stopped by Ctrl-C; nothing is kept, which --resume FILE would do"


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_ctrl_c_ends_it_with_130_and_says_what_is_kept(folder, workers):
    """In the middle of a training; the same command goes on from there."""
    command = [sys.executable, "-m", "fanin", "compare", "net.py:Net", "--data", "data.py:pairs"]
    command += ["--steps", "400", "--resume", "runs.jsonl", "--workers", workers]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    )
    path, deadline = folder / "runs.jsonl", time.monotonic() + 120
    while not path.exists() or path.read_text().count("\n") < 4:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in errors
    kept = path.read_text().count("\n") - 1
    last = errors.splitlines()[-1]
    assert last.startswith(f"stopped by Ctrl-C; trainings that are kept in runs.jsonl: {kept};")


if __name__ == "__main__":
    GOLDEN.write_text(transcript(TRANSCRIPT, partial(write_texts, FILES)), encoding="utf-8")
