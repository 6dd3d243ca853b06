"""What is done is not done again, whatever ended the process, and comes out the same."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.compare.small import STARTS, compared, dropping, examples, mlp
from torch import nn

import fanin
from fanin import FaninError
from fanin._compare import _workers
from fanin._compare._facts import fingerprint
from fanin._compare._records import Member, Outcome
from fanin._compare._runs import Decided, Runs
from fanin._compare._train import train

ROOT = Path(__file__).parents[2]
DECIDED = Decided(way="one by one", why="here")


@pytest.fixture
def trained(monkeypatch):
    """The members that are trained."""
    members = []

    def spy(job, report):
        members.extend(job.members)
        return train(job, report)

    monkeypatch.setattr(_workers, "train", spy)
    return members


@pytest.fixture
def together(monkeypatch):
    """All is trained in stacks, whatever is faster now."""
    monkeypatch.setattr(
        "fanin._compare._contest.choose_way", lambda *_: ("together", "forced", 0.001)
    )


def lines_of(path):
    return path.read_text().splitlines(keepends=True)


def same(one, other):
    return (one.outcomes, one.trials, one.settings, one.way) == (
        other.outcomes,
        other.trials,
        other.settings,
        other.way,
    )


def test_a_file_that_is_whole_leaves_nothing_to_train(tmp_path, trained):
    """The result is read from it."""
    path = tmp_path / "deep" / "runs.jsonl"
    found = compared(resume=path)
    assert len(lines_of(path)) == 1 + len(trained)
    trained.clear()
    assert same(compared(resume=path), found)
    assert trained == []


@pytest.mark.slow
@pytest.mark.parametrize("kept", [1, 2, 5, 9, 14])
def test_a_file_of_any_length_is_gone_on_with(tmp_path, trained, together, kept):
    """Bit for bit: also a stack of which some members are missing is trained as a whole."""
    path = tmp_path / "runs.jsonl"
    found = compared(resume=path)
    everything = list(trained)
    lines = lines_of(path)
    path.write_text("".join(lines[:kept]))
    trained.clear()
    assert same(compared(resume=path), found)
    assert 0 < len(trained) <= len(everything)
    assert trained == everything[-len(trained) :]


def test_a_line_that_was_cut_off_is_trained_again(tmp_path, trained):
    """As a power failure leaves it; what follows is not joined to it."""
    path = tmp_path / "runs.jsonl"
    found = compared(resume=path, make_model=dropping)
    text = path.read_text()
    path.write_text(text[:-40])
    trained.clear()
    assert same(compared(resume=path, make_model=dropping), found)
    assert len(trained) == 1
    trained.clear()
    assert same(compared(resume=path, make_model=dropping), found)
    assert trained == []


def test_the_file_changes_nothing(tmp_path):
    """With and without one, the same numbers."""
    with_file = compared(resume=tmp_path / "runs.jsonl", make_model=dropping)
    without = compared(make_model=dropping)
    assert (with_file.outcomes, with_file.trials) == (without.outcomes, without.trials)


@pytest.mark.slow
def test_more_seeds_and_other_rates_train_only_what_is_new(tmp_path, trained):
    """The file is of the trainings, not of the question."""
    path = tmp_path / "runs.jsonl"
    compared(resume=path, make_model=dropping)
    trained.clear()
    more = compared(resume=path, make_model=dropping, scoring_seeds=5)
    assert {member.seed for member in trained} == {3, 4}
    assert more.outcomes == compared(make_model=dropping, scoring_seeds=5).outcomes


@pytest.mark.slow
def test_a_lower_target_trains_again_what_had_stopped_at_a_higher_one(tmp_path):
    """Losses that end at the old target do not say when the new one was reached."""
    path = tmp_path / "runs.jsonl"
    compared(resume=path, make_model=dropping, target=0.9)
    lower = compared(resume=path, make_model=dropping, target=0.5)
    fresh = compared(make_model=dropping, target=0.5)
    assert (lower.outcomes, lower.trials) == (fresh.outcomes, fresh.trials)


def test_a_trial_of_another_question_in_the_file_is_not_of_this_one(tmp_path):
    """Rates that were not asked for are neither shown nor chosen."""
    path = tmp_path / "runs.jsonl"
    compared(resume=path, make_model=dropping, rates=(0.001, 0.003, 0.01))
    found = compared(resume=path, make_model=dropping, rates=(0.03,))
    assert {trial.rate for trial in found.trials} == {0.03}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"optimizer": "sgd"}, "optimizer"),
        ({"steps": 50}, "steps"),
        ({"batch": 32}, "data"),
        ({"data": examples(seed=1)}, "data"),
        ({"recipes": {"own": None, "steady": fanin.recipes.kaiming}}, "starts"),
        ({"recipes": {"own": None}}, "starts"),
        ({"make_model": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))}, "mod"),
        ({"make_model": lambda: nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 3))}, ""),
        ({"loss": lambda a, b: 2 * nn.functional.cross_entropy(a, b)}, "loss"),
        ({"budget": 60}, "budget"),
    ],
)
def test_a_file_of_another_comparison_is_refused(tmp_path, changes, what):
    """And says what is another; it is left as it was."""
    path = tmp_path / "runs.jsonl"
    settings = {"rates": (0.1,), "scoring_seeds": 1, "tuning_seeds": 1, "recipes": STARTS}
    compared(resume=path, **settings)
    before = path.read_bytes()
    with pytest.raises(FaninError, match=f"begun with another .*{what}"):
        compared(resume=path, **(settings | changes))
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["hello\n", "{}\n", "3\n", '{"fanin": "plan"}\n', "\x00\n"])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path, text):
    """It may be precious."""
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(FaninError, match="this file is of another comparison"):
        compared(resume=path)
    assert path.read_text() == text


def test_an_empty_file_is_begun(tmp_path):
    """As tempfile makes them."""
    path = tmp_path / "runs.jsonl"
    path.touch()
    compared(resume=path)
    assert len(lines_of(path)) > 1


def test_a_path_that_cannot_be_written_is_told_before_anything_is_trained(tmp_path, trained):
    """Not after an hour."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FaninError, match="cannot be kept"):
        compared(resume=tmp_path / "file" / "runs.jsonl")
    assert trained == []


def test_what_a_budget_has_cut_is_kept_when_it_is_gone_on_with(tmp_path, monkeypatch):
    """Steps that depend on how busy the machine was would make another comparison of it."""
    path = tmp_path / "runs.jsonl"
    words = {"resume": path, "budget": 60, "make_model": dropping, "steps": 200}
    slow = "fanin._compare._contest.choose_way"
    monkeypatch.setattr(slow, lambda *_: ("one by one", "slow today", 0.04))
    found = compared(**words)
    assert found.settings.steps < 200
    monkeypatch.setattr(slow, lambda *_: ("together", "fast today", 1e-9))
    assert same(compared(**words), found)


def test_outcomes_are_read_as_they_were_written(tmp_path):
    """Infinite losses and missing steps too."""
    good = Outcome(member=Member("a", 0.1, 3), steps=7, loss=0.1 + 0.2, losses=(0.5, 1 / 3))
    bad = Outcome(member=Member("b", 10.0, 3), steps=None, loss=float("inf"), losses=(2.0,))
    held = Outcome(
        member=Member("c", 0.1, 4), steps=1, loss=0.5, losses=(), test_loss=0.25, accuracy=0.5
    )
    runs = Runs(tmp_path / "runs", {"a": (1, 2)})
    runs.begin(DECIDED)
    runs.add([good, bad])
    runs.add([held])
    again = Runs(tmp_path / "runs", {"a": (1, 2)})
    assert list(again) == [good, bad, held]
    assert again.decided == DECIDED
    assert again.get(good.member) == good
    assert again.get(Member("a", 0.1, 4)) is None


def test_lines_that_are_no_outcomes_are_left_out(tmp_path):
    """Whatever a crash has left there."""
    path = tmp_path / "runs"
    runs = Runs(path, {})
    runs.begin(DECIDED)
    with path.open("a") as file:
        file.write('{"member": 3}\n[]\n{"member": {"start": "a", "rate": 1')
    assert list(Runs(path, {})) == []
    assert path.read_text().endswith("\n")


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.bool, torch.complex64, torch.int64, torch.uint8]
)
def test_a_fingerprint_is_of_every_bit(dtype):
    """Of every dtype, of scalars, of empty and of transposed tensors."""
    x = torch.arange(12).reshape(3, 4).remainder(2).to(dtype)
    other = x.clone()
    other[1, 2] = ~other[1, 2] if dtype is torch.bool else 1 - other[1, 2]
    seen = [x, other, x.T, x[0, 0], x[:0], x.reshape(4, 3), (x,), [x, x], {"a": x}, {"b": x}]
    assert len({fingerprint(one) for one in seen}) == len(seen)
    assert fingerprint(x.T.contiguous()) == fingerprint(x.T)


SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
from tests.compare.small import compared, dropping

print("ready", flush=True)
compared(make_model=dropping, resume=sys.argv[1], scoring_seeds=12, steps=150, workers={workers})
"""


def begun(path, folder, workers=0):
    """Another process that compares; it is well under way."""
    script = folder / "script.py"
    script.write_text(
        "if __name__ == '__main__':\n    " + SCRIPT.format(workers=workers).replace("\n", "\n    ")
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    process = subprocess.Popen(
        [sys.executable, str(script), str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    deadline = time.monotonic() + 240
    while not path.exists() or len(lines_of(path)) < 8:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_process_that_is_killed_is_gone_on_with_by_another(tmp_path, trained, workers):
    """kill -9 in the middle: what was done is kept, and all comes out as without it."""
    path = tmp_path / "runs.jsonl"
    process = begun(path, tmp_path, workers)
    children = _children(process.pid)
    process.kill()
    process.communicate(timeout=60)
    assert _end(children)
    kept = path.read_text().count("\n") - 1
    words = {"make_model": dropping, "scoring_seeds": 12, "steps": 150}
    found = compared(resume=path, **words)
    trained_again = len(trained)
    fresh = compared(**words)
    assert 0 < trained_again == len(trained) - trained_again - kept
    assert (found.outcomes, found.trials) == (fresh.outcomes, fresh.trials)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupt_keeps_what_is_done_and_leaves_no_process(tmp_path, workers):
    """Ctrl-C reaches the whole group of a terminal; worker processes leave it to their parent."""
    path = tmp_path / "runs.jsonl"
    process = begun(path, tmp_path, workers)
    children = _children(process.pid)
    assert workers == 0 or len(children) >= workers
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert errors.strip().endswith("KeyboardInterrupt")
    assert _end(children)
    for line in lines_of(path)[1:]:
        assert "member" in json.loads(line)


def _children(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _end(pids, seconds=10):
    """Whether they do, soon."""
    deadline = time.monotonic() + seconds
    while any(map(_is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(_is_running, pids))


def _is_running(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_models_of_a_comparison_are_made_under_their_seed(tmp_path):
    """So the same own start comes from any process."""
    words = {"recipes": {"own": None}, "rates": (0.1,), "tuning_seeds": 1, "scoring_seeds": 1}
    torch.manual_seed(5)
    first = compared(make_model=mlp, **words)
    torch.manual_seed(6)
    assert compared(make_model=mlp, **words).outcomes == first.outcomes
