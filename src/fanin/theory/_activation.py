"""An activation that was checked, and cut where it has to be."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from fanin._errors import FaninError
from fanin._gains import Activation, Gated
from fanin._gains.elementwise import (
    require_elementwise,
    runnable,
    undisturbed,
    value_and_derivative,
)
from fanin._gains.recognize import canonical, resolve, where
from fanin.theory._cuts import Array, find_cuts

__all__ = ["Resolved", "resolved"]

_AT_ONCE: Final = 2**15 - 1  # numbers in one tensor: for more torch starts threads
_STEP: Final = 1e-7


@final
@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """phi, how it is called, and where it has to be cut.

    Between neighbours of ``cuts`` 20 nodes integrate phi and its powers to 1e-12; ``kinks`` are
    the cuts at which phi or a derivative jumps, and ``steps`` the kinks at which phi itself
    does. For a product unit phi is the gate.
    """

    name: str
    gated: bool
    function: Callable[[Tensor], Tensor] = field(repr=False)
    cuts: Array = field(repr=False)
    kinks: Array = field(repr=False)
    steps: Array = field(repr=False)
    bends: Array = field(repr=False)

    @property
    def reach(self) -> float:
        """phi is resolved on [-reach, reach]."""
        return float(min(-self.cuts[0], self.cuts[-1]))

    def values(self, u: Array) -> Array:
        """phi(u)."""
        return _in_parts(lambda x: self.function(x.clone()).detach(), u)

    def derivatives(self, u: Array) -> Array:
        """phi'(u), as autograd has it."""
        return _in_parts(lambda x: value_and_derivative(self.function, x)[1], u)


def resolved(activation: Activation) -> Resolved:
    """Check an activation and cut it; a module is copied.

    Raises:
        FaninError: as ``fanin.moments``; a product unit in the gate of another; too rough or
            not finite near zero.
    """
    found, place = resolve(activation), where(activation)
    gated = isinstance(found, Gated)
    inner = resolve(found.activation) if isinstance(found, Gated) else found
    if isinstance(inner, Gated):
        raise FaninError(
            "the gate of a product unit is a product unit itself",
            where=place,
            found=repr(inner.activation),
            fix='give the activation of the gate, such as Gated("sigmoid") for GLU',
        )
    name = canonical(activation)
    with undisturbed():
        function = runnable(inner, place)
        require_elementwise(function, 1.0, place)
        cuts, kinks = find_cuts(lambda u: _rows(function, u))
        _require_cuts(cuts, place)
        kinks = kinks[(kinks > cuts[0]) & (kinks < cuts[-1])]
        steps, bends = _jumps(lambda u: _rows(function, u), kinks)
    said = name if isinstance(name, str) else place.removeprefix("activation ")
    return Resolved(said, gated, function, cuts, kinks, steps, bends)


def _rows(function: Callable[[Tensor], Tensor], u: Array) -> Array:
    """phi and phi'; autograd may give no number at a kink or a pole of phi'."""
    value, derivative = value_and_derivative(function, torch.from_numpy(u))
    return np.stack([value.numpy(), np.nan_to_num(derivative.numpy(), posinf=0.0, neginf=0.0)])


def _jumps(rows: Callable[[Array], Array], kinks: Array) -> tuple[Array, Array]:
    """The kinks at which phi jumps, and those at which phi or phi' does."""
    step = _STEP * np.maximum(1.0, np.abs(kinks))
    (before, slope_before), (after, slope_after) = rows(kinks - step), rows(kinks + step)
    steep = np.maximum(np.abs(slope_before), np.abs(slope_after))
    size = np.maximum(np.abs(before), np.abs(after))
    phi = np.abs(after - before) > 4 * step * steep + 1e-5 * size
    bend = np.abs(slope_after - slope_before) > 1e-4 * steep
    return kinks[phi], kinks[phi | bend]


def _require_cuts(cuts: Array, place: str) -> None:
    if len(cuts):
        return
    raise FaninError(
        "the activation is too rough or too large near zero",
        where=place,
        found="values that no thousand panels resolve between -0.7 and 0.6",
        fix="give an activation with fewer jumps, finite near zero",
    )


def _in_parts(one: Callable[[Tensor], Tensor], u: Array) -> Array:
    with undisturbed():
        flat = torch.from_numpy(np.ascontiguousarray(u).reshape(-1))
        parts = [one(part) for part in torch.split(flat, _AT_ONCE)]
    return torch.cat(parts).numpy().reshape(u.shape)
