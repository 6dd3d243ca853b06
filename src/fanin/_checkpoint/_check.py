"""While a tensor is written: its numbers are finite, and have the planned std."""

from math import isfinite, prod, sqrt
from typing import final

import torch
from torch import Tensor

from fanin._checkpoint._items import Item
from fanin._checkpoint._sources import Drawn
from fanin._engine import Region
from fanin._errors import FaninError
from fanin._plan._draw._law import law_of
from fanin._plan._draw._measure import squares

__all__ = ["Check"]


@final
class Check:
    """Adds up Σ |w - mean|² of a drawn tensor, part by part; of ``comparisons`` tensors in all."""

    def __init__(self, item: Item, comparisons: int) -> None:
        self._item, self._comparisons = item, comparisons
        self._entry = item.source.entry if isinstance(item.source, Drawn) else None
        entry = self._entry
        law = entry and entry.initializer and law_of(entry.initializer, entry.axes)
        self._law = law or None
        self._real = item.dtype.to_real()
        self._mean = float(torch.tensor(law.mean, dtype=self._real)) if law else 0.0
        self._squares, self._number = 0.0, 0

    def add(self, part: Tensor, region: Region) -> None:
        """Look at one part."""
        if not isinstance(self._item.source, Drawn):
            return
        axis, row = self._item.source.padding(region)
        zeroed = 0 if row is None else part.select(axis, row).numel()
        self._number += part.numel() - zeroed
        self._squares += squares(part, self._mean)
        self._squares -= zeroed * self._mean**2

    def finish(self) -> None:
        """Raise FaninError where the whole is not what the plan says."""
        entry, law = self._entry, self._law
        if entry is None or not prod(self._item.shape):
            return
        if not isfinite(self._squares):
            raise self._failure("numbers that are not finite", "finite ones")
        expected = self._number * law.std**2 if law else 0.0
        if law and abs(self._squares - expected) > law.margin(
            self._number, self._real, self._comparisons
        ):
            found = sqrt(max(self._squares, 0) / self._number)
            raise self._failure(f"a std of {found:.4g}", f"{law.std:.4g}")

    def _failure(self, found: str, planned: str) -> FaninError:
        assert self._entry is not None  # noqa: S101 - asked of drawn tensors only
        return FaninError(
            "a tensor is not what the plan says, and its file is not written",
            where=f"{self._entry.name}: {self._entry.initializer!r}",
            found=f"{found}; planned: {planned}",
            fix="report it with this plan: it is an error of fanin",
        )
