"""From a false-alarm rate to a threshold: the one place where tests learn how far is too far.

A false-alarm rate is the probability that the test of a true claim fails, were its seed drawn anew.
The test states it, and the threshold follows from it and from the law of the statistic. Each bound
is two-sided.
"""

from dataclasses import dataclass
from math import log, sqrt
from typing import final

import torch
from torch import Tensor

__all__ = [
    "FALSE_ALARM",
    "QuadraticForm",
    "distribution_threshold",
    "normal_threshold",
    "variance_threshold",
]

FALSE_ALARM = 1e-6
"""One test in a million fails for no reason."""


def normal_threshold(false_alarm: float = FALSE_ALARM, *, comparisons: int = 1) -> float:
    """How many standard errors a normal estimate may be off.

    ``comparisons`` estimates share the false alarms, however they are correlated (Bonferroni).

    >>> round(normal_threshold(0.05), 3)
    1.96
    """
    tail = torch.tensor(false_alarm / comparisons / 2, dtype=torch.float64)
    return -float(torch.special.ndtri(tail))


def variance_threshold(
    samples: int,
    kurtosis: float,
    false_alarm: float = FALSE_ALARM,
    *,
    comparisons: int = 1,
) -> float:
    """How far, relative to the truth, a mean square of independent samples of mean 0 may be off.

    Its standard error is sqrt((kurtosis - 1) / samples); kurtosis is E x⁴ / (E x²)², 3 for a normal
    and 9/5 for a uniform. For hundreds of samples or more, where the mean square is nearly normal.

    >>> round(variance_threshold(10_000, 3, 0.05), 4)
    0.0277
    """
    z = normal_threshold(false_alarm, comparisons=comparisons)
    return z * sqrt((kurtosis - 1) / samples)


def distribution_threshold(samples: int, false_alarm: float = FALSE_ALARM) -> float:
    """How far an empirical distribution function may be from the true one, anywhere.

    Dvoretzky, Kiefer and Wolfowitz with Massart's (1990) constant; holds for any distribution.

    >>> round(distribution_threshold(10_000, 0.05), 4)
    0.0136
    """
    return sqrt(log(2 / false_alarm) / (2 * samples))


@final
@dataclass(frozen=True)
class QuadraticForm:
    """The law of |J w|² for standard normal w: its mean is |J|², and its tails are known.

    With λ the eigenvalues of JᵀJ it is a sum of λ z², z independent standard normals. Laurent and
    Massart (2000), lemma 1: it is above mean + 2 |λ| sqrt(t) + 2 max(λ) t, or below
    mean - 2 |λ| sqrt(t), with probability at most exp(-t) each. No sample size has to be large and
    nothing has to be independent: outputs that share weights are in the λ.
    """

    mean: float
    norm: float
    largest: float

    @classmethod
    def of(cls, jacobian: Tensor, draws: int) -> "QuadraticForm":
        """The sum of |J w|² over independent draws of w; ``jacobian`` is J [outputs, weights]."""
        wide = jacobian.size(0) < jacobian.size(1)
        gram = jacobian @ jacobian.T if wide else jacobian.T @ jacobian
        return cls(
            mean=draws * float(gram.trace()),
            norm=sqrt(draws) * float(gram.norm()),
            largest=float(torch.linalg.eigvalsh(gram)[-1]),
        )

    def bounds(self, claimed: float, false_alarm: float = FALSE_ALARM) -> tuple[float, float]:
        """Between which values the sum lies if ``claimed`` is its mean, save for false alarms."""
        t = log(2 / false_alarm)
        below = 2 * self.norm * sqrt(t)
        above = below + 2 * self.largest * t
        unit = claimed / self.mean
        return claimed - unit * below, claimed + unit * above
