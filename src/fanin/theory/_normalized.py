"""Nets that are not plain: residual streams, and batch normalization."""

from fanin._errors import FaninError
from fanin._gains import Activation, Gated, moments
from fanin._gains.recognize import resolve, where
from fanin._numbers import is_number
from fanin.theory._checks import require_layers, require_variance
from fanin.theory._mean_field import MeanField

__all__ = ["batch_norm_gradient_growth", "residual_variance"]


def residual_variance(
    branch: MeanField,
    depth: int,
    *,
    branch_scale: float = 1.0,
    normalized: bool = False,
    q0: float | None = None,
) -> tuple[float, ...]:
    """q' = q + branch_scale^2 M(q): the stream x + branch_scale f(x) of blocks 0 to ``depth``.

    M is the branch's variance map, f(x) = W phi(x) + b with fresh weights. Where each branch
    ``normalized`` its input first, M(1) is added instead. A branch that keeps the variance (He's
    start) doubles it in each block; scaled by 1 / sqrt(depth) it makes (1 + 1 / depth)^depth < e
    of it; normalized it adds 1.

    Raises:
        FaninError: ``depth`` below 0, ``branch_scale`` not a number, q0 not above 0.

    >>> from fanin.theory import MeanField, residual_variance
    >>> he = MeanField("relu", 2.0)
    >>> [round(q, 9) for q in residual_variance(he, depth=4)]
    [1.0, 2.0, 4.0, 8.0, 16.0]
    >>> round(residual_variance(he, depth=100, branch_scale=0.1)[-1], 4)
    2.7048
    >>> [round(q, 9) for q in residual_variance(he, depth=3, normalized=True)]
    [1.0, 2.0, 3.0, 4.0]
    """
    require_layers("residual_variance(depth)", depth)
    if not is_number(branch_scale):
        raise FaninError(
            "not a number",
            where="residual_variance(branch_scale=...)",
            found=repr(branch_scale),
            fix="give the factor of the branches, 1.0 by default",
        )
    if q0 is not None:
        require_variance("residual_variance(q0=...)", q0)
    curve = [float(branch.q0 if q0 is None else q0)]
    for _ in range(depth):
        added = branch.q_map(1.0 if normalized else curve[-1])
        curve.append(curve[-1] + branch_scale**2 * added)
    return tuple(curve)


def batch_norm_gradient_growth(activation: Activation) -> float:
    """E phi'^2 / Var phi: the growth of squared gradients in each layer linear, batch norm, phi.

    For large batches, to leading order; pi / (pi - 1) for ReLU (Yang et al. 2019). No scale of
    the weights changes it, as the normalization divides by it.

    Raises:
        FaninError: as ``fanin.moments``; a product unit; a constant phi.

    >>> from fanin.theory import batch_norm_gradient_growth
    >>> round(batch_norm_gradient_growth("relu"), 5), round(batch_norm_gradient_growth("tanh"), 5)
    (1.46694, 1.17781)
    """
    found = moments(activation)
    if isinstance(resolve(activation), Gated) or found.variance == 0:
        raise FaninError(
            "this activation has no such growth",
            where=where(activation),
            found="a product of two inputs" if found.variance else "a constant",
            fix="give an activation of one input that is not constant",
        )
    return found.derivative_second / found.variance
