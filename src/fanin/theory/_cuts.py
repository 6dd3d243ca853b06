"""Where to cut a function so that each piece is a polynomial to float64's precision."""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.polynomial.legendre import Legendre, leggauss
from numpy.typing import NDArray

__all__ = ["NODES", "WEIGHTS", "Array", "find_cuts"]

Array: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = Callable[[Array], Array]
"""From points of shape (n,) to values of shape (rows, n)."""

# The first panel, then its multiples: irrational, as kinks are at zero and at round numbers.
_LEFT, _RIGHT = -(0.5**0.5), 0.6180339887498949
_OCTAVES: Final = 48
_SECTIONS: Final = 4  # a panel that is not resolved is cut in so many
_LEVELS: Final = 26  # 4**-26: less than float64 can tell apart
_DEEP: Final = 8  # cuts upon cuts that only a kink asks for
# Panels that may be rough at once: near zero enough for a thousand steps, farther for sin until
# a thousand.
_NEAR, _FAR, _NEAR_OCTAVES = 2**10, 2**8, 4
_SLACK: Final = 3e-15  # rounding of an interval's ends
_TOLERANCE: Final = 1e-11  # of a polynomial of degree 19, relative to the values on the panel
_FAINT: Final = 1e-3  # ... or to this share of the values near zero
_NOISE: Final = 1e-5  # below it roughness that cutting does not cure is rounding


def _rules() -> tuple[Array, Array, Array]:
    """Gauss and Lobatto nodes on [0, 1], Gauss weights, and the interpolation from one to other.

    Two integrals of one panel would agree by symmetry on stairs, which are odd about a middle;
    values between do not. All nodes lie a hair inside: a kink on a border is not seen.
    """
    fine, weights = leggauss(20)
    between = np.array([-1.0, *Legendre.basis(12).deriv().roots().real, 1.0])
    nodes = np.clip((np.concatenate([fine, between]) + 1) / 2, 2**-40, 1 - 2**-40)
    basis = np.stack([Legendre.basis(degree)(2 * nodes - 1) for degree in range(20)], 1)
    return nodes, weights / 2, basis[20:] @ np.linalg.inv(basis[:20])


_BOTH, WEIGHTS, _BETWEEN = _rules()
NODES: Final = _BOTH[:20]


def find_cuts(rows: Rows) -> tuple[Array, Array]:
    """``(cuts, kinks)``: between neighbouring cuts the rows are smooth; some cuts are kinks.

    Cuts increase, and the outermost say how far the function could be resolved, at most 10^14;
    none if not even near zero. Kinks are where cutting went deep: jumps of a row or of one
    of its derivatives. A feature narrower than a thirtieth of its distance from zero, or than
    0.04, can be missed.
    """
    left, right = np.array([_LEFT]), np.array([_RIGHT])
    floor = _FAINT * np.abs(rows(left + (right - left) * _BOTH)).max(1)
    cuts, kinks = [], [np.zeros(0)]
    for octave in range(_OCTAVES):
        budget = _NEAR if octave < _NEAR_OCTAVES else _FAR
        found = _close_in(rows, floor, left, right, budget)
        if found is None:
            break
        cuts.append(found[0])
        kinks.append(found[1])
        far = 2.0**octave
        left, right = far * np.array([2 * _LEFT, _RIGHT]), far * np.array([_LEFT, 2 * _RIGHT])
    return np.unique(np.concatenate([np.zeros(0), *cuts])), np.unique(np.concatenate(kinks))


def _close_in(
    rows: Rows, floor: Array, left: Array, right: Array, budget: int
) -> tuple[Array, Array] | None:
    first = _cut(rows, floor, left, right, budget)
    if first is None or len(first[1]) == 0:
        return first
    kinks = first[1]
    # Once more from the kinks: the panels that closed in on them are not needed.
    cuts = []
    for low, high in zip(left, right, strict=True):
        ends = np.unique([low, *kinks[(kinks > low) & (kinks < high)], high])
        again = _cut(rows, floor, ends[:-1], ends[1:], budget)
        if again is None:
            return None
        cuts.append(again[0])
    return np.concatenate(cuts), kinks


def _cut(
    rows: Rows, floor: Array, left: Array, right: Array, budget: int
) -> tuple[Array, Array] | None:
    """The ends of panels that are resolved, and the kinks between them; None over budget."""
    cuts, kinks = [left, right], []
    before = np.full(len(left), np.inf)
    for level in range(_LEVELS):
        roughness, strong = _roughness(rows, floor, left, right)
        if not np.isfinite(roughness).all():
            return None
        noise = (strong < _NOISE) & (roughness > before / 1000)
        rough = (roughness > _TOLERANCE) & ~_of_all_sections(noise, level)
        if level > _DEEP:
            alone = ~rough.reshape(-1, _SECTIONS).any(1)
            kinks += _simplest(left[::_SECTIONS][alone], right[_SECTIONS - 1 :: _SECTIONS][alone])
        if not rough.any() or rough.sum() > budget:
            break
        steps = np.linspace(0.0, 1.0, _SECTIONS + 1)
        inner = left[rough, None] * (1 - steps) + right[rough, None] * steps
        left, right = inner[:, :-1].ravel(), inner[:, 1:].ravel()
        before = np.repeat(roughness[rough], _SECTIONS)
        cuts.append(inner[:, 1:-1].ravel())
    else:
        kinks += _simplest(left[::_SECTIONS], right[_SECTIONS - 1 :: _SECTIONS])
        rough[:] = False
    return None if rough.any() else (np.concatenate(cuts), np.unique(kinks))


def _of_all_sections(noise: NDArray[np.bool_], level: int) -> NDArray[np.bool_]:
    """Rounding is as rough in every section as in the whole; a kink is in one of them."""
    if level == 0:
        return noise
    return np.repeat(noise.reshape(-1, _SECTIONS).all(1), _SECTIONS)


def _roughness(rows: Rows, floor: Array, left: Array, right: Array) -> tuple[Array, Array]:
    """How far a polynomial of degree 19 is off on each panel, relative to the largest value there.

    And relative to the largest near zero, if that is more.
    """
    points = left[:, None] + (right - left)[:, None] * _BOTH
    values = rows(points.ravel()).reshape(-1, *points.shape)
    if not np.isfinite(values).all():
        return np.full(len(left), np.inf), np.full(len(left), np.inf)
    largest = np.maximum(np.abs(values).max(-1), 1e-300)
    size = np.maximum(largest, floor[:, None])
    values = values / size[..., None]
    # einsum: the threads of a matrix product wait for each other longer than this takes.
    expected = np.einsum("rpi,ki->rpk", values[..., :20], _BETWEEN)
    gap = np.abs(values[..., 20:] - expected).max(-1)
    strong = gap * size / np.maximum(size, floor[:, None] / _FAINT)
    return gap.max(0), strong.max(0)


def _simplest(left: Array, right: Array) -> list[float]:
    """From each interval the number with the fewest digits after the point."""
    places = []
    for low, high in zip(left.tolist(), right.tolist(), strict=True):
        middle, slack = (low + high) / 2, _SLACK * max(1.0, abs(low), abs(high))
        rounded = (round(middle, digits) for digits in range(17))
        near = (one for one in rounded if low - slack <= one <= high + slack)
        places.append(next(near, middle) + 0.0)
    return places
