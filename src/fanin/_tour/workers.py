"""Worker processes of one thread each, made once for all comparisons of a tour."""

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from typing import Any, Final, final

import torch

__all__ = ["Workers", "one_thread", "workers"]

MOST: Final = 8


@final
@dataclass(frozen=True, slots=True)
class Workers:
    """An executor that pickles by pickle itself.

    multiprocessing puts tensors into shared memory, of which a container may have little.
    """

    pool: ProcessPoolExecutor

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Begin ``function(*args)`` in a worker."""
        return self.pool.submit(_call, pickle.dumps((function, args)))


@contextmanager
def workers() -> Iterator[Workers]:
    """However this is left, the processes are gone afterwards."""
    count = max(1, min(MOST, os.cpu_count() or 1))
    pool = ProcessPoolExecutor(count, get_context("spawn"), _prepare)
    others = set(active_children())
    # A process that is started while interrupts are ignored ignores them from its first moment: on
    # Ctrl-C its parent ends it. They start now, so that they import torch while the tour measures.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for _ in range(count):
            pool.submit(int)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield Workers(pool)
    except BaseException:
        for child in set(active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    # Small products on several threads wait for each other; processes do not.
    torch.set_num_threads(1)


def _call(pickled: bytes) -> object:
    function, args = pickle.loads(pickled)  # noqa: S301 - of the process that started this one
    return function(*args)


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes on one thread inside, as in the workers, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
