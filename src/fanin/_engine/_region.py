"""A rectangular, possibly strided, part of a tensor: which elements of the whole are drawn."""

import math
from dataclasses import dataclass
from operator import index as as_integer
from typing import final

from fanin._errors import FaninError

__all__ = ["Region"]


@final
@dataclass(frozen=True, slots=True)
class Region:
    """The part ``start[d] + step[d] * k``, ``0 <= k < count[d]``, of each axis d of a tensor.

    ``full`` is the shape of the whole row-major tensor. Raises FaninError where the part leaves
    the whole, or an axis has no ``step >= 1``.

    >>> Region.of((4, 6), (slice(1, 4, 2), slice(2, 6))).shape
    (2, 4)
    """

    full: tuple[int, ...]
    start: tuple[int, ...]
    count: tuple[int, ...]
    step: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.full) == len(self.start) == len(self.count) == len(self.step):
            raise _region_error("a region whose parts differ in length", self)
        if math.prod(self.full) >= 1 << 63:
            raise _region_error("a region of a tensor of 2**63 elements or more", self)
        axes = zip(self.full, self.start, self.count, self.step, strict=True)
        for size, start, count, step in axes:
            inside = count == 0 or start + (count - 1) * step < size
            if not (0 <= start <= size and count >= 0 and step >= 1 and inside):
                raise _region_error("a region that leaves its tensor", self)

    @staticmethod
    def whole(shape: tuple[int, ...]) -> "Region":
        """Every element of a tensor of this shape.

        >>> Region.whole((4, 6)).shape
        (4, 6)
        """
        shape = tuple(shape)
        return Region(shape, (0,) * len(shape), shape, (1,) * len(shape))

    @staticmethod
    def of(shape: tuple[int, ...], index: tuple[slice | int, ...]) -> "Region":
        """The elements of ``tensor[index]``; an integer keeps its axis, with length one.

        Axes not named are taken whole. Raises FaninError for a step below one and for an index
        or a slice that reaches outside its axis.

        >>> Region.of((4, 6), (-1,)).start
        (3, 0)
        """
        shape = tuple(shape)
        if len(index) > len(shape):
            raise _index_error(shape, index, "as many entries as axes, or fewer")
        taken = [_axis(shape, axis, index) for axis in range(len(index))]
        taken += [(0, size, 1) for size in shape[len(index) :]]
        start, count, step = zip(*taken, strict=True) if taken else ((), (), ())
        return Region(shape, start, count, step)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the part, equal to ``count``.

        >>> Region.of((5,), (slice(0, 5, 2),)).shape
        (3,)
        """
        return self.count

    @property
    def is_whole(self) -> bool:
        """Whether the part is the whole tensor.

        >>> Region.whole((4, 6)).is_whole
        True
        """
        return self.count == self.full

    def runs(self) -> tuple[int, list[tuple[int, int]]]:
        """Where the part begins in the flat whole; and (size, stride) of axes, outermost first.

        Axes that lie as one are joined, and there is at least one.

        >>> Region.of((4, 6), (slice(1, 3),)).runs()
        (6, [(12, 1)])
        """
        base, stride, joined = 0, 1, list[tuple[int, int]]()
        axes = zip(self.full, self.start, self.count, self.step, strict=True)
        for full, start, size, step in reversed(list(axes)):
            base += start * stride
            apart = step * stride
            stride *= full
            if size == 1:
                continue
            if joined and joined[-1][0] * joined[-1][1] == apart:
                joined[-1] = size * joined[-1][0], joined[-1][1]
            else:
                joined.append((size, apart))
        return base, joined[::-1] or [(1, 1)]


def _axis(
    shape: tuple[int, ...], axis: int, index: tuple[slice | int, ...]
) -> tuple[int, int, int]:
    size, item = shape[axis], index[axis]
    if not isinstance(item, slice):
        try:
            place = as_integer(item)
        except TypeError:
            raise _index_error(shape, index, f"a slice or an integer on axis {axis}") from None
        if not -size <= place < size:
            raise _index_error(shape, index, f"an index in [{-size}, {size}) on axis {axis}")
        return place % size, 1, 1
    for end in (item.start, item.stop):
        if end is not None and not -size <= end <= size:
            raise _index_error(shape, index, f"slice ends in [{-size}, {size}] on axis {axis}")
    if item.step is not None and item.step < 1:
        raise _index_error(shape, index, f"a step of 1 or more on axis {axis}")
    start, stop, step = item.indices(size)
    return start, len(range(start, stop, step)), step


def _index_error(shape: tuple[int, ...], index: tuple[slice | int, ...], wanted: str) -> FaninError:
    return FaninError(
        "the index does not fit the shape",
        where=f"Region.of({shape}, ...)",
        found=str(index),
        fix=f"give {wanted}",
    )


def _region_error(what: str, region: Region) -> FaninError:
    return FaninError(
        what,
        where="Region",
        found=f"full={region.full} start={region.start} count={region.count} step={region.step}",
        fix="give 0 <= start, step >= 1 and start + (count - 1) * step < full on every axis",
    )
