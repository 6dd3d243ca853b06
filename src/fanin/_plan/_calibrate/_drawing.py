"""Many draws at once: each by one thread, since a layer's matrix is too small for several."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor

from fanin._fill import Draw
from fanin._plan._draw._apply import drawn_into, draws_alone

__all__ = ["drawn_beside"]

_SIZES: Final = range(1 << 13, 1 << 22)
"""Elements: a smaller draw is sooner done than handed on, in a larger one the threads share."""


def drawn_beside(pieces: Sequence[tuple[Tensor, Draw]], seed: int) -> list[Tensor]:
    """Each tensor becomes its draw; they are returned in their order.

    >>> from fanin.initializers import Normal
    >>> draw = Draw(Normal(2.0), None, "0.weight", "0.weight")
    >>> print(f"{drawn_beside([(torch.empty(1000, 100), draw)], 0)[0].std():.1f}")
    2.0
    """
    beside = [one for one in pieces if one[0].numel() in _SIZES and draws_alone(one[1].initializer)]
    threads = min(torch.get_num_threads(), len(beside))
    if threads < 2:
        return [drawn_into(tensor, draw, seed) for tensor, draw in pieces]
    inside = torch.is_inference_mode_enabled()

    def fill(piece: tuple[Tensor, Draw]) -> None:
        # Grad and inference modes are a thread's own.
        with torch.inference_mode(inside), torch.no_grad():
            piece[1].fill_(piece[0], seed)

    with _one_thread_each(threads) as pool:
        for _ in pool.map(fill, sorted(beside, key=lambda one: one[0].numel(), reverse=True)):
            pass
    at_once = {id(tensor) for tensor, _ in beside}
    return [
        tensor if id(tensor) in at_once else drawn_into(tensor, draw, seed)
        for tensor, draw in pieces
    ]


@contextmanager
def _one_thread_each(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in which torch's products use no more of them."""
    number = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        # The number is a thread's own, but the last one that was set is that of new threads.
        torch.set_num_threads(number)
