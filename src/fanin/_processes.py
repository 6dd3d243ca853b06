"""Worker processes that are gone when their work is left, however it is left."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context

__all__ = ["interrupts_ignored", "process_pool"]


@contextmanager
def process_pool(
    workers: int, prepare: Callable[..., None], *given: object
) -> Iterator[ProcessPoolExecutor]:
    """A pool of new processes, each of which first calls ``prepare(*given)``."""
    pool = ProcessPoolExecutor(workers, get_context("spawn"), prepare, given)
    others = set(active_children())
    try:
        yield pool
    except BaseException:
        for child in set(active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def interrupts_ignored() -> Iterator[None]:
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
