"""A start whose outputs are each multiplied by a number of their own."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import fsum, prod, sqrt
from typing import final

import torch
from torch import Tensor

from fanin._errors import FaninError
from fanin._layout import Layout, Part
from fanin._stream import Region, Stream
from fanin.initializers._arguments import finite
from fanin.initializers._base import Initializer, formula_number, take_region

__all__ = ["ScaledOutputs"]

_WIDE = (torch.float32, torch.float64, torch.complex64, torch.complex128)


@final
@dataclass(frozen=True, slots=True, repr=False)
class ScaledOutputs(Initializer):
    """w = factors[output] * base: every output is ``base``, times a number of its own.

    The outputs are counted through the weight's parts in their order (`Layout.parts`: experts,
    groups, blocks), so a weight of 3 experts with 10 outputs each takes 30 factors.
    This is what a calibration by output leaves: LSUV of Mishkin & Matas 2016, "All you need is a
    good init", algorithm 1, measured for each output as in Salimans & Kingma 2016, "Weight
    normalization", eq. 6.

    Raises:
        FaninError: for factors that are no numbers; when drawn, unless there is one for each
            output.

    >>> import torch
    >>> from fanin.initializers import Ones
    >>> ScaledOutputs(Ones, (1.0, 0.5)).fill_(torch.empty(2, 3)).tolist()
    [[1.0, 1.0, 1.0], [0.5, 0.5, 0.5]]
    """

    base: Initializer
    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.base, Initializer):
            raise self._refusal(
                "the base is not an initializer",
                repr(self.base),
                "give a value, such as Orthogonal()",
            )
        given: object = self.factors
        if not isinstance(given, Iterable):
            raise self._refusal(
                "the factors are not a row of numbers",
                repr(given),
                "give one number for each output; for one number in all: factor * initializer",
            )
        numbers = tuple(finite("ScaledOutputs", "factor", value) for value in given)
        object.__setattr__(self, "factors", numbers)

    def _refusal(self, what: str, found: str, fix: str) -> FaninError:
        return FaninError(what, where="ScaledOutputs", found=found, fix=fix)

    def std(self, layout: Layout) -> float:
        """The root mean square deviation of the entries, each from its own output's mean."""
        entries = prod(layout.shape)
        if entries == 0:
            return 0.0
        stds: dict[Layout, float] = {}
        squares = 0.0
        for part, factors in self._by_part(layout):
            if part.layout not in stds:
                stds[part.layout] = self.base.std(part.layout)
            each = prod(part.layout.shape) / len(factors)
            squares += each * stds[part.layout] ** 2 * fsum(factor**2 for factor in factors)
        return sqrt(squares / entries)

    def bound(self, layout: Layout) -> float:
        """The largest factor times that of ``base``."""
        largest = max((abs(factor) for factor in self.factors), default=0.0)
        return largest * self.base.bound(layout) if largest else 0.0

    def draw_into(self, out: Tensor, layout: Layout, stream: Stream, region: Region | None) -> None:
        """Draw ``base``, in float32 or better, and multiply."""
        factors = take_region(self._laid_out(layout, out), region)
        wide = out if out.dtype in _WIDE else out.new_empty(out.shape, dtype=torch.float32)
        self.base.draw_into(wide, layout, stream, region)
        torch.mul(wide, factors.reshape(wide.shape), out=wide)
        if wide is not out:
            out.copy_(wide)

    def _laid_out(self, layout: Layout, like: Tensor) -> Tensor:
        """Each entry's factor; where the weight is one part, a view that takes no memory."""
        parts = list(self._by_part(layout))
        dtype = torch.float64 if like.dtype in (torch.float64, torch.complex128) else torch.float32
        pieces = [
            _over(part, torch.tensor(factors, dtype=dtype, device="cpu")) for part, factors in parts
        ]
        if len(parts) == 1:
            return pieces[0]
        whole = torch.empty(layout.shape, dtype=dtype, device="cpu")
        for (part, _), piece in zip(parts, pieces, strict=True):
            whole[part.index] = piece
        return whole

    def _by_part(self, layout: Layout) -> Iterator[tuple[Part, tuple[float, ...]]]:
        sizes = [(part, part.layout.outputs) for part in layout.parts()]
        number = sum(size for _, size in sizes)
        if number != len(self.factors) or "channel" in layout.axes:
            raise self._refusal(
                "there is not one factor for each output",
                f"{len(self.factors)} factors for {number} outputs of {layout}",
                "give as many factors as the weight has outputs, over all its parts",
            )
        start = 0
        for part, size in sizes:
            yield part, self.factors[start : start + size]
            start += size

    def times(self, factor: float) -> "ScaledOutputs":
        return ScaledOutputs(self.base, tuple(factor * value for value in self.factors))

    def __str__(self) -> str:
        low, high = min(self.factors, default=1.0), max(self.factors, default=1.0)
        ends = f"{formula_number(low)} to {formula_number(high)}"
        return f"{self.base}, times {ends} by output"


def _over(part: Part, factors: Tensor) -> Tensor:
    """``factors`` [out] over all entries of a part."""
    if not part.layout.has_fans:
        return part.layout.along_outputs(factors)
    rows, columns = part.layout.matrix_shape()
    return part.layout.from_matrix(factors[:, None].expand(rows, columns))
