"""Gaussian expectations by Gauss-Legendre panels that close in on every kink and jump."""

from collections.abc import Callable
from math import inf, pi, sqrt
from typing import Final, TypeAlias

import torch
from numpy.polynomial.legendre import Legendre, leggauss
from torch import Tensor

__all__ = ["expectations"]

Integrand: TypeAlias = Callable[[Tensor], Tensor]

_SECTIONS: Final = 16  # a panel that is not resolved is cut in so many
_LEVELS: Final = 14  # 16**-14 of a standard deviation: less than float64 can tell apart
_BUDGET: Final = 2**17  # panels in all: about a second
_TOLERANCE: Final = 1e-13  # error of one panel, relative to E|f|
_NOISE: Final = 1e-6  # an error below which roughness everywhere is taken for rounding
_AT_ONCE: Final = 32  # panels in one tensor, 1056 numbers: too few for torch to start threads
# In standard deviations. Past 12 lies 4e-33 of the mass; a phi that grows fast is followed to
# 38, where the density itself leaves the range of float64.
_BULK, _WHOLE = 12, 38


def _rules() -> tuple[Tensor, Tensor]:
    """Nodes on [0, 1] of two rules; the weights of the first, and of their difference.

    Gauss-Legendre with 20 nodes gives the integral, Gauss-Lobatto with 13 the error. One is
    even and one odd, so that a jump in the middle splits them; Lobatto has the end points, so
    that a kink between an end and the first node is seen. They lie a hair inside, so that a
    kink on the border of two panels, where most are, is not.
    """
    fine, fine_weights = leggauss(20)
    top = Legendre.basis(12)
    coarse = torch.tensor([-1.0, *top.deriv().roots(), 1.0], dtype=torch.float64, device="cpu")
    coarse_weights = 2 / (12 * 13 * torch.from_numpy(top(coarse.numpy())) ** 2)
    weights = torch.zeros(2, 33, dtype=torch.float64, device="cpu")
    weights[:, :20] = torch.from_numpy(fine_weights) / 2
    weights[1, 20:] = -coarse_weights / 2
    nodes = (torch.cat([torch.from_numpy(fine), coarse]) + 1) / 2
    return nodes.clamp(2**-40, 1 - 2**-40), weights


_NODES, _WEIGHTS = _rules()


def expectations(integrand: Integrand) -> tuple[Tensor, Tensor]:
    """E f_i(z) for z ~ N(0, 1), and their relative errors: two float64 tensors of shape (k,).

    ``integrand`` maps z of shape (n,) to rows f_i of shape (k, n). An error is the gap between
    two rules, relative to E|f_i|, and so larger than the true one. A row that is not finite
    gives nan; one that has not died out where the density does has an infinite error.
    """
    value, error, edge = _over(_BULK, integrand)
    if bool((edge > 1e-16).any()):
        value, error, edge = _over(_WHOLE, integrand)
    return value, torch.where(edge > 1e-12, inf, error)


def _over(half: int, integrand: Integrand) -> tuple[Tensor, Tensor, Tensor]:
    """Over [-half, half]: integrals, errors, and the share of the two outermost panels."""
    width, used = 1.0, 2 * half
    left = torch.arange(-half, half, dtype=torch.float64, device="cpu")
    integral, gap = _integrate(integrand, left, width)
    size = integral.abs().sum(1).clamp_min(5e-324)  # near E|f|; a row of zeros has no error
    edge = integral[:, [0, -1]].abs().sum(1) / size
    total, error = torch.zeros_like(size), torch.zeros_like(size)
    for level in range(_LEVELS):
        rough = (gap > _TOLERANCE * size[:, None]).any(0)
        noise = level > 0 and bool(((error + gap.sum(1)) < _NOISE * size).all())
        noise = noise and int(rough.sum()) > len(left) / 2
        used += _SECTIONS * int(rough.sum())
        if noise or used > _BUDGET or level == _LEVELS - 1:
            rough = torch.zeros_like(rough)
        total += integral[:, ~rough].sum(1)
        error += gap[:, ~rough].sum(1)
        if not bool(rough.any()):
            break
        width /= _SECTIONS
        steps = width * torch.arange(_SECTIONS, dtype=torch.float64, device="cpu")
        left = (left[rough, None] + steps).flatten()
        integral, gap = _integrate(integrand, left, width)
    return total, error / torch.maximum(size, total.abs()), edge


def _integrate(integrand: Integrand, left: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """The integral of each row over each panel, and the gap between the two rules: (k, panels)."""
    parts = []
    for start in torch.split(left, _AT_ONCE):
        z = start[:, None] + width * _NODES
        rows = integrand(z.flatten()).reshape(-1, *z.shape)
        weighted = rows * (torch.exp(-z.square() / 2) * (width / sqrt(2 * pi)))
        # Not a matrix product: its threads wait for each other longer than all this takes.
        parts.append(torch.stack([(weighted * weights).sum(-1) for weights in _WEIGHTS]))
    integral, gap = torch.cat(parts, dim=2)
    return integral, gap.abs()
