"""The name of a function that is known only by its values."""

from collections.abc import Callable, Iterator
from math import log
from typing import Final

import torch
from torch import Tensor

from fanin._gains.names import FAMILIES, Named, names

__all__ = ["identify"]

_POINTS: Final = torch.linspace(-6.1, 6.3, 63, dtype=torch.float64)
_FAR: Final = torch.tensor([-40.0, 40.0, -1.0, 0.0, 1e-4], dtype=torch.float64)
_TOLERANCE: Final = 1e-7
"""Above what torch's own constants are off by (hardswish: 2e-9), below any other activation."""


def identify(function: Callable[[Tensor], Tensor]) -> str | None:
    """The name of the activation with the values of ``function``, or None.

    Any straight line is the identity.

    >>> identify(lambda x: x * torch.sigmoid(x)), identify(lambda x: torch.sin(30 * x))
    ('silu', 'sin(30x)')
    """
    values = function(_POINTS.clone())
    if values.shape != _POINTS.shape:
        return None
    if _is_straight(values):
        return "identity"
    for candidate in _candidates(function(_FAR.clone())):
        expected = candidate(_POINTS.clone())
        if bool(((values - expected).abs() <= _TOLERANCE * (1 + expected.abs())).all()):
            return str(candidate)
    return None


def _is_straight(values: Tensor) -> bool:
    """Whether a straight line: a scaling is not an activation."""
    bend = values.diff().diff().abs().max()
    return bool(bend <= _TOLERANCE * values.abs().max().clamp(min=1e-30))


def _candidates(far: Tensor) -> Iterator[Named]:
    plain = set(names()) & set(FAMILIES)
    for name, family in FAMILIES.items():
        if name in plain:
            yield Named(family, family.defaults)
    low, high, at_minus_one, at_zero, near = far.tolist()
    yield Named(FAMILIES["leaky_relu"], (_rounded(-at_minus_one),))
    yield Named(FAMILIES["elu"], (_rounded(-low),))
    yield Named(FAMILIES["celu"], (_rounded(-low),))
    yield Named(FAMILIES["sin"], (_rounded(near / 1e-4),))
    if low < high < 40:
        yield Named(FAMILIES["hardtanh"], (_rounded(low), _rounded(high)))
    if at_zero > 0:
        yield Named(FAMILIES["softplus"], (_rounded(log(2) / at_zero), 20.0))


def _rounded(parameter: float) -> float:
    """A parameter as its author wrote it; it was read off with rounding errors."""
    return float(f"{parameter:.5g}")
