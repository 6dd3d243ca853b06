"""Values as places in percent of a chart, with a few round ticks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import Final, TypeAlias, final

__all__ = ["Point", "Span", "Tick", "area_path", "dot_path", "line_path"]

Point: TypeAlias = tuple[float, float]
"""Percent across and percent down."""
Tick: TypeAlias = tuple[float, str]
"""A place in percent, and the value there."""

_MOST: Final = 6
_ROUND: Final = (1, 2, 5, 10)
_LEAST: Final = 1e-5
"""Of a span, as a share of its ends: ticks have six digits."""
_FEW_DECADES: Final = 2.5
"""On so many powers of ten or fewer, 2 and 5 times a power are ticks too."""


@final
@dataclass(frozen=True, slots=True)
class Span:
    """The values between ``low`` and ``high``; by powers where ``log``."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """How far ``value`` is from ``low``, in percent, held within a tenth around the span.

        >>> Span(1, 100, log=True).share(10), Span(0, 4).share(1)
        (50.0, 25.0)
        """
        if not isfinite(value):
            return 110.0 if value > 0 else -10.0
        low, high = self.low, self.high
        if self.log:
            if value <= 0:
                return -10.0
            value, low, high = log10(value), log10(low), log10(high)
        share = 100 * (value - low) / (high - low) if high > low else 50.0
        return round(min(110.0, max(-10.0, share)), 2)

    def ticks(self) -> list[Tick]:
        """Six or fewer round values within.

        >>> [label for _, label in Span(0.06, 2.5, log=True).ticks()]
        ['0.1', '0.2', '0.5', '1', '2']
        >>> [label for _, label in Span(0, 200).ticks()]
        ['0', '50', '100', '150', '200']
        """
        values = self._powers() if self.log else self._steps()
        return [(self.share(value), f"{value:g}") for value in values]

    def _steps(self) -> list[float]:
        width = self.high - self.low
        if width <= _LEAST * max(abs(self.low), abs(self.high)):
            return [self.low]
        power = 10.0 ** floor(log10(width / _MOST))
        step = next(factor * power for factor in _ROUND if width / (factor * power) < _MOST)
        numbers = range(ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9) + 1)
        return [float(f"{number * step:.6g}") for number in numbers]

    def _powers(self) -> list[float]:
        first, last = floor(log10(self.low)), ceil(log10(self.high))
        few = last - first <= ceil(_FEW_DECADES)
        every = 1 if few else ceil((last - first) / _MOST)
        found = [
            float(f"{factor}e{power}")
            for power in range(first, last + 1, every)
            for factor in ((1, 2, 5) if few else (1,))
        ]
        return [value for value in found if self.low <= value <= self.high]


def line_path(points: Iterable[Point]) -> str:
    """The points joined; one that is not finite across or down breaks the line.

    >>> line_path([(0, 1), (10, 2.5), (20, float("nan")), (30, 4)])
    'M0,1L10,2.5M30,4'
    """
    pieces, joined = [], False
    for across, down in points:
        known = isfinite(across) and isfinite(down)
        if known:
            pieces.append(f"{'L' if joined else 'M'}{across:g},{down:g}")
        joined = known
    return "".join(pieces)


def area_path(lower: Sequence[Point], upper: Sequence[Point]) -> str:
    """The area between two lines, up to where one of them ends."""
    count = 0
    for pair in zip(lower, upper, strict=True):
        if not all(isfinite(one) for point in pair for one in point):
            break
        count += 1
    around = [*upper[:count], *reversed(lower[:count])]
    return f"{line_path(around)}Z" if count > 1 else ""


def dot_path(across: float, down: float) -> str:
    """A line of no length, which round ends make a dot."""
    return f"M{across:g},{down:g}h0"
