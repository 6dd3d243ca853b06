"""One tensor of a model as far as this process holds it, compared with its draw part by part."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Final, final

import torch
from torch import Tensor

from fanin._engine import Region
from fanin._plan._draw._part import Part
from fanin._plan._draw._slices import costs_its_size, is_product, slices
from fanin._plan._entry import Entry
from fanin._plan._proof._verification import Comparison
from fanin.initializers import Initializer
from fanin.initializers._base import take_region

__all__ = ["PRODUCT", "Held", "Place", "Tally", "tolerance_of"]

_MOST: Final = 1 << 18
"""Elements that are drawn and compared at a time."""
PRODUCT: Final = 1e-6
"""What matrix products may be off between machines, for entries up to 1."""
_BITS: Final = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def tolerance_of(initializer: Initializer) -> float:
    """How far an entry may be from the planned one: 0 where the bits are compared."""
    return PRODUCT if is_product(initializer) else 0.0


@final
@dataclass(frozen=True, slots=True)
class Held:
    """A tensor and what it is to be: ``local`` is the part of it that is here."""

    name: str
    entry: Entry
    part: Part
    local: Tensor

    @property
    def initializer(self) -> Initializer:
        """What is drawn."""
        return self.part.draw.initializer

    def compared(self, seed: int) -> Comparison:
        """Every entry held against its draw, of which a small part is made at a time."""
        tally = Tally(tolerance_of(self.initializer))
        for part, local, place in self.pieces(_MOST):
            planned = torch.empty(local.shape, dtype=local.dtype)
            tally.add(local, part.draw_into(planned, seed), place)
        return tally.result(self.name)

    def pieces(self, most: int) -> Iterator[tuple[Part, Tensor, "Place"]]:
        """The part in smaller ones; what is drawn as a whole only is one."""
        limit = most if costs_its_size(self.initializer, self.entry) else prod(self.local.shape)
        for region in slices(tuple(self.local.shape), limit):
            local = take_region(self.local.detach(), region)
            yield self._narrow(region), local, Place(self.part.region, self.part.begin, region)

    def _narrow(self, within: Region) -> Part:
        """The part of the part."""
        region = self.part.region
        if self.part.begin is None:
            pairs = zip(region.start, within.start, strict=True)
            start = tuple(first + then for first, then in pairs)
            return replace(self.part, region=replace(region, start=start, count=within.count))
        rows, begin = _box(region, self.part.begin + within.start[0], within.count[0])
        return replace(self.part, region=rows, begin=begin)


def _box(region: Region, begin: int, number: int) -> tuple[Region, int]:
    """The rows of ``region`` in which so many entries lie, from ``begin`` in row-major order."""
    if not region.count:
        return region, begin
    stride = max(prod(region.count[1:]), 1)
    first, last = begin // stride, (begin + number - 1) // stride
    start = (region.start[0] + first, *region.start[1:])
    count = (last - first + 1, *region.count[1:])
    return replace(region, start=start, count=count), begin - first * stride


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece lies: ``within`` what is held, which is a region, or entries from ``begin``."""

    region: Region
    begin: int | None
    within: Region

    def index(self, flat: int) -> tuple[int, ...]:
        """The index, in the whole tensor, of an entry of the piece.

        >>> whole = Region.whole((4, 6))
        >>> Place(whole, None, Region.of((4, 6), (slice(2, 4),))).index(7)
        (3, 1)
        """
        here = _unravel(flat, self.within.count)
        inside = tuple(a + b for a, b in zip(self.within.start, here, strict=True))
        if self.begin is not None:
            inside = _unravel(self.begin + inside[0], self.region.count)
        return tuple(a + b for a, b in zip(self.region.start, inside, strict=True))


def _unravel(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    index: list[int] = []
    for size in reversed(shape):
        flat, place = divmod(flat, size)
        index.insert(0, place)
    return tuple(index)


@final
class Tally:
    """What differs between pieces of a tensor and of its draw, counted as they come."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self._elements = 0
        self._differing = 0
        self._largest = 0.0
        self._first: tuple[tuple[int, ...], float | None, float | None] = ((), None, None)

    def add(self, found: Tensor, planned: Tensor, place: Place) -> None:
        """Compare two tensors of one shape and dtype."""
        here = found.detach().resolve_neg().resolve_conj().cpu().contiguous()
        differ = _differ(here, planned, self.tolerance).flatten()
        self._elements += here.numel()
        number = int(differ.sum())
        if not number:
            return
        wide = torch.complex128 if here.is_complex() else torch.float64
        apart = (here.flatten()[differ].to(wide) - planned.flatten()[differ].to(wide)).abs()
        if not self._differing:
            flat = int(differ.to(torch.uint8).argmax())
            values = _number(here.flatten()[flat]), _number(planned.flatten()[flat])
            self._first = place.index(flat), *values
        self._differing += number
        # Not a number stays so: it compares with nothing.
        self._largest = float(torch.maximum(apart.max(), torch.tensor(self._largest)))

    def result(self, name: str) -> Comparison:
        """What was counted."""
        first, found, planned = self._first
        return Comparison(
            name,
            "different" if self._differing else "equal",
            self._elements,
            self._differing,
            self._largest,
            first,
            found,
            planned,
            self.tolerance,
        )


def _number(value: Tensor) -> float | None:
    return None if value.is_complex() else float(value)


def _differ(found: Tensor, planned: Tensor, tolerance: float) -> Tensor:
    """Which entries have other bits, or are further apart than ``tolerance`` and rounding."""
    if tolerance == 0.0:
        both = (torch.view_as_real(one) if one.is_complex() else one for one in (found, planned))
        bits = [one.view(_BITS[one.element_size()]) for one in both]
        unlike = bits[0] != bits[1]
        return unlike.any(-1) if found.is_complex() else unlike
    wide = torch.complex128 if found.is_complex() else torch.float64
    a, b = found.to(wide), planned.to(wide)
    step = torch.finfo(found.dtype).eps
    largest = max(1.0, float(b.abs().max())) if b.numel() else 1.0
    return ~((a - b).abs() <= tolerance * largest + step * b.abs())
