"""How steady starts a deep run of plain weights: orthogonal, in pairs where the activation asks."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt
from typing import Final, final

import torch
from torch import Tensor

from fanin._errors import FaninError
from fanin._gains import Gated, gain, moments
from fanin._gains.elementwise import runnable, undisturbed
from fanin._gains.recognize import resolve, where
from fanin._layout import Layout
from fanin._site import Site, SiteActivation
from fanin.initializers import Initializer, LooksLinear, Orthogonal
from fanin.initializers._matrices import Position

__all__ = ["GROWTH", "Passed", "deep_start", "forward_gain", "passed_on"]

GROWTH: Final = 5.0
"""So often at most does the squared gradient grow over a deep run, in the limit of width."""

_REACH: Final = 8.0
_POINTS: Final = 401
_SLACK: Final = 1e-6


@final
@dataclass(frozen=True, slots=True)
class Passed:
    """What the next weight reads of z: phi(z), or phi(z) - phi(-z) where units are ``paired``."""

    function: Callable[[Tensor], Tensor]
    paired: bool

    def gain(self, layers: int) -> float:
        """g with g² E f(z)² = q = E z² and (g² E f'(z)²)^layers = GROWTH; q = 1 where that is less.

        So the power q is a fixed point, the gradient nearly one, and q as large as that allows.
        Where f(z) is a multiple of z any q is, and g is one over the multiple.

        >>> [round(passed_on(name).gain(30), 3) for name in ("relu", "gelu", "tanh", "selu")]
        [1.0, 1.0, 1.272, 0.956]
        """
        most = GROWTH ** (1 / layers)
        low, high = 1e-4, 1.0
        with undisturbed():
            if self._growth(high) <= most:
                low = high
            for _ in range(30 if low < high else 0):
                middle = sqrt(low * high)
                low, high = (low, middle) if self._growth(middle) > most else (middle, high)
            return float(f"{sqrt(low / self._power(low)):.6g}")

    def _power(self, q: float) -> float:
        return _mean(lambda z: self.function(z).square(), q)

    def _growth(self, q: float) -> float:
        """q E f'² / E f²: what one layer does to the squared gradient, by central differences."""
        half = sqrt(q) * _REACH / _POINTS / 2

        def slope(z: Tensor) -> Tensor:
            return (self.function(z + half) - self.function(z - half)).div(2 * half).square()

        return q * _mean(slope, q) / self._power(q)


def _unit() -> Tensor:
    return torch.linspace(0, _REACH, _POINTS, dtype=torch.float64, device="cpu")


def _mean(function: Callable[[Tensor], Tensor], q: float) -> float:
    """E over z ~ N(0, q)."""
    z = sqrt(q) * _unit()
    weight = torch.exp(-_unit().square() / 2)
    weight[0] /= 2
    values = (function(z) + function(-z)) / 2
    return float((weight * values).sum() / weight.sum())


def passed_on(activation: SiteActivation) -> Passed | None:
    """The activation itself if it is steady alone; else its odd part if that is; else None.

    Alone it is where, under its forward gain, a deviation of the power dies out (slope < 1) and
    the difference between two inputs does not (chi > 1): tanh, SELU, ELU, not ReLU, GELU, sigmoid.
    The odd part is where it is linear, or flatter for large z.

    >>> passed_on("relu").paired, passed_on("tanh").paired, passed_on("relu^2"), passed_on("abs")
    (True, False, None, None)
    """
    try:
        found = resolve(activation)
        if isinstance(found, Gated):
            return None
        alone = moments(activation)
        phi = _undisturbed(runnable(found, where(activation)))
    except FaninError:
        return None
    if alone.slope < 1 - _SLACK and alone.chi > 1 + _SLACK:
        return Passed(phi, paired=False)
    z = _unit()
    odd, even = phi(z) - phi(-z), phi(z) + phi(-z)
    steepness = odd[1:] / z[1:]
    flatter = bool((steepness[1:] <= steepness[:-1] * (1 + _SLACK)).all())
    if not flatter or not bool((steepness > _SLACK).all()):
        return None
    if bool((even.abs() < _SLACK).all()):
        return Passed(phi, paired=False)
    return Passed(lambda z: phi(z) - phi(-z), paired=True)


def _undisturbed(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """``function`` with its input kept from it, and nothing else touched."""

    def run(z: Tensor) -> Tensor:
        with undisturbed():
            return function(z.clone()).detach()

    return run


def forward_gain(activation: SiteActivation) -> float:
    """1 / sqrt(E phi²), and 1 for what has no such gain.

    >>> round(forward_gain("relu") ** 2, 12), forward_gain("softmax attention")
    (2.0, 1.0)
    """
    try:
        return gain(activation)
    except FaninError:
        return 1.0


def deep_start(site: Site) -> Initializer:
    """The orthogonal start of one weight of a deep run, in pairs on each side that asks for them.

    A side can have pairs where its width is even and one weight alone stands on its other end; the
    pairs of `LooksLinear` then meet.
    """
    layout = site.layout
    assert layout is not None  # noqa: S101 - the recipe asks only for matrices
    before, after = passed_on(site.activation), passed_on(site.activation_after)
    outputs, inputs = layout.channels_shape()
    # A weight that runs again reads its own output, and its ends would have to be both.
    whole = _is_one_matrix(layout) and site.uses <= 1
    meet = whole and inputs % 2 == 0 and len(site.sources) <= 1
    reads = before is not None and before.paired and meet
    # At the front, pairs of few inputs would be few directions, and a kernel is to see its patch.
    room = reads or (outputs <= 2 * inputs and not _has_kernel(layout))
    room = room and outputs % 2 == 0 and site.role != "readout"
    writes = after is not None and after.paired and whole and room
    number = forward_gain(site.activation)
    if before is not None and reads == before.paired:
        number = before.gain(site.plain_depth)
    if not (reads or writes):
        return Orthogonal(number, keep="signal")
    rows, columns = outputs // (1 + writes), inputs // (1 + reads)
    position: Position = "hidden" if reads and writes else "last" if reads else "first"
    return LooksLinear(number * sqrt(max(1.0, rows / columns)), position=position)


def _is_one_matrix(layout: Layout) -> bool:
    """Whether the centre tap alone can carry the signal: one group, no blocks, no stride."""
    if layout.groups > 1 or layout.blocks or "batch" in layout.axes:
        return False
    arriving, leaving = layout.taps_per_output, layout.taps_per_input
    return arriving is not None and leaving is not None and 2 / 3 < arriving / leaving < 3 / 2


def _has_kernel(layout: Layout) -> bool:
    return prod(layout.matrix_shape()) != prod(layout.channels_shape())
