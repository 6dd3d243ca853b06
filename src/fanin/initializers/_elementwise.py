"""Entries drawn one by one: constant, uniform, normal, truncated normal."""

from dataclasses import dataclass
from math import erf, exp, inf, pi, sqrt
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from fanin._errors import FaninError
from fanin._layout import Layout
from fanin._stream import Region, Stream, fill_normal, fill_truncated_normal, fill_uniform
from fanin.initializers._arguments import cut_or_none, finite
from fanin.initializers._base import Initializer, formula_number

__all__ = [
    "Constant",
    "Normal",
    "Ones",
    "Uniform",
    "Zeros",
    "draw_normal",
    "draw_uniform",
]


@final
@dataclass(frozen=True, slots=True, repr=False)
class Constant(Initializer):
    """w = value.

    >>> import torch
    >>> Constant(0.5).fill_(torch.empty(2)).tolist()
    [0.5, 0.5]
    """

    needs_axes: ClassVar[bool] = False
    on_any_device: ClassVar[bool] = True

    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", finite("Constant", "value", self.value))

    def std(self, layout: Layout) -> float:  # noqa: ARG002
        """0: all entries are equal."""
        return 0.0

    def bound(self, layout: Layout) -> float:  # noqa: ARG002
        """|value|."""
        return abs(self.value)

    def draw_into(self, out: Tensor, layout: Layout, stream: Stream, region: Region | None) -> None:  # noqa: ARG002
        """Write the value everywhere."""
        out.fill_(self.value)

    def times(self, factor: float) -> "Constant":
        return Constant(self.value * factor)

    def __str__(self) -> str:
        return f"w = {formula_number(self.value)}"

    def __repr__(self) -> str:
        return {0.0: "Zeros", 1.0: "Ones"}.get(self.value, f"Constant({self.value!r})")


FLOAT32_STEP: Final = 2.0**-23
SMALLEST: Final = 2.0**-126

Zeros: Final = Constant(0.0)
Ones: Final = Constant(1.0)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Uniform(Initializer):
    """w ~ U(low, high), of variance (high - low)² / 12.

    A complex weight has real and imaginary parts drawn alike, each of half the variance; its
    interval must then be symmetric.

    Raises:
        FaninError: if the interval is empty, reversed or not finite.

    >>> round(Uniform(-0.3, 0.3).std(layout=None), 6)
    0.173205
    """

    needs_axes: ClassVar[bool] = False
    on_any_device: ClassVar[bool] = True

    low: float
    high: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", finite("Uniform", "low", self.low))
        object.__setattr__(self, "high", finite("Uniform", "high", self.high))
        require_room("Uniform", abs(self.high - self.low), self.bound(None))
        if self.low > self.high:
            raise FaninError(
                "the interval is reversed",
                where=repr(self),
                found=f"low {self.low} above high {self.high}",
                fix=f"Uniform({self.high}, {self.low})",
            )

    def std(self, layout: Layout | None) -> float:  # noqa: ARG002
        """(high - low) / sqrt(12)."""
        return (self.high - self.low) / sqrt(12)

    def bound(self, layout: Layout | None) -> float:  # noqa: ARG002
        """max(|low|, |high|)."""
        return max(abs(self.low), abs(self.high))

    def draw_into(self, out: Tensor, layout: Layout, stream: Stream, region: Region | None) -> None:  # noqa: ARG002
        """Write the stream's uniform numbers."""
        if out.is_complex() and self.low != -self.high:
            raise FaninError(
                "a complex weight needs a symmetric interval",
                where=repr(self),
                found=str(out.dtype),
                fix=f"use Uniform(-b, b), such as Uniform({-self.high}, {self.high})",
            )
        draw_uniform(out, stream, region, self.low, self.high)

    def times(self, factor: float) -> "Uniform":
        ends = (self.low * factor, self.high * factor)
        return Uniform(min(ends), max(ends))

    def __str__(self) -> str:
        return f"w ~ U({formula_number(self.low)}, {formula_number(self.high)})"


@final
@dataclass(frozen=True, slots=True, repr=False, init=False)
class Normal(Initializer):
    """w ~ N(mean, std²); with ``cut``, drawn within ``cut`` standard deviations, std kept.

    ``cut`` counts standard deviations of the normal that is cut (as Keras and JAX do); that normal
    is widened so that the draws have the ``std`` asked for: by 1 / 0.8796 at ``cut=2``, where the
    largest |w - mean| is 2.27 std. torch's ``trunc_normal_`` takes absolute bounds instead, and
    does not widen. A complex weight has real and imaginary parts drawn alike, each of half the
    variance.

    Raises:
        FaninError: if std is negative, cut is not positive, or a number is not finite.

    >>> import torch
    >>> w = Normal(0.02, cut=2).fill_(torch.empty(1000, 1000), seed=0)
    >>> print(f"std {w.std():.4f}, largest {w.abs().max():.4f}")
    std 0.0200, largest 0.0455
    """

    needs_axes: ClassVar[bool] = False
    on_any_device: ClassVar[bool] = True

    _std: float
    mean: float = 0.0
    cut: float | None = None

    def __init__(self, std: float, mean: float = 0.0, *, cut: float | None = None) -> None:
        object.__setattr__(self, "_std", finite("Normal", "std", std))
        object.__setattr__(self, "mean", finite("Normal", "mean", mean))
        object.__setattr__(self, "cut", cut_or_none("Normal", cut))
        if self._std < 0:
            raise FaninError("std is negative", where="Normal", found=std, fix="give std >= 0")
        require_room("Normal", self._std, abs(self.mean))

    def std(self, layout: Layout | None) -> float:  # noqa: ARG002
        """The std asked for, also with a cut."""
        return self._std

    def bound(self, layout: Layout | None) -> float:  # noqa: ARG002
        """|mean| + cut times the std before the cut; infinite without one."""
        if self.cut is None:
            return abs(self.mean) if self._std == 0 else inf
        return abs(self.mean) + self.cut * self._std / std_after_cut(self.cut)

    def draw_into(self, out: Tensor, layout: Layout, stream: Stream, region: Region | None) -> None:  # noqa: ARG002
        """Write the stream's normal numbers."""
        draw_normal(out, stream, region, self.mean, self._std, self.cut)

    def times(self, factor: float) -> "Normal":
        return Normal(self._std * abs(factor), self.mean * factor, cut=self.cut)

    def __str__(self) -> str:
        law = f"w ~ N({formula_number(self.mean)}, {formula_number(self._std)}²)"
        return law if self.cut is None else f"{law} cut at {formula_number(self.cut)} std"


def draw_uniform(
    out: Tensor, stream: Stream, region: Region | None, low: float, high: float
) -> None:
    """Write U(low, high); the parts of complex numbers each get half the variance."""
    if out.is_complex():
        out, region = as_real(out, region)
        low, high = low / sqrt(2), high / sqrt(2)
    fill_uniform(out, stream, low, high, region)


def draw_normal(
    out: Tensor, stream: Stream, region: Region | None, mean: float, std: float, cut: float | None
) -> None:
    """Write N(mean, std²), cut or not; the parts of complex numbers each get half the variance."""
    if out.is_complex():
        real, place = as_real(out, region)
        draw_normal(real, stream, place, 0.0, std / sqrt(2), cut)
        out.add_(mean)
    elif cut is None:
        fill_normal(out, stream, mean, std, region)
    else:
        wide = std / std_after_cut(cut)
        fill_truncated_normal(out, stream, mean, wide, -cut, cut, region)


def require_room(where: str, width: float, size: float) -> None:
    """Raise FaninError where a positive ``width`` is lost in float32 beside numbers of ``size``."""
    if 0 < width < max(size * FLOAT32_STEP, SMALLEST):
        raise FaninError(
            "the spread is smaller than a step of float32, in which draws are made",
            where=where,
            found=f"a spread of {width:.3g} about numbers of {size:.3g}",
            fix="give a constant, or a larger spread, or draw around 0 and add the mean yourself",
        )


def std_after_cut(cut: float) -> float:
    """The std of N(0, 1) kept within ±cut: sqrt(1 - 2 cut pdf(cut) / P(|z| < cut)).

    >>> round(std_after_cut(2), 10)
    0.879625661
    """
    if cut > 40:  # beyond any number that a normal gives in float64
        return 1.0
    if cut < 0.05:
        return cut / sqrt(3) * (1 - cut**2 / 15)
    density = exp(-(cut**2) / 2) / sqrt(2 * pi)
    return sqrt(1 - 2 * cut * density / erf(cut / sqrt(2)))


def as_real(out: Tensor, region: Region | None) -> tuple[Tensor, Region | None]:
    """A complex ``out`` and its region, seen as pairs of real numbers on a last axis."""
    real = torch.view_as_real(out)
    if region is None:
        return real, None
    return real, Region(
        (*region.full, 2), (*region.start, 0), (*region.count, 2), (*region.step, 1)
    )
