"""The map q -> sigma_w^2 E phi(sqrt(q) z)^2 + sigma_b^2, its fixed points, and where it leads."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp, inf, log
from typing import Final, Literal, TypeAlias, final

import numpy as np

from fanin._errors import FaninError
from fanin.theory._activation import Resolved
from fanin.theory._cuts import Array
from fanin.theory._integrals import moments_of_square

__all__ = ["FixedPoint", "VarianceMap", "crossing", "study"]

Stability: TypeAlias = Literal["stable", "unstable", "half-stable", "neutral"]

_PER_DECADE: Final = 8
_LOWEST, _HIGHEST = -14.0, 10.0  # decades of q that are searched
_KEPT: Final = 1e-12  # |ln(q' / q)| below which q is kept
_SAME: Final = 1e-9  # two variances that are one, relative
_BESIDE: Final = 1e-3  # how far from a point, in ln q, one looks where its neighbours go
_NEAR_ZERO: Final = 1e-24  # a variance at which phi is its tangent
_FALLING: Final = -1e-3  # a slope of ln(q' / q) that must lead to a fixed point
_STEPS: Final = 50


@final
@dataclass(frozen=True, slots=True)
class FixedPoint:
    """A variance that a layer keeps, the slope dq'/dq there, and what becomes of its neighbours.

    ``"stable"``: they come nearer; ``"unstable"``: they leave; ``"half-stable"``: those on one
    side come and those on the other leave; ``"neutral"``: each is fixed itself.

    >>> from fanin.theory import MeanField
    >>> MeanField("gelu", 1.5335304411955**2).q_fixed_points[-1].stability
    'unstable'
    """

    q: float
    slope: float
    stability: Stability


@final
@dataclass(frozen=True, slots=True)
class VarianceMap:
    """sigma_w^2 E phi(sqrt(q) z)^2 + sigma_b^2; nan where phi is not resolved."""

    phi: Resolved
    weight_variance: float
    bias_variance: float

    def __call__(self, q: float) -> float:
        """q'; at zero sigma_w^2 phi(0)^2 + sigma_b^2."""
        if q == 0:
            start = 0.0 if self.phi.gated else float(self.phi.values(np.zeros(1))[0])
            return self.weight_variance * start**2 + self.bias_variance
        return float(self._of(np.array([q]))[0][0])

    def slope(self, q: float) -> float:
        """dq'/dq; at zero the limit of q'/q."""
        if q == 0:
            limit = float(self._of(np.array([_NEAR_ZERO]))[0][0]) / _NEAR_ZERO
            return limit if limit > _KEPT else 0.0
        return float(self._of(np.array([q]))[1][0])

    def relative(self, q: Array) -> tuple[Array, Array]:
        """ln(q' / q), and its slope by ln q: never below -3/2, whatever phi."""
        value, slope = self._of(q)
        with np.errstate(all="ignore"):
            return np.log(value / q), slope * q / value - 1

    def _of(self, q: Array) -> tuple[Array, Array]:
        second, slope, _ = moments_of_square(self.phi, q)
        return self.weight_variance * second + self.bias_variance, self.weight_variance * slope


def study(layer: VarianceMap, q0: float) -> tuple[tuple[FixedPoint, ...], float]:
    """All fixed points by q, and the one, or infinity, to which ``q0`` is led.

    Of a map that keeps every q only the point at ``q0`` is named.

    Raises:
        FaninError: q grows to where phi is not resolved.
    """
    q = _searched(layer, q0)
    off, tilt = layer.relative(q)
    known = ~np.isnan(off)
    moving = known & (np.abs(off) > _KEPT)
    if not moving.any():
        return (FixedPoint(q0, 1.0, "neutral"),), q0
    unresolved = not known[-1]
    q, off, tilt = q[moving], off[moving], tilt[moving]
    if unresolved and off[-1] > 0 and tilt[-1] < _FALLING:
        _refuse(layer, float(q[-1]))
    points = [*_zero(layer, rising=off[0] > 0)]
    for place in range(len(q) - 1):
        two = slice(place, place + 2)
        points += _between(layer, q[two], off[two], tilt[two])
    if not any(_is_at(point.q, q0) for point in points):
        points = sorted([*points, *_at_start(layer, q0)], key=lambda point: point.q)
    monotone = bool((tilt[np.isfinite(tilt)] >= -1).all())
    return tuple(points), _led(layer, q0, points, monotone=monotone)


def _zero(layer: VarianceMap, *, rising: bool) -> Iterator[FixedPoint]:
    if layer(0.0) == 0:
        yield FixedPoint(0.0, layer.slope(0.0), "unstable" if rising else "stable")


def _between(layer: VarianceMap, q: Array, off: Array, tilt: Array) -> list[FixedPoint]:
    """The fixed points between two neighbours of the search: one if the sign of ``off`` says so.

    Where the map turns back before the diagonal there are none, or two, or one that it touches.
    """
    low, high = np.log(q)

    def deviation(x: float) -> float:
        return float(layer.relative(np.array([exp(x)]))[0][0])

    if (off[0] > 0) != (off[1] > 0):
        kind: Stability = "stable" if off[0] > 0 else "unstable"
        return [_point(layer, crossing(deviation, low, high), kind)]
    sign = 1 if off[0] > 0 else -1
    if not (sign * tilt[0] < 0 < sign * tilt[1]):
        return []
    turn = crossing(lambda x: float(layer.relative(np.array([exp(x)]))[1][0]), low, high)
    nearest = sign * deviation(turn)
    if nearest > _KEPT:
        return []
    if nearest > -_KEPT:
        return [_point(layer, turn, "half-stable")]
    kinds: tuple[Stability, Stability] = ("stable", "unstable")
    first, second = kinds if sign > 0 else reversed(kinds)
    return [
        _point(layer, crossing(deviation, low, turn), first),
        _point(layer, crossing(deviation, turn, high), second),
    ]


def _point(layer: VarianceMap, log_q: float, stability: Stability) -> FixedPoint:
    return FixedPoint(exp(log_q), layer.slope(exp(log_q)), stability)


def _at_start(layer: VarianceMap, q0: float) -> Iterator[FixedPoint]:
    """The point at q0, if it is one that the search cannot see: where the map only touches."""
    off = layer.relative(q0 * np.exp([0.0, -_BESIDE, _BESIDE]))[0]
    if abs(off[0]) > _KEPT:
        return
    before, after = (0 if abs(one) <= _KEPT else 1 if one > 0 else -1 for one in off[1:])
    kinds: dict[tuple[int, int], Stability] = {
        (0, 0): "neutral",
        (1, -1): "stable",
        (-1, 1): "unstable",
    }
    yield FixedPoint(q0, layer.slope(q0), kinds.get((before, after), "half-stable"))


def _is_at(q: float, q0: float) -> bool:
    return abs(q - q0) <= _SAME * q0


def _led(layer: VarianceMap, q0: float, points: list[FixedPoint], *, monotone: bool) -> float:
    for point in points:
        if _is_at(point.q, q0):
            return point.q
    q = q0
    # As the slope of ln q' is never below -1/2 a step may jump over a point, but not for ever.
    for _ in range(0 if monotone else _STEPS):
        q = layer(q)
    following = layer(q)
    if abs(following - q) <= _KEPT * q:
        return min((point.q for point in points), key=lambda one: abs(one - q), default=q)
    if following > q:
        return min((point.q for point in points if point.q > q), default=inf)
    return max((point.q for point in points if point.q < q), default=0.0)


def crossing(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a continuous function, of different signs at two points, is zero.

    Inverse quadratic interpolation where that is safe, else halves (Chandrupatla 1997).
    """
    a, b, share = low, high, 0.5
    at_a, at_b = function(a), function(b)
    best = a if at_a == 0 else b
    while at_a != 0 and at_b != 0:
        x = a + share * (b - a)
        at_x = function(x)
        c, at_c = (a, at_a) if (at_x > 0) == (at_a > 0) else (b, at_b)
        b, at_b = (b, at_b) if c == a else (a, at_a)
        a, at_a = x, at_x
        best = a if abs(at_a) < abs(at_b) else b
        least = 4e-16 * max(abs(best), 1e-3) / abs(b - c)
        if least > 0.5 or at_x == 0:
            break
        share = min(max(_interpolated(a, b, c, at_a, at_b, at_c), least), 1 - least)
    return best


def _interpolated(a: float, b: float, c: float, at_a: float, at_b: float, at_c: float) -> float:
    place, height = (a - b) / (c - b), (at_a - at_b) / (at_c - at_b)
    if height * height >= place or (1 - height) ** 2 >= 1 - place:
        return 0.5
    first = at_a / (at_b - at_a) * at_c / (at_b - at_c)
    return first + (c - a) / (b - a) * at_a / (at_c - at_a) * at_b / (at_c - at_b)


def _searched(layer: VarianceMap, q0: float) -> Array:
    """From where the map is its value at zero, or phi its tangent, to where it is its asymptote."""
    start = layer(0.0)
    lowest = min(_LOWEST, log(start) / log(10) - 2) if start > 0 else _LOWEST
    highest = max(_HIGHEST, log(q0 + layer.bias_variance) / log(10) + 2)
    return np.logspace(lowest, highest, round((highest - lowest) * _PER_DECADE) + 1)


def _refuse(layer: VarianceMap, q: float) -> None:
    raise FaninError(
        "the fixed point of q is not known",
        where=f"activation {layer.phi.name}, weight_variance {layer.weight_variance:g}",
        found=f"q still grows at {q:.3g}, beyond which the activation varies too fast",
        fix="give a smaller weight_variance, or an activation that is smooth far from zero",
    )
