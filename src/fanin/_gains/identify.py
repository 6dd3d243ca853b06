"""The name of a function that is known only by its values."""

from collections.abc import Callable, Iterator
from math import isfinite, log
from typing import Final

import torch
from torch import Tensor

from fanin._gains.names import FAMILIES, Named, names

__all__ = ["identify"]

_POINTS: Final = torch.linspace(-6.1, 6.3, 63, dtype=torch.float64)
_NEAR: Final = 1e-4
_FAR: Final = (-400.0, 400.0, -1.0, 0.0, _NEAR)
"""Where the parameters of a family can be read off."""
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
    for candidate in _candidates(function(torch.tensor(_FAR, dtype=torch.float64))):
        expected = candidate(_POINTS.clone())
        close = (values - expected).abs() <= _TOLERANCE * (1 + expected.abs())
        if bool((close & expected.isfinite()).all()):
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
    for name, parameters in (
        ("leaky_relu", (-at_minus_one,)),
        ("elu", (-low,)),
        ("celu", (-low,)),
        ("sin", (near / _NEAR,)),
        ("hardtanh", (low, high)),
        ("softplus", (log(2) / at_zero if at_zero > 0 else 0.0, 20.0)),
    ):
        if _is_usable(name, parameters):
            candidate = Named(FAMILIES[name], tuple(_rounded(one) for one in parameters))
            yield candidate


def _is_usable(name: str, parameters: tuple[float, ...]) -> bool:
    """Whether the numbers read off a function can be parameters of this family."""
    if not all(isfinite(parameter) for parameter in parameters):
        return False
    if name == "hardtanh":
        return parameters[0] < parameters[1] < -_FAR[0]
    return parameters[0] > 0 if name in ("elu", "celu", "softplus") else parameters[0] != 0


def _rounded(parameter: float) -> float:
    """A parameter as its author wrote it; it was read off with rounding errors."""
    return float(f"{parameter:.5g}")
