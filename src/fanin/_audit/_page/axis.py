"""Values as coordinates of a chart: domains, a few ticks, paths; ``overlay.js`` has it again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, isfinite, log10
from typing import TypeAlias, final

__all__ = ["Axis", "Point", "area_path", "line_path", "linear_axis", "log_axis"]

Point: TypeAlias = tuple[float, float]
"""Across in steps of the run, and the value."""

_MOST_STEPS = 4
_LEAST_DECADES = 2
_FAR = 400
"""Decades that no float has."""
_NOISE = 0.1
"""A correlation that is negative by no more than this needs no axis below zero."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@final
@dataclass(frozen=True, slots=True)
class Axis:
    """The values between ``low`` and ``high``, as powers of ten where ``log``."""

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def height(self, value: float) -> float:
        """The coordinate of ``value``, grown upwards, held between the ends of the axis.

        >>> log_axis([0.01, 1.0]).height(0.1)
        -1.0
        """
        if not self.log:
            return min(self.high, max(self.low, value))
        return min(self.high, max(self.low, log10(value))) if value > 0 else self.low

    def unbounded(self) -> "Axis":
        """The same coordinates without ends, for what is clipped where it is shown.

        >>> log_axis([0.1, 10.0]).unbounded().height(1000.0)
        3.0
        """
        return replace(self, low=-_FAR, high=_FAR) if self.log else self

    def share(self, tick: float) -> float:
        """How far below the upper end ``tick`` is, in percent of the axis."""
        return 100 * (self.high - tick) / (self.high - self.low)

    def label(self, tick: float) -> str:
        """The value at ``tick``, short.

        >>> axis = log_axis([1e-9, 1.0])
        >>> [axis.label(tick) for tick in axis.ticks]
        ['10⁻⁹', '10⁻⁶', '0.001', '1']
        """
        if not self.log:
            return f"{tick:g}"
        if -4 < tick < 4:
            return f"{10**tick:g}"
        return "10" + f"{tick:.0f}".translate(_RAISED)


def log_axis(values: Iterable[float]) -> Axis:
    """Whole decades around the positive ``values``, two at least, and one more for a zero.

    >>> log_axis([0.3, 2.0]).ticks
    (-1, 0, 1)
    """
    given = [value for value in values if isfinite(value)]
    logs = [log10(value) for value in given if value > 0] or [0.0]
    low, high = floor(min(logs)), ceil(max(logs))
    if len(logs) < len(given):
        low -= 1
    while high - low < _LEAST_DECADES:
        if min(logs) - low <= high - max(logs):
            low -= 1
        else:
            high += 1
    step = ceil((high - low) / _MOST_STEPS)
    first = ceil(low / step) * step
    return Axis(low, high, log=True, ticks=tuple(range(first, high + 1, step)))


def linear_axis(values: Iterable[float]) -> Axis:
    """From 0 to 1, for shares; from -1 where a value is negative by more than noise.

    >>> linear_axis([0.3, -0.2]).ticks
    (-1, 0, 1)
    """
    negative = any(value < -_NOISE for value in values)
    return Axis(-1 if negative else 0, 1, log=False, ticks=(-1, 0, 1) if negative else (0, 0.5, 1))


def line_path(axis: Axis, points: Sequence[Point]) -> str:
    """The points joined, in coordinates that grow downwards.

    >>> line_path(log_axis([0.1, 10]), [(1, 10.0), (2, 0.5)])
    'M1,-1L2,0.301'
    """
    return "L".join(_spot(axis, point) for point in points).join(("M", "")) if points else ""


def area_path(axis: Axis, lower: Sequence[Point], upper: Sequence[Point]) -> str:
    """The area between two lines."""
    around = [*upper, *reversed(lower)]
    return f"{line_path(axis, around)}Z" if around else ""


def _spot(axis: Axis, point: Point) -> str:
    across, value = point
    return f"{across:g},{round(-axis.height(value), 3) + 0.0:g}"
