"""Trainings in this process, in worker processes, or on somebody's executor."""

import os
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.sharedctypes import Synchronized
from threading import Thread
from typing import Any, Final, Protocol, TypeAlias, final

import torch

from fanin._compare._records import Outcome
from fanin._compare._train import Job, train
from fanin._errors import FaninError
from fanin._processes import interrupts_ignored, process_pool

__all__ = ["Executor", "Report", "RunJobs", "cores", "running", "threads_for"]

Report: TypeAlias = Callable[[int], None]
"""Told of member steps that were done."""


class Handle(Protocol):
    """What an executor gives for a job."""

    def result(self) -> Any:  # noqa: ANN401 - as concurrent.futures has it
        """The outcomes, once they are there."""


class Executor(Protocol):
    """Anything that runs functions elsewhere: concurrent.futures, Dask, `fanin.ray_executor`."""

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Handle:
        """Begin ``function(*args)``; both are pickled."""


Keep: TypeAlias = Callable[[list[Outcome]], None]
RunJobs: TypeAlias = Callable[[Sequence[Job], Keep], None]
"""Trains jobs, and hands on what came of each as soon as it is there."""
_Shared: TypeAlias = tuple[Any, Any, Any]
_Own: TypeAlias = tuple[Any, ...]
_SECONDS: Final = 0.2

_done: "Synchronized[int]"
_last: tuple[bytes, _Shared]


@contextmanager
def running(workers: int, executor: Executor | None, report: Report) -> Iterator[RunJobs]:
    """Where jobs are run; however this is left, worker processes are gone afterwards."""
    if executor is not None:
        _require_processes(executor)
        yield _on(executor, report)
    elif workers <= 1:
        yield _here(report)
    else:
        done = get_context("spawn").Value("q", 0)
        with process_pool(workers, _prepare, done) as pool:
            yield _in(pool, done, report)


@contextmanager
def threads_for(workers: int) -> Iterator[None]:
    """Inside, torch computes on as many threads as trainings will."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if workers > 1 else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _here(report: Report) -> RunJobs:
    def run(jobs: Sequence[Job], keep: Keep) -> None:
        for job in jobs:
            keep(train(job, report))

    return run


def _require_processes(executor: Executor) -> None:
    if isinstance(executor, ThreadPoolExecutor):
        raise FaninError(
            "threads would draw each other's random numbers",
            where="executor=",
            found="a ThreadPoolExecutor",
            fix="give a ProcessPoolExecutor, or workers=, which makes processes of its own",
        )


def _on(executor: Executor, report: Report) -> RunJobs:
    split = _Split()

    def run(jobs: Sequence[Job], keep: Keep) -> None:
        handles = [executor.submit(_work, *split(job)) for job in jobs]
        try:
            for job, handle in zip(jobs, handles, strict=True):
                keep(handle.result())
                report(job.size)
        except BaseException as error:
            for handle in handles:
                getattr(handle, "cancel", bool)()
            if isinstance(error, BrokenProcessPool):
                raise _ended_by_itself() from error
            raise

    return run


def _in(pool: ProcessPoolExecutor, done: "Synchronized[int]", report: Report) -> RunJobs:
    split = _Split(_pickled)

    def run(jobs: Sequence[Job], keep: Keep) -> None:
        told = done.value
        parts = [split(job) for job in jobs]
        with interrupts_ignored():
            pending: set[Future[list[Outcome]]] = {pool.submit(_work, *own) for own in parts}
        try:
            while pending:
                finished, pending = wait(pending, timeout=_SECONDS, return_when=FIRST_COMPLETED)
                for future in finished:
                    keep(future.result())
                report(done.value - told)
                told = done.value
        except BrokenProcessPool as error:
            raise _ended_by_itself() from error

    return run


@final
class _Split:
    """Takes a job apart: what jobs share stays one object, so that it is sent or pickled once."""

    def __init__(self, pack: Callable[[_Shared], _Shared | bytes] = lambda shared: shared) -> None:
        self._pack = pack
        self._known: tuple[_Shared, _Shared | bytes] | None = None

    def __call__(self, job: Job) -> tuple[_Shared | bytes, _Own]:
        shared = (job.make_model, job.starts, job.data)
        if self._known is None or list(map(id, self._known[0])) != list(map(id, shared)):
            self._known = shared, self._pack(shared)
        return self._known[1], (job.settings, job.members, job.way, job.stops)


def _pickled(shared: _Shared) -> bytes:
    """By pickle itself: multiprocessing puts tensors into shared memory, which may be small."""
    for what, one in zip(("make_model", "a start", "the data or the loss"), shared, strict=True):
        try:
            pickle.dumps(one)
        except Exception as error:
            raise FaninError(
                f"{what} cannot be sent to a worker process",
                where="workers=",
                found=f"{type(error).__name__}: {error}",
                fix="define its functions and classes at the top level of a module, or train in "
                "this process: workers=0",
            ) from error
    return pickle.dumps(shared)


def _ended_by_itself() -> FaninError:
    return FaninError(
        "a worker process ended by itself",
        where="workers=",
        found="no answer; standard error may have its last words",
        fix="call compare under `if __name__ == '__main__':` in a script, as worker processes "
        "import it; use fewer workers where memory is short; or workers=0",
    )


def _prepare(done: "Synchronized[int]") -> None:
    global _done  # noqa: PLW0603 - a worker process has no other place for what it is given
    _done = done
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a model prints must not mix with the caller's output, which may be JSON.
    os.dup2(2, 1)
    # Small products on several threads wait for each other; processes do not.
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed tells nobody, and its workers would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(shared: _Shared | bytes, own: _Own) -> list[Outcome]:
    make_model, starts, data = _loaded(shared) if isinstance(shared, bytes) else shared
    settings, members, way, stops = own
    job = Job(
        make_model=make_model,
        starts=starts,
        data=data,
        settings=settings,
        members=members,
        way=way,
        stops=stops,
    )
    return train(job, _advance)


def _loaded(shared: bytes) -> _Shared:
    """Loaded once by a worker process: to find a user's code again may take seconds."""
    global _last  # noqa: PLW0603 - a worker process has no other place for it
    if "_last" in globals() and _last[0] == shared:
        return _last[1]
    try:
        found: _Shared = pickle.loads(shared)  # noqa: S301 - of the process that started this one
    except Exception as error:
        raise FaninError(
            "a worker process cannot import what it is to train",
            where="workers=",
            found=f"{type(error).__name__}: {error}",
            fix="define functions and classes in a module that can be imported, not in a notebook "
            "or a session; or train in this process: workers=0",
        ) from error
    _last = shared, found
    return found


def _advance(amount: int) -> None:
    if "_done" in globals():
        with _done.get_lock():
            _done.value += amount


def cores() -> int:
    """How many worker processes this machine has room for."""
    return max(1, os.cpu_count() or 1)
