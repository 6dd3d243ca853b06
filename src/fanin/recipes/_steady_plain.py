"""How steady starts a deep run of plain weights: orthogonal, on the odd part of the activation."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod, sqrt
from typing import Final, final

import torch
from torch import Tensor

from fanin._errors import FaninError
from fanin._gains import Gated, gain
from fanin._gains.elementwise import runnable, undisturbed
from fanin._gains.recognize import resolve, where
from fanin._layout import Layout
from fanin._site import Site, SiteActivation
from fanin.initializers import Initializer, LooksLinear, Orthogonal
from fanin.initializers._matrices import Position

__all__ = ["GROWTH", "OddPart", "forward_gain", "linear_start", "odd_part"]

GROWTH: Final = 5.0
"""So often at most does the squared gradient grow over a deep run."""

_REACH: Final = 8.0
_POINTS: Final = 401
_SLACK: Final = 1e-6


@final
@dataclass(frozen=True, slots=True)
class OddPart:
    """h(z) = phi(z) - phi(-z): what units in pairs z and -z pass on; or phi, if it is odd itself.

    ``mirrored``: phi is not odd, so the pairs have to be made.
    """

    function: Callable[[Tensor], Tensor]
    mirrored: bool

    def gain(self, layers: int) -> float:
        """g with g² E h(z)² = q = E z² and (g² E h'(z)²)^layers = GROWTH; q = 1 where that is less.

        So the power q is a fixed point, the gradient nearly one, and q as large as that allows.
        For h(z) = 2 slope z any q is, and g = 1 / (2 slope).

        >>> [round(odd_part(name).gain(30), 3) for name in ("relu", "gelu", "tanh")]
        [1.0, 1.0, 1.272]
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
        return _mean(self.function(sqrt(q) * _unit()).square())

    def _growth(self, q: float) -> float:
        """q E h'² / E h²: the slope of the power's line through 0, by central differences."""
        u = _unit()
        half = sqrt(q) * _REACH / (_POINTS - 1) / 2
        ahead, behind = sqrt(q) * u + half, sqrt(q) * u - half
        # h is odd, and asked only on its right side.
        left = torch.where(behind < 0, -1.0, 1.0) * self.function(behind.abs())
        slope = (self.function(ahead) - left) / (2 * half)
        return q * _mean(slope.square()) / self._power(q)


def _unit() -> Tensor:
    return torch.linspace(0, _REACH, _POINTS, dtype=torch.float64, device="cpu")


def _mean(values: Tensor) -> float:
    """E of an even function of z ~ N(0, 1), given at the points z >= 0."""
    weight = torch.exp(-_unit().square() / 2)
    weight[0] /= 2
    return float((weight * values).sum() / weight.sum())


def odd_part(activation: SiteActivation) -> OddPart | None:
    """The odd part of an activation if it is linear or flatter for large z, else None.

    >>> odd_part("relu").mirrored, odd_part("tanh").mirrored, odd_part("relu^2"), odd_part("abs")
    (True, False, None, None)
    """
    z = _unit()
    try:
        function = _function(activation)
        with undisturbed():
            right, left = function(z.clone()).detach(), function(-z).detach()
    except FaninError:
        return None
    odd, even = right - left, right + left
    steepness = odd[1:] / z[1:]
    flatter = bool((steepness[1:] <= steepness[:-1] * (1 + _SLACK)).all())
    if not flatter or not bool((steepness > _SLACK).all()):
        return None
    mirrored = bool(even.abs().max() > _SLACK)
    return OddPart(partial(_odd, function, mirrored=mirrored), mirrored)


def _odd(function: Callable[[Tensor], Tensor], z: Tensor, *, mirrored: bool) -> Tensor:
    right = function(z.clone()).detach()
    return right - function(-z).detach() if mirrored else right


def _function(activation: SiteActivation) -> Callable[[Tensor], Tensor]:
    found = resolve(activation)
    if isinstance(found, Gated):
        raise FaninError(
            "a product has two inputs",
            where=where(found),
            found=str(found.activation),
            fix="give the activation of its gate",
        )
    return runnable(found, where(activation))


def forward_gain(activation: SiteActivation) -> float:
    """1 / sqrt(E phi²), and 1 for what has no such gain.

    >>> round(forward_gain("relu") ** 2, 12), forward_gain("softmax attention")
    (2.0, 1.0)
    """
    try:
        return gain(activation)
    except FaninError:
        return 1.0


def linear_start(site: Site) -> Initializer:
    """The start of one weight of a deep run: mirrored on each side where units can be paired.

    A side can where its activation is not odd, its width is even, and one weight alone stands on
    its other end; the pairs of `LooksLinear` then meet.
    """
    layout = site.layout
    assert layout is not None  # noqa: S101 - the recipe asks only for matrices
    before, after = odd_part(site.activation), odd_part(site.activation_after)
    outputs, inputs = layout.channels_shape()
    pairs = _is_one_matrix(layout)
    reads = before is not None and before.mirrored and pairs and inputs % 2 == 0
    # A weight that runs again reads its own output, and its ends would have to be both.
    pairs = pairs and site.uses <= 1
    reads = reads and pairs and len(site.sources) <= 1
    # At the front, pairs of few inputs would be few directions, and a kernel is to see its patch.
    room = reads or (outputs <= 2 * inputs and not _has_kernel(layout))
    room = room and outputs % 2 == 0 and site.role != "readout"
    writes = after is not None and after.mirrored and pairs and room
    number = forward_gain(site.activation)
    if before is not None and reads == before.mirrored:
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
