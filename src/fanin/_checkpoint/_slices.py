"""A tensor cut into parts that follow each other in memory."""

from collections.abc import Iterator
from itertools import product
from math import prod

from fanin._engine import Region

__all__ = ["slabs", "slices", "whole"]


def slices(shape: tuple[int, ...], most: int) -> Iterator[Region]:
    """Parts of at most ``most`` elements, in row-major order; none of an empty tensor.

    >>> [region.count for region in slices((3, 4), 8)]
    [(2, 4), (1, 4)]
    >>> [region.count for region in slices((2, 4), 3)]
    [(1, 3), (1, 1), (1, 3), (1, 1)]
    """
    if 0 in shape:
        return
    axis = 0
    while axis < len(shape) and prod(shape[axis + 1 :]) > most:
        axis += 1
    if axis == len(shape):
        yield Region.whole(shape)
        return
    inner = shape[axis + 1 :]
    step = max(1, most // prod(inner))
    steps = (1,) * len(shape)
    for outer in product(*map(range, shape[:axis])):
        for first in range(0, shape[axis], step):
            start = (*outer, first, *(0 for _ in inner))
            count = (*(1 for _ in outer), min(step, shape[axis] - first), *inner)
            yield Region(shape, start, count, steps)


def slabs(shape: tuple[int, ...]) -> Iterator[Region]:
    """One part for each place on the first axis.

    >>> [region.start for region in slabs((2, 4))]
    [(0, 0), (1, 0)]
    """
    return slices(shape, prod(shape[1:]))


def whole(shape: tuple[int, ...]) -> Iterator[Region]:
    """One part, or none of an empty tensor."""
    return slices(shape, prod(shape))
