"""Moments of activations under a Gaussian, and the gains that follow from them."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, nan, pi, sqrt
from typing import TypeAlias, final

import torch
from torch import Tensor

from fanin._errors import FaninError
from fanin._gains.constants import AT_UNIT_VARIANCE, COLUMNS
from fanin._gains.elementwise import (
    require_elementwise,
    runnable,
    undisturbed,
    value_and_derivative,
)
from fanin._gains.gated import Activation, Gated
from fanin._gains.names import Named
from fanin._gains.quadrature import expectations
from fanin._gains.recognize import resolve, where
from fanin._numbers import is_number

__all__ = ["Moments", "moments"]

Function: TypeAlias = Callable[[Tensor], Tensor]

# The slope of an exact fixed line (relu: 1) is computed to about 1e-15.
_STABLE = 1 + 1e-9
# The error of an expectation that is still given: a phi with float32 inside needs that much.
_RESOLVED = 1e-6


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """E phi(z)^k for z ~ N(0, input_variance), and what depth makes of them.

    ``derivative_second`` is E phi'(z)^2 almost everywhere: a jump adds nothing. A number that
    is infinite, or that the quadrature could not resolve, is nan. For a product unit
    y = phi(a) b the derivative is the one by the gate a, and ``value_derivative_second`` is
    E (dy/db)^2; otherwise that is None.

    ``slope`` and ``chi`` are those of a plain stack with sigma_w^2 = input_variance / second,
    which has its fixed point at this variance: the factors by which, in each layer, a small
    deviation of the variance and the squared gradient are multiplied (Poole et al. 2016;
    Schoenholz et al. 2017). slope = E phi^2 (z^2 - 1) / (2 E phi^2) with unit z, equal to
    E phi phi' z / E phi^2 where phi has no jump.

    >>> from fanin import moments
    >>> moments("relu").second, moments("relu").stable
    (0.5, True)
    """

    mean: float
    second: float
    variance: float
    fourth: float
    derivative_second: float
    derivative_fourth: float
    slope: float
    input_variance: float = 1.0
    value_derivative_second: float | None = None

    @property
    def chi(self) -> float:
        """sigma_w^2 E phi'^2: the growth of the squared gradient in each layer."""
        derivative = self.derivative_second + (self.value_derivative_second or 0.0)
        return self.input_variance * derivative / self.second

    @property
    def kappa(self) -> float:
        """E phi^4 / (E phi^2)^2 - 1: n units give E phi^2 with relative variance kappa / n."""
        return self.fourth / self.second / self.second - 1

    @property
    def stable(self) -> bool:
        """Whether |slope| <= 1: an error in the variance does not grow with depth."""
        return abs(self.slope) <= _STABLE

    def __str__(self) -> str:
        rows = [
            ("mean", "E phi", self.mean),
            ("second", "E phi^2", self.second),
            ("variance", "Var phi", self.variance),
            ("fourth", "E phi^4", self.fourth),
            ("derivative_second", "E phi'^2", self.derivative_second),
            ("derivative_fourth", "E phi'^4", self.derivative_fourth),
            ("slope", "dq'/dq", self.slope),
            ("chi", "sigma_w^2 E phi'^2", self.chi),
        ]
        if self.value_derivative_second is not None:
            rows.insert(6, ("value_derivative_second", "E (dy/db)^2", self.value_derivative_second))
        lines = [f"  {name:<24}{formula:<20}{value:.10g}" for name, formula, value in rows]
        verdict = "stable" if self.stable else "unstable"
        return "\n".join([f"z ~ N(0, {self.input_variance:g}), {verdict}", *lines])


def moments(activation: Activation, *, variance: float = 1.0) -> Moments:
    """E phi, E phi^2, E phi^4, E phi'^2 for z ~ N(0, variance), to a relative 1e-9.

    Any elementwise callable or module, kinks and jumps included; names need no quadrature at
    variance 1. A phi that rounds to float32 inside is integrated to that precision. The
    derivative is autograd's.

    Raises:
        FaninError: not elementwise (softmax, norms, pooling), random, not finite, without a
            finite second moment or with a zero one; an unknown name; variance not above 0.

    >>> import torch
    >>> from fanin import moments
    >>> print(moments(torch.nn.SiLU()))
    z ~ N(0, 1), unstable
      mean                    E phi               0.2066209641
      second                  E phi^2             0.3557755198
      variance                Var phi             0.313083297
      fourth                  E phi^4             0.9191644113
      derivative_second       E phi'^2            0.3794823516
      derivative_fourth       E phi'^4            0.2865805769
      slope                   dq'/dq              1.172594054
      chi                     sigma_w^2 E phi'^2  1.066634241
    """
    if not (is_number(variance) and isfinite(variance) and variance > 0):
        raise FaninError(
            "the variance of z is not a number above 0",
            where="moments(variance=...)",
            found=repr(variance),
            fix="give the variance of the pre-activations, 1.0 by default",
        )
    found = resolve(activation)
    if isinstance(found, Gated):
        return _product(moments(found.activation, variance=variance), found)
    if isinstance(found, Named):
        return _of_named(found, variance)
    place = where(activation)
    with undisturbed():
        function = runnable(found, place)
        require_elementwise(function, sqrt(variance), place)
        return _integrated(function, variance, place)


def _of_named(activation: Named, variance: float) -> Moments:
    family = activation.family
    if family.negative_slope is not None:
        return _two_slopes(family.negative_slope(*activation.values), variance)
    known = AT_UNIT_VARIANCE.get(family.name)
    if known is not None and variance == 1.0 and activation.values == family.defaults:
        return Moments(**dict(zip(COLUMNS, known, strict=True)))
    place = where(str(activation))
    with undisturbed():
        return _integrated(runnable(activation, place), variance, place)


def _two_slopes(slope: float, variance: float) -> Moments:
    """x above zero, slope * x below: positively homogeneous, so the variance map is a line."""
    power = (1 + slope**2) / 2
    mean = (1 - slope) / sqrt(2 * pi)
    return Moments(
        mean=mean * sqrt(variance),
        second=power * variance,
        variance=(power - mean**2) * variance,
        fourth=1.5 * (1 + slope**4) * variance**2,
        derivative_second=power,
        derivative_fourth=(1 + slope**4) / 2,
        slope=1.0,
        input_variance=variance,
    )


def _product(gate: Moments, unit: Gated) -> Moments:
    """y = phi(a) b of independent a and b: the slope of b's variance, 1, adds to that of phi."""
    if gate.value_derivative_second is not None:
        raise FaninError(
            "the gate of a product unit is a product unit itself",
            where=where(unit),
            found=repr(unit.activation),
            fix='give the activation of the gate, such as Gated("sigmoid") for GLU',
        )
    q = gate.input_variance
    return Moments(
        mean=0.0,
        second=gate.second * q,
        variance=gate.second * q,
        fourth=gate.fourth * 3 * q**2,
        derivative_second=gate.derivative_second * q,
        derivative_fourth=gate.derivative_fourth * 3 * q**2,
        slope=1 + gate.slope,
        input_variance=q,
        value_derivative_second=gate.second,
    )


def _integrated(function: Function, variance: float, place: str) -> Moments:
    deviation = sqrt(variance)
    # Moments about a value near the mean: no cancellation in the variance.
    grid = deviation * torch.linspace(-3, 3, 61, dtype=torch.float64, device="cpu")
    center = function(grid).detach().mean().item()

    def integrand(z: Tensor) -> Tensor:
        phi, derivative = value_and_derivative(function, deviation * z)
        off, square, power = phi - center, phi.square(), derivative.square()
        bend = square * (z.square() - 1)
        return torch.stack([off, off.square(), square.square(), power, power.square(), bend])

    value, error = expectations(integrand)
    value = torch.where(error < _RESOLVED, value, nan)
    off, off_second, fourth, derivative_second, derivative_fourth, bend = value.tolist()
    second, variance_of_phi = off_second + center * (center + 2 * off), off_second - off**2
    _require_power(second, place)
    return Moments(
        mean=center + off,
        second=second,
        # A constant phi has the variance of its rounding.
        variance=variance_of_phi if variance_of_phi > 1e-28 * second else 0.0,
        fourth=fourth,
        derivative_second=derivative_second,
        derivative_fourth=derivative_fourth,
        slope=bend / (2 * second),
        input_variance=variance,
    )


def _require_power(second: float, place: str) -> None:
    if isfinite(second) and second > 0:
        return
    raise FaninError(
        "E phi^2 is not a finite number above 0",
        where=place,
        found="phi is zero everywhere" if second == 0 else "an integral that does not settle",
        fix="phi must not be zero or noisy, and E phi(z)^2 must exist: exp(x^2 / 4) grows too fast",
    )
