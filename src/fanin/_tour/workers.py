"""Worker processes of one thread each, made once for all comparisons of a tour."""

import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, final

import torch

from fanin._processes import interrupts_ignored, process_pool

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
    with process_pool(count, _prepare) as pool:
        with interrupts_ignored():
            # They start now, so that they import torch while the tour measures.
            for _ in range(count):
                pool.submit(int)
        yield Workers(pool)


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
