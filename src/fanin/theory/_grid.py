"""Where q0 is led for many pairs of variances at once: one table of moments serves all."""

from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fanin.theory._activation import Resolved
from fanin.theory._cuts import Array
from fanin.theory._integrals import moments_of_square
from fanin.theory._variance_map import VarianceMap, study

__all__ = ["limits"]

_TABLE: Final = np.logspace(-14, 10, 193)
_KEPT: Final = 1e-12
_CLOSE: Final = 0.02  # |ln(q' / q)| at which the map may touch the diagonal before the next q
_STEPS: Final = 60
_FOLLOWED: Final = 50  # layers after which a q that jumps to and fro has settled


def limits(phi: Resolved, weight: Array, bias: Array, q0: float) -> Array:
    """The q_star of each pair.

    Of a map that may jump over a fixed point or touch the diagonal, by ``study``.
    """
    second, slope, _ = moments_of_square(phi, _TABLE)
    following = weight[:, None] * second + bias[:, None]
    with np.errstate(all="ignore"):
        off = np.log(following / _TABLE)
        tilt = weight[:, None] * slope * _TABLE / following - 1
    q, way = _followed(phi, weight, bias, q0, np.nanmin(tilt, 1) < -1)
    low, high, limit = _brackets(off, q, way > 0)
    open_ = np.isnan(limit) & (np.abs(way) > _KEPT)
    given = (one[open_] for one in (weight, bias, low, high, way))
    limit[open_] = _refined(phi, *given)
    limit = np.where(np.abs(way) <= _KEPT, q, limit)
    for place in np.flatnonzero(_touches(off, tilt)):
        layer = VarianceMap(phi, float(weight[place]), float(bias[place]))
        limit[place] = study(layer, q0)[1]
    return limit


def _followed(
    phi: Resolved, weight: Array, bias: Array, q0: float, falling: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """q, and ln(q' / q): at q0, or near the end of the way where q' falls somewhere."""
    q = np.full(len(weight), q0)
    for _ in range(_FOLLOWED if falling.any() else 0):
        second = moments_of_square(phi, q[falling])[0]
        q[falling] = weight[falling] * second + bias[falling]
    with np.errstate(all="ignore"):
        return q, np.log((weight * moments_of_square(phi, q)[0] + bias) / q)


def _brackets(off: Array, q: Array, upward: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Ends between which the next fixed point lies; the limit is nan there, else inf or 0."""
    place, last = np.arange(len(_TABLE)), len(_TABLE) - 1
    start = np.clip(np.searchsorted(_TABLE, q, side="right") - 1, 0, last - 1)[:, None]
    turned = np.where(upward[:, None], off < 0, off > 0)
    above = np.where(turned & (place > start), place, last + 1).min(1)
    below = np.where(turned & (place <= start), place, -1).max(1)
    found = np.where(upward, above <= last, below >= 0)
    low = _TABLE[np.where(upward, above - 1, np.maximum(below, 0))]
    high = _TABLE[np.where(upward, np.minimum(above, last), below + 1)]
    return low, high, np.where(found, np.nan, np.where(upward, inf, 0.0))


def _refined(
    phi: Resolved, weight: Array, bias: Array, low: Array, high: Array, way: Array
) -> Array:
    """Newton's steps in ln q, and the middle where they leave the bracket."""
    low, high = np.log(low), np.log(high)
    x = (low + high) / 2
    for _ in range(_STEPS):
        q = np.exp(x)
        second, slope, _ = moments_of_square(phi, q)
        following = weight * second + bias
        off, tilt = np.log(following / q), weight * slope * q / following - 1
        # On the side of q0 the sign is that of the way.
        before = (off > 0) == (way > 0)
        low = np.where(before == (way > 0), x, low)
        high = np.where(before == (way > 0), high, x)
        with np.errstate(all="ignore"):
            step = x - off / tilt
        new = np.where((step > low) & (step < high), step, (low + high) / 2)
        new = np.where(np.abs(off) <= 4e-16, x, new)
        moved, x = float(np.abs(new - x).max(initial=0.0)), new
        if moved < 1e-14:
            break
    return np.exp(x)


def _touches(off: Array, tilt: Array) -> NDArray[np.bool_]:
    """Where the map turns back near the diagonal, between two of the table."""
    sign = np.where(off[:, :-1] > 0, 1.0, -1.0)
    turns = (sign * tilt[:, :-1] < 0) & (sign * tilt[:, 1:] > 0) & (np.abs(off[:, :-1]) < _CLOSE)
    found: NDArray[np.bool_] = np.asarray((turns & (np.abs(off[:, :-1]) > _KEPT)).any(1))
    return found
