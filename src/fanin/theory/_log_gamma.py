"""Sums of independent logarithms of Gamma variables, and of mixtures of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, lgamma, log, log2, sqrt
from typing import Final, final

import numpy as np
import torch

from fanin.theory._cuts import Array
from fanin.theory._variance_map import crossing

__all__ = ["LogGamma", "distribution", "normal_score"]

_POINTS: Final = 24  # of the grid, in one standard deviation of the narrowest law
_WIDE: Final = 24.0  # standard deviations of the sum on the grid
_TAIL: Final = 60.0  # ... and of one law, on each side: it has a long tail below
_RARE: Final = 1e-18  # a weight that nothing shows


@final
@dataclass(frozen=True, slots=True, eq=False)
class LogGamma:
    """ln(factor Gamma(shape)), shape and factor drawn from a list by weight."""

    weights: Array
    shapes: Array
    factors: Array

    @classmethod
    def of(cls, mean: float, variance: float) -> "LogGamma":
        """The one of a single shape that has this mean and variance."""

        def excess(x: float) -> float:
            return log(float(_trigamma(np.array([exp(x)]))[0]) / variance)

        shape = exp(crossing(excess, -40.0, 80.0))
        factor = exp(mean - float(_digamma(np.array([shape]))[0]))
        return cls(np.ones(1), np.array([shape]), np.array([factor]))

    @classmethod
    def of_active(cls, units: int) -> "LogGamma":
        """ln(2 chi^2_k / units) with k ~ Binomial(units, 1/2) above 0: a layer of ReLU."""
        k = np.arange(1.0, units + 1)
        choose = lgamma(units + 1) - _log_gamma(k + 1) - _log_gamma(units - k + 1)
        weights = np.exp(choose - units * log(2))
        weights, k = weights[weights > _RARE], k[weights > _RARE]
        return cls(weights / weights.sum(), k / 2, np.full(len(k), 4 / units))

    @property
    def mean(self) -> float:
        """E."""
        return float((self.weights * self._means()).sum())

    @property
    def variance(self) -> float:
        """Var: that within the shapes, and that of their means."""
        within = _trigamma(self.shapes)
        return float((self.weights * (within + (self._means() - self.mean) ** 2)).sum())

    def density(self, y: Array) -> Array:
        """At each y."""
        x = y[:, None] - np.log(self.factors)
        with np.errstate(over="ignore"):
            log_density = self.shapes * x - np.exp(x) - _log_gamma(self.shapes)
            density: Array = (self.weights * np.exp(log_density)).sum(1)
        return density

    def _means(self) -> Array:
        return _digamma(self.shapes) + np.log(self.factors)


def distribution(laws: Sequence[tuple[LogGamma, int]]) -> tuple[Array, Array]:
    """Points y, increasing, and P(sum <= y) for so many independent copies of each law.

    To 1e-7, as long as both tails asked for are larger.
    """
    deviations = [sqrt(law.variance) for law, _ in laws]
    total = sqrt(sum(count * law.variance for law, count in laws))
    step = min(deviations) / _POINTS
    size = 2 ** ceil(log2((_WIDE * total + 2 * _TAIL * max(deviations)) / step))
    offset = step * (np.arange(size) - size // 2)
    transform = np.ones(size // 2 + 1, dtype=np.complex128)
    for (law, count), deviation in zip(laws, deviations, strict=True):
        # About its mean, which is put first, so that the sum is about its own.
        density, near = np.zeros(size), np.abs(offset) < _TAIL * deviation
        density[near] = law.density(offset[near] + law.mean)
        transform *= np.fft.rfft(np.fft.ifftshift(density) * step) ** count
    density = np.fft.fftshift(np.fft.irfft(transform, size)) / step
    # Euler and Maclaurin: the trapezoid is off by the slope at its end.
    below = step * (np.cumsum(density) - density / 2) - step / 12 * np.gradient(density)
    mean = sum(count * law.mean for law, count in laws)
    return offset + mean, np.maximum.accumulate(np.clip(below, 0.0, 1.0))


def normal_score(probability: Array) -> Array:
    """The inverse of the normal distribution function."""
    result: Array = torch.special.ndtri(torch.from_numpy(probability)).numpy()
    return result


def _log_gamma(x: Array) -> Array:
    result: Array = torch.lgamma(torch.from_numpy(x)).numpy()
    return result


def _digamma(x: Array) -> Array:
    result: Array = torch.special.digamma(torch.from_numpy(x)).numpy()
    return result


def _trigamma(x: Array) -> Array:
    result: Array = torch.special.polygamma(1, torch.from_numpy(x)).numpy()
    return result
