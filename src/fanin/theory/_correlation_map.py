"""The map of the correlation of two inputs, and the correlation to which it leads."""

from dataclasses import dataclass
from functools import cached_property
from math import inf, isnan, nan
from typing import Final, final

from fanin.theory._cuts import Array
from fanin.theory._integrals import line_for, pair
from fanin.theory._variance_map import VarianceMap

__all__ = ["CRITICAL", "CorrelationMap"]

CRITICAL: Final = 1e-9  # |chi - 1| that is taken for none
_KEPT: Final = 1e-12
_SETTLED: Final = 1e-8  # Newton's last step: what is left of it is its square


@final
@dataclass(frozen=True)
class CorrelationMap:
    """c -> (sigma_w^2 E phi(u1) phi(u2) + sigma_b^2) / q', for two inputs of variance q.

    On [0, 1] it is a power series whose coefficients are not negative: convex, from f(0) >= 0
    to f(1) = 1.
    """

    layer: VarianceMap
    q: float

    def __call__(self, c: float) -> float:
        return self.with_slope(c)[0]

    def with_slope(self, c: float) -> tuple[float, float]:
        """f(c) and f'(c); the slope at 1 is infinite where phi steps."""
        value, slope = pair(self.layer.phi, self.q, c, self._line)
        slope *= self.layer.weight_variance / self._following
        if c == 1:
            return 1.0, slope
        value = self.layer.weight_variance * value + self.layer.bias_variance
        return value / self._following, slope

    def limit(self, near: float = 0.0) -> tuple[float, float]:
        """The stable fixed point in [0, 1] and the slope there; nan if every c is fixed.

        Found sooner if it is ``near``.
        """
        at_zero, at_one = self.with_slope(0.0), self.with_slope(1.0)[1]
        if isnan(at_one):
            return nan, nan
        if at_zero[0] < _KEPT and abs(at_zero[1] - 1) < _KEPT:
            return nan, 1.0
        if at_one <= 1 + CRITICAL:
            return 1.0, at_one
        c, (value, slope) = 0.0, at_zero
        if 0 < near < 1:
            guess = self.with_slope(near)
            c, (value, slope) = (near, guess) if guess[1] < 1 else (c, at_zero)
        # The root below 1: as f is convex no step of Newton's ends beyond it.
        step = inf
        while slope < 1 and abs(step) > _SETTLED:
            step = (value - c) / (1 - slope)
            c = min(max(c + step, 0.0), 1.0)
            value, slope = self.with_slope(c)
        return (c, slope) if c > _KEPT else (0.0, slope)

    @cached_property
    def _line(self) -> Array | None:
        return line_for(self.layer.phi, self.q)

    @cached_property
    def _following(self) -> float:
        return self.layer(self.q)
