"""A tensor cut into parts that follow each other in memory."""

from collections.abc import Iterator
from math import prod

from fanin._engine import Region
from fanin._plan._draw._slices import slices

__all__ = ["slabs", "whole"]


def slabs(shape: tuple[int, ...]) -> Iterator[Region]:
    """One part for each place on the first axis.

    >>> [region.start for region in slabs((2, 4))]
    [(0, 0), (1, 0)]
    """
    return slices(shape, prod(shape[1:]))


def whole(shape: tuple[int, ...]) -> Iterator[Region]:
    """One part, or none of an empty tensor."""
    return slices(shape, prod(shape))
