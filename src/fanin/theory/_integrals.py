"""Gaussian expectations of an activation at any variance, and of pairs at any correlation."""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.polynomial.legendre import Legendre
from numpy.typing import NDArray

from fanin.theory._activation import Resolved
from fanin.theory._cuts import NODES, WEIGHTS, Array

__all__ = [
    "curvature",
    "derivative_moments",
    "gradient_power",
    "line_for",
    "moments_of_square",
    "noise_moments",
    "pair",
]

Integrand: TypeAlias = Callable[[Array, Array], Array]
"""From u = sqrt(q) z and z, both (panels, 20), to rows of that shape."""

# Panels of three standard deviations. Past nine lies 2e-19 of the mass; a phi that grows fast
# is followed to 38, where the density leaves the range of float64.
_BULK: Final = np.linspace(-9.0, 9.0, 7)
_TAIL: Final = np.linspace(12.0, 38.0, 9)
_WHOLE: Final = np.concatenate([-_TAIL[::-1], _BULK, _TAIL])
_EDGE: Final = 1e-11  # the share of |z| > 8 that asks for the whole line
_SLIVER: Final = 1e-9  # panels so narrow closed in on a pole
_AT_ONCE: Final = 2**19  # numbers in one array
# Where a smoothed kink is cut, in widths of the smoothing.
_AROUND: Final = np.array([-8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0])


def moments_of_square(phi: Resolved, q: Array) -> tuple[Array, Array, Array]:
    """E y^2, its derivative by q, and E y^4, for y = phi(sqrt(q) z), or phi(a) b if gated.

    By parts dE phi^2 / dq = E phi^2 (z^2 - 1) / (2 q): no derivative of phi, and right for steps.
    """

    def integrand(u: Array, z: Array) -> Array:
        square = phi.values(u) ** 2
        return np.stack([square, square * (z * z - 1) / 2, square * square])

    second, bend, fourth = _expectations(phi, q, integrand)
    if phi.gated:
        return q * second, second + bend, 3 * q * q * fourth
    return second, bend / q, fourth


def derivative_moments(phi: Resolved, q: Array) -> tuple[Array, Array]:
    """E phi'^2 and E phi'^4 at sqrt(q) z, almost everywhere: a step adds nothing."""

    def integrand(u: Array, z: Array) -> Array:  # noqa: ARG001
        power = phi.derivatives(u) ** 2
        return np.stack([power, power * power])

    second, fourth = _expectations(phi, q, integrand)
    return second, fourth


def gradient_power(phi: Resolved, q: Array) -> Array:
    """E (dy/dz)^2: E phi'^2, or that by both inputs of a product unit."""
    power, _ = derivative_moments(phi, q)
    if not phi.gated:
        return power
    second, _, _ = moments_of_square(phi, q)
    return second / q + q * power


def noise_moments(phi: Resolved, q: Array) -> tuple[Array, Array]:
    """d ln E phi'^2 / d ln q, and the relative covariance of phi^2 and phi'^2."""

    def integrand(u: Array, z: Array) -> Array:
        square, power = phi.values(u) ** 2, phi.derivatives(u) ** 2
        return np.stack([square, power, square * power, power * (z * z - 1) / 2])

    square, power, both, tilt = _expectations(phi, q, integrand)
    return tilt / power, both / (square * power) - 1


def curvature(phi: Resolved, q: float) -> float:
    """E phi''^2 at sqrt(q) z, for a phi whose phi' does not jump."""
    nodes = 2 * NODES - 1
    basis = [Legendre.basis(degree) for degree in range(len(nodes))]
    values = np.stack([one(nodes) for one in basis], 1)
    slopes = np.stack([one.deriv()(nodes) for one in basis], 1)
    differentiate = 2 * slopes @ np.linalg.inv(values)

    def integrand(u: Array, z: Array) -> Array:  # noqa: ARG001
        width = (u[:, -1:] - u[:, :1]) / (NODES[-1] - NODES[0])
        second: Array = (phi.derivatives(u)[:, None, :] * differentiate).sum(-1) / width
        return np.square(second)[None]

    return float(_expectations(phi, np.array([q]), integrand)[0, 0])


def pair(phi: Resolved, q: float, c: float, line: Array | None) -> tuple[float, float]:
    """E y1 y2 at variances q and correlation c, and its derivative by c; ``line`` is line_for's.

    u1, u2 = sqrt(q) (sqrt(r) x + sqrt(1 - r) y1), sqrt(q) (+-sqrt(r) x + sqrt(1 - r) y2) with
    r = |c|: given x they are independent, so that E phi phi is E m(x) m(+-x) with m = E_y phi,
    and by parts its derivative E n(x) n(+-x) / (1 - r) with n = E_y y phi: no derivative of phi.
    """
    if line is None:
        return np.nan, np.nan
    value, slope = _ends(phi, q, c) if abs(c) == 1 else _inner(phi, q, c, line)
    if phi.gated:
        return q * c * value, q * (value + c * slope)
    return value, slope


def _ends(phi: Resolved, q: float, c: float) -> tuple[float, float]:
    def integrand(u: Array, z: Array) -> Array:  # noqa: ARG001
        if c > 0:
            return np.stack([phi.values(u) ** 2, phi.derivatives(u) ** 2])
        return np.stack([phi.values(u) * phi.values(-u), phi.derivatives(u) * phi.derivatives(-u)])

    cuts = phi.cuts if c > 0 else np.union1d(phi.cuts, -phi.cuts)
    value, power = _expectations(phi, np.array([q]), integrand, cuts)[:, 0]
    return float(value), np.inf if len(phi.steps) else q * float(power)


def _inner(phi: Resolved, q: float, c: float, line: Array) -> tuple[float, float]:
    shared, own = np.sqrt(q * abs(c)), np.sqrt(q * (1 - abs(c)))
    x, weight = _outer(phi, shared, own, line)
    m, n = _conditional(phi, shared * x, own, line)
    other_m, other_n = _conditional(phi, -shared * x, own, line) if c < 0 else (m, n)
    return float((weight * m * other_m).sum()), float((weight * n * other_n).sum() / (1 - abs(c)))


def line_for(phi: Resolved, q: float) -> Array | None:
    """The panels that E phi^2 asks for; None past the reach of phi."""
    square = lambda u, z: (phi.values(u) ** 2)[None]  # noqa: ARG005, E731
    for line in (_BULK, _WHOLE):
        if line[-1] * np.sqrt(q) > phi.reach:
            return None
        if _over(np.array([q]), square, line, phi.cuts)[1][0] < _EDGE:
            return line
    return None


def _outer(phi: Resolved, shared: float, own: float, line: Array) -> tuple[Array, Array]:
    """Nodes and weights for x: phi is seen through a Gaussian of width own."""
    if shared == 0:
        ends = line
    else:
        marks = np.concatenate([phi.cuts, (phi.kinks[:, None] + own * _AROUND).ravel()]) / shared
        # Nothing is narrower than that Gaussian, so that cuts nearer than it are one.
        step = 2 * own / shared
        marks = np.round(marks[np.abs(marks) < line[-1]] / step) * step
        ends = np.union1d(line, marks[np.abs(marks) < line[-1]])
    _, z, weight = _panels(ends, np.zeros(1), np.ones(1), line)
    return z.ravel(), weight.ravel()


def _conditional(phi: Resolved, shift: Array, own: float, line: Array) -> tuple[Array, Array]:
    """E phi(shift + own y) and E y phi(shift + own y) for each shift."""
    low, high = shift.min() + own * line[0], shift.max() + own * line[-1]
    cuts = phi.cuts[(phi.cuts > low) & (phi.cuts < high)]
    parts = max(1, len(shift) * (len(cuts) + len(line)) * 20 // _AT_ONCE)
    found = []
    for some in np.array_split(shift, parts):
        row, y, weight = _panels(cuts, some, np.full(len(some), own), line)
        weighted = weight * phi.values(some[row][:, None] + own * y)
        found.append(_by_row(np.stack([weighted, weighted * y]), row, len(some)))
    mean, first = np.concatenate(found, 1)
    return mean, first


def _expectations(
    phi: Resolved, q: Array, integrand: Integrand, cuts: Array | None = None
) -> Array:
    """E f_i(sqrt(q) z, z): rows by variances; nan where phi is not resolved."""
    cuts = phi.cuts if cuts is None else cuts
    rows = len(integrand(np.zeros((0, 20)), np.zeros((0, 20))))
    found, open_ = np.full((rows, len(q)), np.nan), np.ones(len(q), dtype=bool)
    for line in (_BULK, _WHOLE):
        some = open_ & (line[-1] * np.sqrt(q) < phi.reach)
        if some.any():
            values, share = _over(q[some], integrand, line, cuts)
            trusted = some.copy()
            trusted[some] = share < _EDGE
            found[:, trusted] = values[:, share < _EDGE]
            open_ &= ~trusted
    return found


def _over(q: Array, integrand: Integrand, line: Array, cuts: Array) -> tuple[Array, Array]:
    """The expectations, and the share of them that says they are not to be trusted.

    It lies beyond 8, or beyond 30 on the long line, or where cutting phi came to no end.
    """
    far = 8 if line is _BULK else 30
    parts = max(1, len(q) * (len(cuts) + len(line)) * 20 // _AT_ONCE)
    values, shares = [], []
    for some in np.array_split(q, parts):
        near = cuts[np.abs(cuts) < line[-1] * np.sqrt(some.max())]
        row, z, weight = _panels(near, np.zeros(len(some)), np.sqrt(some), line)
        u = np.sqrt(some)[row][:, None] * z
        lost = (np.abs(z) > far) | (np.maximum(np.ptp(z, 1), np.ptp(u, 1)) < _SLIVER)[:, None]
        with np.errstate(all="ignore"):
            terms = integrand(u, z) * weight
            size = np.maximum(_by_row(np.abs(terms), row, len(some)), 1e-300)
            share = (_by_row(np.abs(terms) * lost, row, len(some)) / size).max(0)
            values.append(_by_row(terms, row, len(some)))
        shares.append(share)
    return np.concatenate(values, 1), np.concatenate(shares)


def _by_row(terms: Array, row: NDArray[np.intp], rows: int) -> Array:
    """The sums of (k, panels, 20) over the panels of each row: (k, rows)."""
    with np.errstate(all="ignore"):
        return np.stack([np.bincount(row, one.sum(1), rows) for one in terms])


def _panels(
    cuts: Array, shift: Array, scale: Array, line: Array
) -> tuple[NDArray[np.intp], Array, Array]:
    """The panels of every row u = shift + scale z: whose they are, nodes z, weights (panels, 20).

    A panel ends at each cut of phi and at each point of ``line``.
    """
    inside = np.clip((cuts - shift[:, None]) / scale[:, None], line[0], line[-1])
    ends = np.sort(np.concatenate([inside, np.broadcast_to(line, (len(shift), len(line)))], 1), 1)
    row, place = np.nonzero(np.diff(ends) > 0)
    left, right = ends[row, place][:, None], ends[row, place + 1][:, None]
    z = left + (right - left) * NODES
    weight = (right - left) * WEIGHTS * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return row, z, weight
