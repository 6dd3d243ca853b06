"""The critical line, on which gradients are kept: chi = 1."""

from math import exp, inf
from typing import Final

import numpy as np

from fanin._errors import FaninError
from fanin._gains import Activation
from fanin.theory._activation import Resolved, resolved
from fanin.theory._checks import require_variance
from fanin.theory._cuts import Array
from fanin.theory._integrals import gradient_power, moments_of_square
from fanin.theory._mean_field import MeanField
from fanin.theory._variance_map import crossing

__all__ = ["critical_line", "edge_of_chaos"]

_SEARCHED: Final = np.logspace(-10, 6, 129)
_KEPT: Final = 1e-11  # rounding of sigma_b^2, relative to q
_STABLE: Final = 1e-9
_NEAR_ZERO: Final = 1e-24


def edge_of_chaos(
    activation: Activation, *, bias_variance: float | None = None, q: float | None = None
) -> MeanField:
    """The start with chi = 1: sigma_w^2 = 1 / E phi'^2 and sigma_b^2 = q - E phi^2 / E phi'^2.

    Give ``bias_variance``, or the variance ``q`` that its layers keep; the MeanField returned
    has its q0 there. It may be an unstable fixed point (``q_fixed_points`` says so): for GELU
    and SiLU it is, up to a q of 3.56 and 14.3. Of several starts the one of the smallest stable
    q is given, else that of the smallest q.
    With bias_variance 0 a smooth odd phi is critical at sigma_w^2 = 1 / phi'(0)^2, where q falls
    to 0 as slowly as 1 / layers.

    Raises:
        FaninError: there is no such start; neither or both of the two are given; as MeanField.

    >>> from fanin.theory import edge_of_chaos
    >>> found = edge_of_chaos("tanh", bias_variance=0.05)
    >>> round(found.weight_variance, 6), round(found.q_star, 6), found.phase
    (1.760955, 0.570048, 'critical')
    """
    phi = resolved(activation)
    if q is not None and bias_variance is None:
        require_variance("edge_of_chaos(q=...)", q)
        weight, bias = (float(one[0]) for one in critical_line(phi, np.array([q])))
        if not bias >= -_KEPT * q:
            raise _none(phi, f"q={q:g}", f"it would need a bias variance of {bias:.4g}")
        return MeanField(activation, weight, max(bias, 0.0), q0=q)
    if bias_variance is not None and q is None:
        require_variance("edge_of_chaos(bias_variance=...)", bias_variance, above_zero=False)
        return _by_bias(activation, phi, float(bias_variance))
    raise FaninError(
        "a critical start is found by the variance of its biases or of its pre-activations",
        where="edge_of_chaos(...)",
        found="neither of them" if q is None else "both of them",
        fix="give bias_variance=, or q=",
    )


def critical_line(phi: Resolved, q: Array) -> tuple[Array, Array]:
    """sigma_w^2 and sigma_b^2 with chi = 1 that keep each q; sigma_b^2 below 0 is impossible."""
    with np.errstate(all="ignore"):
        power = gradient_power(phi, q)
        return 1 / power, q - moments_of_square(phi, q)[0] / power


def _by_bias(activation: Activation, phi: Resolved, bias_variance: float) -> MeanField:
    starts = [
        MeanField(activation, float(critical_line(phi, np.array([q]))[0][0]), bias_variance, q0=q)
        for q in _crossings(phi, bias_variance)
    ]
    if starts:
        return next((one for one in starts if one.q_slope <= 1 + _STABLE), starts[0])
    # What is left are starts at q = 0, or at every q.
    tangent = float(critical_line(phi, np.array([_NEAR_ZERO]))[0][0])
    if bias_variance == 0 and 0 < tangent < inf:
        start = MeanField(activation, tangent)
        if start.phase == "critical" and start.q_star < inf:
            return start
    raise _none(phi, f"bias_variance={bias_variance:g}", "no q between 1e-10 and 1e6 has chi = 1")


def _crossings(phi: Resolved, bias_variance: float) -> list[float]:
    """The q whose critical start has this variance of biases, increasing."""
    off = critical_line(phi, _SEARCHED)[1] - bias_variance
    sure = np.abs(off) > _KEPT * _SEARCHED
    q, off = np.log(_SEARCHED[sure]), off[sure]

    def excess(x: float) -> float:
        return float(critical_line(phi, np.array([exp(x)]))[1][0]) - bias_variance

    places = np.flatnonzero((off[:-1] > 0) != (off[1:] > 0))
    return [exp(crossing(excess, float(q[place]), float(q[place + 1]))) for place in places]


def _none(phi: Resolved, at: str, found: str) -> FaninError:
    return FaninError(
        "this activation has no critical start there",
        where=f"edge_of_chaos({phi.name}, {at})",
        found=found,
        fix="give another bias_variance or q; ReLU and its like are critical at bias_variance 0 "
        "alone, GELU and SiLU above 0 alone",
    )
