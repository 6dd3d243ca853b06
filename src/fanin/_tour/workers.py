"""Trainings spread over worker processes of one thread each.

Processes rather than threads: small products on several threads wait for each other, and many
times so on a busy machine. With one thread each the numbers do not depend on how many there are.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from multiprocessing.sharedctypes import Synchronized
from typing import Final, TypeAlias

import torch

from fanin._tour.data import load_digits
from fanin._tour.rates import Run
from fanin._tour.training import Trained, Training, train

__all__ = ["Report", "one_thread", "workers"]

Report: TypeAlias = Callable[[int, int], None]
"""Told now and then of the work done and the work in all, in members times steps."""

MOST_WORKERS: Final = 8
SECONDS_BETWEEN_REPORTS: Final = 0.2

_done: "Synchronized[int]"


@contextmanager
def workers(report: Report) -> Iterator[Run]:
    """A `Run` over worker processes; however it is left, they are gone afterwards."""
    context = get_context("spawn")
    done = context.Value("q", 0)
    pool = ProcessPoolExecutor(_count(), context, _prepare, (done,))
    others = set(active_children())
    with _interrupts_ignored():
        for _ in range(_count()):
            pool.submit(int)  # so that each worker has imported torch by the time it has work

    def run(trainings: Sequence[Training], *, later: int = 0) -> list[Trained]:
        total = done.value + sum(training.size for training in trainings) + later
        with _interrupts_ignored():
            futures = [pool.submit(_work, training) for training in trainings]
        _wait(futures, lambda: report(done.value, total))
        return [future.result() for future in futures]

    try:
        yield run
    except BaseException:
        for child in set(active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _count() -> int:
    return max(1, min(MOST_WORKERS, os.cpu_count() or 1))


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """A process started inside is deaf to Ctrl-C from its first moment: its parent ends it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _wait(futures: Sequence[Future[Trained]], report: Callable[[], None]) -> None:
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, timeout=SECONDS_BETWEEN_REPORTS)
        for future in finished:
            future.result()
        report()


def _prepare(done: "Synchronized[int]") -> None:
    global _done  # noqa: PLW0603 - a worker process has no other place for what it is given
    _done = done
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _work(training: Training) -> Trained:
    return train(training, load_digits(), _advance)


def _advance(amount: int) -> None:
    with _done.get_lock():
        _done.value += amount


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes on one thread inside, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
