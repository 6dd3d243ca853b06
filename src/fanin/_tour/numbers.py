"""Numbers as they are kept in results.json: six significant digits, None where there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from statistics import fmean, stdev
from typing import Final, final

__all__ = ["Interval", "paired_interval", "short", "short_or_none"]

# 97.5 % quantiles of Student's t for 1 to 19 degrees of freedom.
T_975: Final = (
    12.7062047364, 4.3026527297, 3.1824463053, 2.7764451052, 2.5705818356, 2.4469118511,
    2.3646242516, 2.3060041352, 2.2621571628, 2.2281388520, 2.2009851601, 2.1788128297,
    2.1603686565, 2.1447866879, 2.1314495456, 2.1199052992, 2.1098155778, 2.1009220402,
    2.0930240544,
)  # fmt: skip


def short(value: float) -> float:
    """``value`` to six significant digits: what is printed is what is stored.

    >>> short(0.12345678)
    0.123457
    """
    return float(f"{value:.6g}")


def short_or_none(value: float) -> float | None:
    """The same, and None for NaN and infinity, which JSON cannot hold."""
    return short(value) if isfinite(value) else None


@final
@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def paired_interval(differences: Sequence[float]) -> Interval:
    """mean ± t s / sqrt(n): Student's 95 % interval of paired differences, n from 2 to 20.

    >>> paired_interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, low=-0.484138, high=4.48414)
    """
    mean, count = fmean(differences), len(differences)
    half = T_975[count - 2] * stdev(differences) / sqrt(count)
    return Interval(short(mean), short(mean - half), short(mean + half))
