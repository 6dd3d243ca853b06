"""The loss of a classifier that knows nothing yet."""

from math import log
from typing import Final

import numpy as np

from fanin._errors import FaninError
from fanin._numbers import is_number, is_whole

__all__ = ["initial_cross_entropy"]

_LARGEST: Final = 100.0
_STEP: Final = 0.1


def initial_cross_entropy(classes: int, logit_std: float) -> float:
    """E ln sum exp(s z): the cross-entropy of independent logits N(0, s^2) that know no label.

    ln C at s = 0, and about ln C + s^2 / 2 (1 - 1 / C) for s up to 1. Integrated to 1e-9, as
    E ln S = int (exp(-t) - E exp(-t S)) dt / t.

    Raises:
        FaninError: fewer than 2 classes; ``logit_std`` not from 0 to 100.

    >>> from math import log
    >>> from fanin.theory import initial_cross_entropy
    >>> initial_cross_entropy(10, 0.0) == log(10), round(initial_cross_entropy(10, 2.0), 3)
    (True, 3.773)
    """
    if not is_whole(classes, 2):
        raise FaninError(
            "not a number of classes",
            where="initial_cross_entropy(classes)",
            found=repr(classes),
            fix="give a whole number of at least 2",
        )
    if not (is_number(logit_std) and 0 <= logit_std <= _LARGEST):
        raise FaninError(
            "not a std of logits from 0 to 100",
            where="initial_cross_entropy(logit_std)",
            found=repr(logit_std),
            fix="give the std of the logits, over the classes and the inputs",
        )
    return log(classes) if logit_std == 0 else _integrated(classes, logit_std)


def _integrated(classes: int, std: float) -> float:
    """By trapezoids, which are exact to rounding for what dies out on both sides."""
    log_t = np.arange(-40 - log(classes) - 9 * std, 6 + 9 * std, _STEP)
    step = min(0.3 / std, 0.3)
    z = np.arange(-9.0, 9.0 + step, step)
    weight = step * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    total = 0.0
    for some in np.array_split(log_t, 1 + len(log_t) * len(z) // 2**20):
        with np.errstate(over="ignore", divide="ignore"):
            missing = (weight * np.expm1(-np.exp(some[:, None] + std * z))).sum(1)
            one = classes * np.log1p(np.maximum(missing, -1.0))
            total += float((np.exp(-np.exp(some)) - np.exp(one)).sum())
    return _STEP * total
