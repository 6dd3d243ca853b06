"""Random starts with a pattern: sparse by incoming connection, and free of checkerboards."""

from dataclasses import dataclass, field, replace
from math import sqrt
from typing import final

import torch
from torch import Tensor

from fanin._errors import FaninError
from fanin._layout import Layout
from fanin._stream import Region, Stream, fill_bits, fill_normal
from fanin.initializers._arguments import count
from fanin.initializers._base import Initializer, formula_number, take_region
from fanin.initializers._fans import Gain, gain_name, gain_number, leading, require_gain
from fanin.initializers._matrices import MatrixInitializer

__all__ = ["ICNR", "Sparse"]


@final
@dataclass(frozen=True, slots=True, repr=False)
class Sparse(MatrixInitializer):
    """Every output has ``connections`` incoming weights ~ N(0, s²); the others are 0.

    s is such that the output's mean square is gain² times the input's, as for `lecun_normal`.
    Martens 2010, "Deep learning via Hessian-free optimization", section 5. torch's ``sparse_``
    counts the other way, by input, and leaves some outputs without any.

    Raises:
        FaninError: if connections is not at least 1.

    >>> import torch
    >>> w = Sparse(15).fill_(torch.empty(40, 100), seed=0)
    >>> (w != 0).sum(dim=1).unique().tolist()
    [15]
    """

    connections: int = 15
    gain: Gain = field(default=1.0, kw_only=True)
    _number: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", require_gain(self.gain, "Sparse"))
        object.__setattr__(self, "_number", gain_number(self.gain))
        number = count("Sparse", "connections", self.connections, "give an int; Martens used 15")
        object.__setattr__(self, "connections", number)

    def part_std(self, layout: Layout) -> float:
        """gain / sqrt(fan_in), the zeros counted."""
        return abs(self._number) / sqrt(layout.fan_in)

    def bound(self, layout: Layout) -> float:
        """Infinite, unless gain is 0."""
        return 0.0 if self.std(layout) == 0 else float("inf")

    def part(self, layout: Layout, stream: Stream, dtype: torch.dtype) -> Tensor:
        """Normal numbers, kept where a column's random word is among the row's smallest."""
        rows, columns = layout.matrix_shape()
        kept = min(self.connections, columns)
        words = torch.empty(rows, columns, dtype=torch.int32, device="cpu")
        fill_bits(words, replace(stream, substream=stream.substream + _CHOICE))
        chosen = words.argsort(dim=1, stable=True)[:, :kept]
        shape = (rows, kept, 2) if dtype.is_complex else (rows, kept)
        values = torch.empty(shape, dtype=dtype.to_real(), device="cpu")
        std = self.part_std(layout) * sqrt(columns / kept)
        fill_normal(values, stream, 0.0, std / sqrt(2) if dtype.is_complex else std)
        if dtype.is_complex:
            values = torch.view_as_complex(values)
        matrix = torch.zeros(rows, columns, dtype=dtype, device="cpu")
        return layout.from_matrix(matrix.scatter_(1, chosen, values))

    def times(self, factor: float) -> "Sparse":
        return replace(self, gain=factor * self._number)

    def __str__(self) -> str:
        size = leading(gain_name(self.gain)).strip() or "1"
        return f"{self.connections} normal weights an output, std {size} / sqrt(fan_in) in all"


_CHOICE = 1 << 31
"""Substream of the choice of connections, far from those of the parts."""


@final
@dataclass(frozen=True, slots=True, repr=False)
class ICNR(Initializer):
    """Before a PixelShuffle(upscale): its upscale² sub-pixels start equal, each drawn as ``base``.

    The upsampling is then nearest-neighbour at the start, without a checkerboard.
    Aitken et al. 2017, "Checkerboard artifact free sub-pixel convolution".

    Raises:
        FaninError: if upscale < 1, or, when drawn, if upscale² does not divide the outputs.

    >>> import torch, fanin
    >>> from fanin.initializers import kaiming_normal
    >>> conv = torch.nn.Conv2d(3, 8, 3, bias=False)
    >>> _ = ICNR(kaiming_normal(), 2).fill_(conv.weight, layout=fanin.layout(conv), seed=0)
    >>> torch.equal(conv.weight[0], conv.weight[3]), torch.equal(conv.weight[3], conv.weight[4])
    (True, False)
    """

    base: Initializer
    upscale: int

    def __post_init__(self) -> None:
        fix = "give the factor of the PixelShuffle that follows"
        object.__setattr__(self, "upscale", count("ICNR", "upscale", self.upscale, fix))
        if not isinstance(self.base, Initializer):
            raise FaninError(
                "the base is not an initializer",
                where="ICNR",
                found=repr(self.base),
                fix="give a value, such as kaiming_normal('relu')",
            )

    def std(self, layout: Layout) -> float:
        """That of ``base`` for the layer with upscale² times fewer outputs."""
        return self.base.std(layout.narrow_outputs(self.upscale**2))

    def bound(self, layout: Layout) -> float:
        """That of ``base``."""
        return self.base.bound(layout.narrow_outputs(self.upscale**2))

    def draw_into(self, out: Tensor, layout: Layout, stream: Stream, region: Region | None) -> None:
        """Draw the narrow weight and repeat its outputs."""
        narrow = layout.narrow_outputs(self.upscale**2)
        piece = out.new_empty(narrow.shape)
        self.base.draw_into(piece, narrow, stream, None)
        out.copy_(take_region(layout.repeat_outputs(piece, self.upscale**2), region))

    def times(self, factor: float) -> "ICNR":
        return ICNR(self.base * factor, self.upscale)

    def __str__(self) -> str:
        return f"{self.base}, equal over {formula_number(self.upscale**2)} sub-pixels"
