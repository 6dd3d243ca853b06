"""Starts that are whole matrices: orthogonal, identity, mirrored, Hadamard.

Each matrix of a weight (a gate, a head, a group, an expert) is made on its own.
"""

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from math import prod, sqrt
from typing import Literal, final, get_args

import torch
from torch import Tensor

from fanin._errors import FaninError
from fanin._layout import Layout
from fanin._orthogonal import hadamard, orthonormal
from fanin._stream import Region, Stream
from fanin.initializers._arguments import known_word
from fanin.initializers._base import Initializer, std_over_parts, take_region
from fanin.initializers._fans import (
    Gain,
    gain_name,
    gain_number,
    leading,
    require_gain,
)

__all__ = [
    "DeltaOrthogonal",
    "Hadamard",
    "Identity",
    "LooksLinear",
    "MatrixInitializer",
    "Orthogonal",
]

Kept = Literal["norm", "signal", "gradient"]
Position = Literal["first", "hidden", "last"]


class MatrixInitializer(Initializer):
    """An initializer that makes each matrix of a weight whole, then places it."""

    __slots__ = ()

    @abstractmethod
    def part(self, layout: Layout, stream: Stream, dtype: torch.dtype) -> Tensor:
        """One part of the weight, in its own shape; ``stream`` is this part's."""

    @abstractmethod
    def part_std(self, layout: Layout) -> float:
        """The root mean square deviation of the entries of one part."""

    def std(self, layout: Layout) -> float:
        """The root mean square deviation of the entries, over all parts."""
        return std_over_parts(layout, self.part_std)

    def draw_into(self, out: Tensor, layout: Layout, stream: Stream, region: Region | None) -> None:
        """Make the parts that the region meets, and write the region."""
        if 0 in layout.shape:
            return
        # Of memory that is never written, the system gives none.
        whole = out if region is None else out.new_empty(layout.shape)
        for number, part in enumerate(layout.parts()):
            if region is not None and not _meets(part.index, region):
                continue
            own = replace(stream, substream=stream.substream + number)
            whole[part.index] = self.part(part.layout, own, _working_dtype(out.dtype))
        if region is not None:
            out.copy_(take_region(whole, region))


def _meets(index: tuple[slice, ...], region: Region) -> bool:
    """Whether the box around the region and the part overlap."""
    axes = zip(index, region.start, region.count, region.step, strict=True)
    return all(
        count > 0 and start < cut.stop and start + (count - 1) * step >= cut.start
        for cut, start, count, step in axes
    )


def _working_dtype(dtype: torch.dtype) -> torch.dtype:
    if dtype in (torch.float64, torch.complex64, torch.complex128):
        return dtype
    return torch.float32


@final
@dataclass(frozen=True, slots=True, repr=False)
class Orthogonal(MatrixInitializer):
    """W Wᵀ = gain² I or Wᵀ W = gain² I, whichever is possible, Haar distributed.

    ``W`` is the matrix [out, in * kernel] of each gate, head, group or expert. ``keep``:
    ``norm`` keeps the length of vectors as far as the shape allows (all singular values ``gain``);
    ``signal`` multiplies by the number that makes the output's mean square gain² times the input's,
    where out > in too; ``gradient`` the same for the gradient.
    Saxe et al. 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks"; the factor for out > in as in Martens et al. 2021 (DKS), "scaled uniform orthogonal".
    A convolution started so is not an isometry: see `DeltaOrthogonal`.

    >>> import torch
    >>> w = Orthogonal(2.0).fill_(torch.empty(50, 80), seed=0)
    >>> torch.allclose(w @ w.T, 4 * torch.eye(50), atol=1e-5)
    True
    """

    gain: Gain = 1.0
    keep: Kept = field(default="norm", kw_only=True)
    _number: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", require_gain(self.gain, "Orthogonal"))
        object.__setattr__(self, "_number", gain_number(self.gain))
        known_word("Orthogonal", "keep", self.keep, get_args(Kept))

    def _factor(self, layout: Layout) -> float:
        if self.keep == "norm":
            return self._number
        fan = layout.fan_in if self.keep == "signal" else layout.fan_out
        return self._number * sqrt(max(layout.matrix_shape()) / fan)

    def part_std(self, layout: Layout) -> float:
        """gain / sqrt(max(out, in * kernel)), times the factor of ``keep``."""
        return abs(self._factor(layout)) / sqrt(max(layout.matrix_shape()))

    def bound(self, layout: Layout) -> float:
        """gain times the factor of ``keep``: no entry of an orthonormal matrix passes 1."""
        if 0 in layout.shape:
            return 0.0
        return max(abs(self._factor(part.layout)) for part in layout.parts())

    def part(self, layout: Layout, stream: Stream, dtype: torch.dtype) -> Tensor:
        """One orthogonal matrix, as the layout lays it."""
        matrix = orthonormal(*layout.matrix_shape(), stream, dtype=dtype)
        return layout.from_matrix(matrix.mul_(self._factor(layout)))

    def times(self, factor: float) -> "Orthogonal":
        return replace(self, gain=factor * self._number)

    def __str__(self) -> str:
        kept = "" if self.keep == "norm" else f", the {self.keep} kept"
        return f"W = {leading(gain_name(self.gain))}Q, Q orthogonal{kept}"


@final
@dataclass(frozen=True, slots=True, repr=False)
class DeltaOrthogonal(MatrixInitializer):
    """W = gain Q at the kernel's centre tap, 0 elsewhere: an orthogonal convolution.

    With stride 1 and an odd kernel the layer then keeps the norm of every input exactly (where
    out >= in), and ``keep`` is as in `Orthogonal`.
    Xiao et al. 2018, "Dynamical isometry and a mean field theory of CNNs", algorithm 2; there
    out >= in is required, here fewer outputs get orthonormal rows.

    >>> import torch, fanin
    >>> conv = torch.nn.Conv2d(8, 16, 3, padding=1, bias=False)
    >>> _ = DeltaOrthogonal().fill_(conv.weight, layout=fanin.layout(conv), seed=0)
    >>> x = torch.randn(2, 8, 5, 5)
    >>> print(f"{conv(x).norm() / x.norm():.4f}")
    1.0000
    """

    gain: Gain = 1.0
    keep: Kept = field(default="norm", kw_only=True)
    _number: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", require_gain(self.gain, "DeltaOrthogonal"))
        object.__setattr__(self, "_number", gain_number(self.gain))
        known_word("DeltaOrthogonal", "keep", self.keep, get_args(Kept))

    def _factor(self, layout: Layout) -> float:
        rows, columns = layout.channels_shape()
        kept = {"norm": max(rows, columns), "signal": columns, "gradient": rows}[self.keep]
        return self._number * sqrt(max(rows, columns) / kept)

    def part_std(self, layout: Layout) -> float:
        """The root mean square of the entries, the zero taps counted."""
        return abs(self._factor(layout)) * sqrt(min(layout.channels_shape()) / prod(layout.shape))

    def bound(self, layout: Layout) -> float:
        """gain times the factor of ``keep``."""
        if 0 in layout.shape:
            return 0.0
        return max(abs(self._factor(part.layout)) for part in layout.parts())

    def part(self, layout: Layout, stream: Stream, dtype: torch.dtype) -> Tensor:
        """One orthogonal matrix at the centre tap."""
        matrix = orthonormal(*layout.channels_shape(), stream, dtype=dtype)
        return layout.at_centre(matrix.mul_(self._factor(layout)))

    def times(self, factor: float) -> "DeltaOrthogonal":
        return replace(self, gain=factor * self._number)

    def __str__(self) -> str:
        kept = "" if self.keep == "norm" else f", the {self.keep} kept"
        return f"W = {leading(gain_name(self.gain))}Q at the centre tap, Q orthogonal{kept}"


@final
@dataclass(frozen=True, slots=True, repr=False)
class Identity(MatrixInitializer):
    """W = gain I: output i copies input i, at the kernel's centre tap, in each group.

    Where out and in differ, the extra rows or columns are 0. With a kernel it is also called Dirac.
    Le et al. 2015 (IRNN) start recurrent ReLU weights so.

    >>> import torch, fanin
    >>> conv = torch.nn.Conv1d(4, 4, 3, padding=1, groups=2, bias=False)
    >>> _ = Identity().fill_(conv.weight, layout=fanin.layout(conv))
    >>> x = torch.randn(1, 4, 9)
    >>> torch.equal(conv(x), x)
    True
    """

    gain: Gain = 1.0
    _number: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", require_gain(self.gain, "Identity"))
        object.__setattr__(self, "_number", gain_number(self.gain))

    def part_std(self, layout: Layout) -> float:
        """The standard deviation of zeros and gains over the entries."""
        share = min(layout.channels_shape()) / prod(layout.shape)
        return abs(self._number) * sqrt(share * (1 - share))

    def bound(self, layout: Layout) -> float:  # noqa: ARG002
        """|gain|."""
        return abs(self._number)

    def part(self, layout: Layout, stream: Stream, dtype: torch.dtype) -> Tensor:  # noqa: ARG002
        """One identity at the centre tap."""
        matrix = torch.eye(*layout.channels_shape(), dtype=dtype, device="cpu")
        return layout.at_centre(matrix * self._number)

    def times(self, factor: float) -> "Identity":
        return Identity(factor * self._number)

    def __str__(self) -> str:
        return f"W = {leading(gain_name(self.gain))}I"


@final
@dataclass(frozen=True, slots=True, repr=False)
class Hadamard(MatrixInitializer):
    """W = gain I where out <= in, else gain times columns of a Hadamard matrix / sqrt(order).

    No random numbers: ZerO of Zhao et al. 2022, "ZerO initialization", algorithm 1, at the kernel's
    centre tap. The order is the next power of two above out; where out is not one, singular values
    lie between 0.7 and 1 times gain.

    >>> import torch
    >>> Hadamard().fill_(torch.empty(4, 2)).tolist()
    [[0.5, 0.5], [0.5, -0.5], [0.5, 0.5], [0.5, -0.5]]
    """

    gain: Gain = 1.0
    _number: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", require_gain(self.gain, "Hadamard"))
        object.__setattr__(self, "_number", gain_number(self.gain))

    def part_std(self, layout: Layout) -> float:
        """The standard deviation over the entries of this very matrix."""
        entries = self.part(layout, Stream(0, ""), torch.float64)
        return float(entries.std(correction=0)) if entries.numel() else 0.0

    def bound(self, layout: Layout) -> float:
        """|gain|, or |gain| / sqrt(order) where out > in."""
        rows, columns = layout.parts()[0].layout.channels_shape()
        return abs(self._number) / (1 if rows <= columns else sqrt(_order(rows)))

    def part(self, layout: Layout, stream: Stream, dtype: torch.dtype) -> Tensor:  # noqa: ARG002
        """One partial identity, or Hadamard matrix."""
        rows, columns = layout.channels_shape()
        if rows <= columns:
            matrix = torch.eye(rows, columns, dtype=dtype, device="cpu")
        else:
            order = _order(rows)
            matrix = hadamard(order)[:rows, :columns].to(dtype) / sqrt(order)
        return layout.at_centre(matrix * self._number)

    def times(self, factor: float) -> "Hadamard":
        return Hadamard(factor * self._number)

    def __str__(self) -> str:
        return f"W = {leading(gain_name(self.gain))}I, or H / sqrt(order) where out > in"


def _order(rows: int) -> int:
    return 1 << max(0, rows - 1).bit_length()


@final
@dataclass(frozen=True, slots=True, repr=False)
class LooksLinear(MatrixInitializer):
    """W = gain [[A, -A], [-A, A]], A orthogonal: a ReLU net that is linear at the start.

    Units come in pairs that see z and -z, and relu(z) - relu(-z) = z. The first layer is
    ``position="first"``, [A; -A]; the last is ``"last"``, [A, -A]. At the kernel's centre tap.
    Balduzzi et al. 2017, "The shattered gradients problem", section 5.

    Raises:
        FaninError: when drawn, if a paired side has an odd size.

    >>> import torch
    >>> first = LooksLinear(position="first").fill_(torch.empty(6, 3), seed=0)
    >>> last = LooksLinear(position="last").fill_(torch.empty(3, 6), seed=1)
    >>> x = torch.randn(5, 3)
    >>> y = torch.relu(x @ first.T) @ last.T
    >>> print(f"{y.norm() / x.norm():.4f}")
    1.0000
    """

    gain: Gain = 1.0
    position: Position = field(default="hidden", kw_only=True)
    _number: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", require_gain(self.gain, "LooksLinear"))
        object.__setattr__(self, "_number", gain_number(self.gain))
        known_word("LooksLinear", "position", self.position, get_args(Position))

    def _half(self, layout: Layout) -> tuple[int, int]:
        rows, columns = layout.channels_shape()
        out_pairs = 1 if self.position == "last" else 2
        in_pairs = 1 if self.position == "first" else 2
        if rows % out_pairs or columns % in_pairs:
            raise FaninError(
                "mirrored units come in pairs",
                where=repr(self),
                found=f"{rows} outputs, {columns} inputs",
                fix="use even widths, and position='first' or 'last' at the ends of the net",
            )
        return rows // out_pairs, columns // in_pairs

    def part_std(self, layout: Layout) -> float:
        """The root mean square of the entries, the zero taps counted."""
        share = prod(layout.channels_shape()) / prod(layout.shape)
        return abs(self._number) * sqrt(share / max(self._half(layout)))

    def bound(self, layout: Layout) -> float:  # noqa: ARG002
        """|gain|."""
        return abs(self._number)

    def part(self, layout: Layout, stream: Stream, dtype: torch.dtype) -> Tensor:
        """One mirrored matrix at the centre tap."""
        matrix = orthonormal(*self._half(layout), stream, dtype=dtype) * self._number
        if self.position != "last":
            matrix = torch.cat([matrix, -matrix], dim=0)
        if self.position != "first":
            matrix = torch.cat([matrix, -matrix], dim=1)
        return layout.at_centre(matrix)

    def times(self, factor: float) -> "LooksLinear":
        return replace(self, gain=factor * self._number)

    def __str__(self) -> str:
        shape = {"first": "[A; -A]", "hidden": "[[A, -A], [-A, A]]", "last": "[A, -A]"}
        return f"W = {leading(gain_name(self.gain))}{shape[self.position]}, A orthogonal"
