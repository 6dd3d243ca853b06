"""Worker processes and executors: the same numbers as in this process, and nothing left over."""

import pickle
import subprocess
import sys
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import active_children, get_context

import pytest
import torch
from tests.compare.small import STARTS, batches, compared, dropping, examples, mlp, small
from torch import nn

from fanin import FaninError, recipes
from fanin._compare import _workers
from fanin._compare._records import Member, Settings
from fanin._compare._train import Job
from fanin._compare._workers import running


@pytest.fixture
def way(monkeypatch):
    """How members are trained, whatever is faster now."""

    def force(way):
        monkeypatch.setattr("fanin._compare._contest.choose_way", lambda *_: (way, "forced", 0.001))

    return force


def results(comparison):
    return comparison.outcomes, comparison.trials, comparison.settings


def no_workers():
    """Besides the one that keeps account of shared memory."""
    return [child for child in active_children() if "spawn" in child.name.lower()] == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["together", "one by one"])
def test_two_workers_train_what_this_process_does(way, how):
    """Starts of all kinds, and held-out data."""
    way(how)
    starts = STARTS | {"small": small, "lsuv": recipes.lsuv}
    words = {"recipes": starts, "data": (examples(), examples(64, 1))}
    assert results(compared(workers=2, **words)) == results(compared(**words))
    assert no_workers()


@pytest.mark.slow
def test_workers_take_a_function_as_data_and_tell_of_their_progress(way):
    """What is not needed any more counts as done."""
    way("one by one")
    told = []
    words = {"make_model": dropping, "data": batches, "target": 0.9}
    found = compared(workers=2, progress=lambda *one: told.append(one), **words)
    assert results(found) == results(compared(**words))
    assert told[-1][1] == told[-1][2]


@pytest.mark.slow
def test_a_pool_of_the_users_is_used_and_left_open(way):
    """concurrent.futures, Dask and Ray have one protocol."""
    way("together")
    with ProcessPoolExecutor(2, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        found = compared(executor=pool)
        assert pool.submit(int, "3").result() == 3
    assert results(found) == results(compared())


class Here:
    """An executor that does at once what it is asked."""

    def __init__(self):
        self.asked = []

    def submit(self, function, /, *args):
        self.asked.append(args)
        future = Future()
        future.set_result(function(*args))
        return future


def test_anything_with_submit_is_an_executor(way):
    """And is given one object that all jobs share, which can be sent once."""
    way("together")
    executor = Here()
    assert results(compared(executor=executor)) == results(compared())
    assert len({id(shared) for shared, _ in executor.asked}) == 1
    assert all(len(pickle.dumps(own)) < 2000 for _, own in executor.asked)


def test_handles_that_can_be_cancelled_are_when_something_fails():
    """So that a cluster does not go on for nothing."""

    class Cancels:
        def __init__(self):
            self.cancelled = False

        def result(self):
            raise KeyboardInterrupt

        def cancel(self):
            self.cancelled = True

    handles = [Cancels(), Cancels()]
    waiting = list(handles)

    class Executor:
        def submit(self, *_):
            return waiting.pop()

    job = Job(
        make_model=mlp,
        starts={"own": None},
        data=None,
        settings=Settings(),
        members=(Member("own", 0.1, 0),),
    )
    with (
        running(0, Executor(), lambda _: None) as run,
        pytest.raises(KeyboardInterrupt),
    ):
        run([job, replace(job)], lambda _: None)
    assert [one.cancelled for one in handles] == [True, True]


def test_threads_are_refused():
    """Starts are drawn under torch's seed, which all threads of a process share."""
    with (
        ThreadPoolExecutor(2) as pool,
        pytest.raises(FaninError, match="each other's random numbers"),
    ):
        compared(executor=pool)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"make_model": lambda: mlp().train()}, "make_model cannot be sent"),
        ({"loss": lambda a, b: nn.functional.nll_loss(a, b).exp()}, "the data or the loss cannot"),
    ],
)
def test_what_cannot_be_pickled_is_refused_with_the_way_out(changes, what):
    """Before any process is started."""
    with pytest.raises(FaninError, match=what) as caught:
        compared(workers=2, **changes)
    assert "workers=0" in caught.value.fix
    assert no_workers()


def fails_late():
    return nn.Sequential(nn.Linear(6, 3), Late())


class Late(nn.Module):
    """Runs for a while."""

    def __init__(self):
        super().__init__()
        self.runs = 0

    def forward(self, x):
        self.runs += 1
        if self.runs > 12:
            raise RuntimeError("no more")
        return x


@pytest.mark.slow
def test_an_error_in_a_worker_is_the_same_error_here(way):
    """With start, rate, seed and step; and the workers are gone."""
    way("one by one")
    with pytest.raises(FaninError, match="a training failed") as caught:
        compared(make_model=fails_late, workers=2)
    assert "seed 1000, step 13" in caught.value.where
    assert no_workers()


SESSION = """
import torch
from torch import nn
import fanin

def make():
    return nn.Sequential(nn.Linear(6, 3))

x = torch.randn(64, 6)
print("begun")
try:
    fanin.compare(make, {"own": None}, (x, x[:, 0].gt(0).long()), steps=20, workers=2)
except fanin.FaninError as error:
    print(error.what)
    print(error.fix)
"""


@pytest.mark.slow
def test_a_session_without_a_file_is_told_where_to_put_its_functions():
    """Worker processes have nothing to import them from."""
    done = subprocess.run(
        [sys.executable, "-c", SESSION], capture_output=True, check=False, text=True, timeout=200
    )
    assert "a worker process cannot import what it is to train" in done.stdout
    assert "in a module that can be imported" in done.stdout


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_told_of_it(tmp_path):
    """Each worker process would run the script again."""
    script = tmp_path / "script.py"
    script.write_text(SESSION)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, check=False, text=True, timeout=200
    )
    assert "a worker process ended by itself" in done.stdout
    assert "under `if __name__ == '__main__':`" in done.stdout


def test_a_worker_finds_what_it_trains_once(monkeypatch):
    """A user's module may take seconds to import."""
    monkeypatch.delattr(_workers, "_last", raising=False)
    payload = pickle.dumps((mlp, STARTS, None))
    first = _workers._loaded(payload)
    assert _workers._loaded(bytes(bytearray(payload))) is first
    other = _workers._loaded(pickle.dumps((dropping, STARTS, None)))
    assert other[0] is dropping
    monkeypatch.delattr(_workers, "_last")
