"""What may be concluded from pairs of trainings, one pair for each scoring seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb, cos, exp, inf, log, pi, sin, sqrt
from statistics import NormalDist, fmean
from typing import Final, Literal, TypeAlias, final

import torch

from fanin._stream import Stream, fill_uniform

__all__ = ["LEVEL", "Interval", "Steps", "chance", "difference", "speedup", "student_quantile"]

LEVEL: Final = 0.95
"""Of an interval: it misses what it is of once in twenty."""
_FEWEST: Final = 3
"""Of fewer pairs two that are equal by luck would look like certainty."""
_RESAMPLES: Final = 4000
_OUTER: Final = 0.025
"""The quantiles that are read off the resampled means; further out there are too few of them."""

Steps: TypeAlias = tuple[int | None, int | None]
"""Of one seed: the steps of a start and of the one it is compared to; None never arrives."""


@final
@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its interval; ``pairs`` is how many seeds it comes from.

    Where trainings never arrived the ratio is known from one side alone: ``high`` is then inf (at
    least ``low``), or ``low`` is 0 (at most ``high``), and ``mean`` is the mean of the bounds.
    """

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def bound(self) -> Literal["", "at least", "at most"]:
        """Empty for an interval with two ends."""
        if self.high == inf:
            return "at least"
        return "at most" if self.low == 0 else ""

    def holds(self, value: float) -> bool:
        """Whether ``value`` may be the true one.

        >>> Interval(1.8, 1.5, 2.2, pairs=8).holds(1)
        False
        """
        return self.low <= value <= self.high


def difference(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """mean ± the percentiles of resampled means, widened by sqrt(n / (n - 1)) t / z.

    The percentile bootstrap alone is too narrow for few pairs: of 8 it holds the truth in 88 of 100
    cases, of 4 in 80. Widened it is Student's interval where differences are normal, of any number,
    and stays skewed where they are skewed (the two biases: Hesterberg 2015, "What teachers should
    know about the bootstrap"). None for fewer than 3 values.

    >>> found = difference([0.9, 1.0, 1.1, 1.2, 0.8])
    >>> found.pairs, [round(one, 2) for one in (found.low, found.mean, found.high)]
    (5, [0.81, 1.0, 1.19])
    """
    count = len(values)
    if count < _FEWEST:
        return None
    mean = fmean(values)
    low, high = _percentiles(values, mean)
    student = student_quantile((1 + level) / 2, count - 1)
    widened = sqrt(count / (count - 1)) * student / NormalDist().inv_cdf(1 - _OUTER)
    return Interval(mean, mean + widened * low, mean + widened * high, count)


def _percentiles(values: Sequence[float], mean: float) -> tuple[float, float]:
    """Of resampled means around ``mean``; the same resamples whatever the values are."""
    picked = torch.empty(_RESAMPLES, len(values), dtype=torch.float64)
    fill_uniform(picked, Stream(0, "fanin.compare bootstrap"), 0.0, float(len(values)))
    rows = picked.long().clamp_(max=len(values) - 1)
    means = (torch.tensor(values, dtype=torch.float64) - mean)[rows].mean(1)
    ends = torch.tensor([_OUTER, 1 - _OUTER], dtype=torch.float64)
    low, high = means.quantile(ends).tolist()
    return low, high


def speedup(pairs: Sequence[Steps], budget: int, level: float = LEVEL) -> Interval | None:
    """How many times fewer steps: exp of the mean log(other / own), other being the second.

    A run that never arrives took more than ``budget`` steps. Where only one of the two arrives the
    ratio is a bound, and if all such bounds are on one side, so is their mean. None where they are
    on both, and for fewer than 3 seeds on which any arrives.

    >>> round(speedup([(50, 100), (60, 110), (40, 90)], budget=500).mean, 3)
    2.021
    >>> speedup([(50, None), (60, None), (40, None)], budget=500).bound
    'at least'
    """
    known = [pair for pair in pairs if pair != (None, None)]
    own_missing = any(own is None for own, _ in known)
    other_missing = any(other is None for _, other in known)
    if own_missing and other_missing:
        return None
    logs = [log((other or budget) / (own or budget)) for own, other in known]
    found = difference(logs, level)
    if found is None:
        return None
    low = 0.0 if own_missing else exp(found.low)
    high = inf if other_missing else exp(found.high)
    return Interval(exp(found.mean), low, high, found.pairs)


def chance(own: int, other: int, of: int) -> float:
    """How likely counts at least so far apart are if both starts arrive alike: Fisher's p-value.

    ``own`` and ``other`` of ``of`` seeds each. Seeds differ and are shared, which makes counts more
    alike than those of the hypergeometric law, so that this errs to the safe side; the exact sign
    test of the pairs does too, and needs 6 seeds to tell none from all.

    >>> round(chance(8, 0, of=8), 5), chance(8, 7, of=8)
    (0.00016, 1.0)
    """
    if of == 0:
        return 1.0
    both = own + other
    weights = {
        hits: comb(of, hits) * comb(of, both - hits)
        for hits in range(max(0, both - of), min(of, both) + 1)
    }
    # Whole numbers: those as likely as what was seen are found without rounding.
    return sum(one for one in weights.values() if one <= weights[own]) / sum(weights.values())


def student_quantile(probability: float, degrees: int) -> float:
    """The quantile, above the median, of Student's t with a whole number of degrees of freedom.

    >>> round(student_quantile(0.975, 7), 4)
    2.3646
    """
    share = _share_within(degrees)
    low, high = 0.0, pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) < 2 * probability - 1 else (low, middle)
    return sqrt(degrees) * sin(low) / cos(low)


def _share_within(degrees: int) -> Callable[[float], float]:
    """P(|t| <= sqrt(degrees) tan(angle)), Abramowitz and Stegun 26.7.3 and 26.7.4."""

    def odd(angle: float) -> float:
        term, total = cos(angle), 0.0
        for order in range(1, degrees - 1, 2):
            total += term
            term *= cos(angle) ** 2 * (order + 1) / (order + 2)
        return 2 / pi * (angle + sin(angle) * total)

    def even(angle: float) -> float:
        term, total = 1.0, 0.0
        for order in range(0, degrees - 1, 2):
            total += term
            term *= cos(angle) ** 2 * (order + 1) / (order + 2)
        return sin(angle) * total

    return odd if degrees % 2 else even
