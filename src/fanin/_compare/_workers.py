"""Trainings in this process, in worker processes, or on somebody's executor."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from multiprocessing.sharedctypes import Synchronized
from typing import Any, Final, Protocol, TypeAlias

import torch

from fanin._compare._records import Outcome
from fanin._compare._train import Job, train

__all__ = ["Executor", "Report", "RunJobs", "cores", "running"]

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


RunJobs: TypeAlias = Callable[[Sequence[Job], Callable[[list[Outcome]], None]], None]
"""Trains jobs, and hands on what came of each as soon as it is there."""
_SECONDS: Final = 0.2

_done: "Synchronized[int]"


@contextmanager
def running(workers: int, executor: Executor | None, report: Report) -> Iterator[RunJobs]:
    """Where jobs are run; however this is left, worker processes are gone afterwards."""
    if executor is not None:
        yield _on(executor, report)
    elif workers <= 1:
        yield _here(report)
    else:
        with _processes(workers) as (pool, done):
            yield _in(pool, done, report)


def _here(report: Report) -> RunJobs:
    def run(jobs: Sequence[Job], keep: Callable[[list[Outcome]], None]) -> None:
        for job in jobs:
            keep(train(job, report))

    return run


def _on(executor: Executor, report: Report) -> RunJobs:
    def run(jobs: Sequence[Job], keep: Callable[[list[Outcome]], None]) -> None:
        handles = [(job, executor.submit(_work, job)) for job in jobs]
        for job, handle in handles:
            keep(handle.result())
            report(job.size)

    return run


def _in(pool: ProcessPoolExecutor, done: "Synchronized[int]", report: Report) -> RunJobs:
    def run(jobs: Sequence[Job], keep: Callable[[list[Outcome]], None]) -> None:
        with _interrupts_ignored():
            pending: set[Future[list[Outcome]]] = {pool.submit(_work, job) for job in jobs}
        told = done.value
        while pending:
            finished, pending = wait(pending, timeout=_SECONDS, return_when=FIRST_COMPLETED)
            for future in finished:
                keep(future.result())
            report(done.value - told)
            told = done.value

    return run


@contextmanager
def _processes(workers: int) -> Iterator[tuple[ProcessPoolExecutor, "Synchronized[int]"]]:
    context = get_context("spawn")
    done = context.Value("q", 0)
    pool = ProcessPoolExecutor(workers, context, _prepare, (done,))
    others = set(active_children())
    try:
        yield pool, done
    except BaseException:
        for child in set(active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """A process started inside is deaf to Ctrl-C from its first moment: its parent ends it."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:
        # Not the main thread, which is the one that Ctrl-C reaches.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _prepare(done: "Synchronized[int]") -> None:
    global _done  # noqa: PLW0603 - a worker process has no other place for what it is given
    _done = done
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Small products on several threads wait for each other; processes do not.
    torch.set_num_threads(1)


def _work(job: Job) -> list[Outcome]:
    return train(job, _advance)


def _advance(amount: int) -> None:
    if "_done" in globals():
        with _done.get_lock():
            _done.value += amount


def cores() -> int:
    """How many worker processes this machine has room for."""
    return max(1, os.cpu_count() or 1)
