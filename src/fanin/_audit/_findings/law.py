"""What one draw of a fair start does to the log of E x² at one layer: mean and variance.

`fanin.theory.log_growth` has the whole law, for whole nets; this is its mean and variance for one
layer, in microseconds.
"""

from collections.abc import Sequence
from math import comb, log, pi, sqrt
from statistics import NormalDist
from typing import Final

from fanin._audit._findings.net import Layer
from fanin._errors import FaninError
from fanin._gains import moments
from fanin._site import SiteActivation

__all__ = ["chance", "interval", "noise"]

_EXACT: Final = 128
"""Units up to which the sum over the number of active ones is worth its time."""
_NARROW: Final = 8
_RELU: Final = 5.0
_SECOND: Final = 18.7
"""Var ln of E relu(z)² over n units is 5 / n + 18.7 / n², to a thousandth from 128 units on."""


def noise(activation: SiteActivation, units: int) -> tuple[float, float]:
    """Mean and variance of ln(E phi(z)² over ``units`` / its expectation), z independent normal.

    Exact for ReLU, of which k ~ Bin(n, 1/2) units are active, and for none; else the first order,
    k / n with k = E phi⁴ / (E phi²)² - 1. Hanin & Nica 2020, Products of many large random matrices
    and gradients in deep neural networks.

    >>> [round(number, 8) for number in noise("relu", 64)]
    [-0.0401086, 0.08299735]
    """
    if activation == "identity":
        return _psi(units / 2) + log(2 / units), _psi_1(units / 2)
    if activation == "relu":
        return _of_active(units)
    try:
        found = moments(activation)
        kurtosis = found.fourth / found.second**2 - 1
    except (FaninError, ZeroDivisionError):
        kurtosis = _RELU
    variance = kurtosis / units * (1 + (kurtosis - 1) / units)
    return -variance / 2, variance


def _of_active(units: int) -> tuple[float, float]:
    if units > _EXACT:
        variance = _RELU / units + _SECOND / units**2
        return -variance / 2, variance
    shares = [comb(units, k) / (2**units - 1) for k in range(1, units + 1)]
    means = [_psi(k / 2) for k in range(1, units + 1)]
    mean = sum(share * one for share, one in zip(shares, means, strict=True))
    spread = sum(share * (one - mean) ** 2 for share, one in zip(shares, means, strict=True))
    inside = sum(share * _psi_1(k / 2) for k, share in enumerate(shares, start=1))
    return mean + log(4 / units), spread + inside


def _psi(x: float) -> float:
    """The digamma function: by its recurrence up to 10, and Stirling's series from there."""
    below = 0.0
    while x < 10:
        below -= 1 / x
        x += 1
    return below + log(x) - 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4) - 1 / (252 * x**6)


def _psi_1(x: float) -> float:
    """Its derivative."""
    below = 0.0
    while x < 10:
        below += 1 / x**2
        x += 1
    return below + 1 / x + 1 / (2 * x**2) + 1 / (6 * x**3) - 1 / (30 * x**5) + 1 / (42 * x**7)


def chance(layers: Sequence[Layer], by_chance: float) -> tuple[float, float]:
    """Between which ends the log of E x² moves over ``layers`` in all but ``by_chance`` draws."""
    known: dict[tuple[SiteActivation, int], tuple[float, float]] = {}
    mean = variance = 0.0
    for layer in layers:
        key = (layer.site.activation_after, _units(layer))
        if key not in known:
            known[key] = noise(*key)
        mean, variance = mean + known[key][0], variance + known[key][1]
    is_narrow = any(units < _NARROW for _, units in known)
    # Of few units the law has a long tail: Cantelli's bound holds for any.
    errors = sqrt(2 / by_chance) if is_narrow else NormalDist().inv_cdf(1 - by_chance / 2)
    return mean - errors * sqrt(variance), mean + errors * sqrt(variance)


def _units(layer: Layer) -> int:
    layout = layer.site.layout
    return layout.channels_shape()[0] if layout is not None and layout.has_fans else 1


def interval(layers: Sequence[Layer], by_chance: float) -> tuple[float, float]:
    """The same for the median of the layers' own logs.

    The median of m normal numbers has sqrt(pi / 2 m) of one's standard deviation; that of one or
    two is their mean.
    """
    low, high = chance(layers, by_chance)
    count = len(layers)
    wider = sqrt(pi / 2) if count > 2 else 1.0
    middle, reach = (low + high) / 2 / count, (high - low) / 2 / count * wider
    return middle - reach, middle + reach
