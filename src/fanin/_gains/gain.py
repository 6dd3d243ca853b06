"""The gain of an activation: what multiplies the std of the weights before it."""

from collections.abc import Callable, Mapping
from math import isfinite, sqrt
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from torch.nn.init import calculate_gain

from fanin._errors import FaninError, nearest
from fanin._gains.gated import Activation
from fanin._gains.moments import Moments, moments
from fanin._gains.names import Named
from fanin._gains.recognize import resolve, where

__all__ = ["Convention", "gain"]

Convention: TypeAlias = Literal["forward", "backward", "std", "torch"]


def _backward_power(found: Moments) -> float:
    if found.value_derivative_second is None:
        return found.derivative_second
    # Both inputs of a product come from one layer of twice the rows, all counted in its fan_out.
    return (found.derivative_second + found.value_derivative_second) / 2


_POWERS: Final[Mapping[str, Callable[[Moments], float]]] = MappingProxyType(
    {
        "forward": lambda found: found.second,
        "backward": _backward_power,
        "std": lambda found: found.variance,
    }
)

_Nonlinearity: TypeAlias = Literal["linear", "relu", "leaky_relu", "tanh", "sigmoid", "selu"]

# torch knows slopes of leaky_relu; a PReLU at its start is one.
_TORCH: Final[Mapping[str, _Nonlinearity]] = MappingProxyType(
    {
        "identity": "linear",
        "relu": "relu",
        "leaky_relu": "leaky_relu",
        "prelu": "leaky_relu",
        "tanh": "tanh",
        "sigmoid": "sigmoid",
        "selu": "selu",
    }
)


def gain(activation: Activation, *, convention: Convention = "forward") -> float:
    """1 / sqrt(E phi(z)^2), z ~ N(0, 1): std = gain / sqrt(fan_in) keeps E z^2 from layer to layer.

    ``convention`` names the power that is kept:

    - ``"forward"``: E phi^2, of the signal (He et al. 2015, eq. 10, for any phi);
    - ``"backward"``: E phi'^2, of the gradient, with std = gain / sqrt(fan_out) (eq. 14); for a
      product unit the mean over its two inputs, whose rows are both counted in fan_out;
    - ``"std"``: Var phi, for layers whose weights sum to zero (weight standardization);
    - ``"torch"``: the table of ``torch.nn.init.calculate_gain``, heuristic for tanh, sigmoid, selu.

    The forward gain alone does not keep a deep plain stack: see ``moments(...).stable``.

    Raises:
        FaninError: as ``moments``; that power is zero or not finite; torch has no such gain.

    >>> import torch
    >>> from fanin import gain
    >>> round(gain("relu"), 6), round(gain(torch.nn.functional.silu), 6)
    (1.414214, 1.676532)
    >>> gain("tanh", convention="torch")
    1.6666666666666667
    """
    if convention == "torch":
        return _torch_gain(activation)
    if convention not in _POWERS:
        raise FaninError(
            "no such convention",
            where="gain(convention=...)",
            found=repr(convention),
            fix=f"one of {nearest(str(convention), [*_POWERS, 'torch'], most=4)}",
        )
    power = _POWERS[convention](moments(activation))
    if not (isfinite(power) and power > 0):
        raise FaninError(
            f"the {convention} gain does not exist",
            where=where(activation),
            found=f"a power of {power}",
            fix='take convention="forward", or another activation',
        )
    return 1 / sqrt(power)


def _torch_gain(activation: Activation) -> float:
    found = resolve(activation)
    if isinstance(found, Named) and found.family.name in _TORCH:
        return float(calculate_gain(_TORCH[found.family.name], *found.values))
    raise FaninError(
        "torch.nn.init.calculate_gain has no number for this activation",
        where=where(activation),
        found='convention="torch"',
        fix=f'take convention="forward"; torch has {", ".join(_TORCH)}',
    )
