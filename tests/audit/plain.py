"""What an audit measures, computed again with a few lines of plain torch, in double precision."""

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor

from fanin import Report
from fanin._audit._records import ParameterState, Place

__all__ = [
    "correlation", "moment", "parameter", "place", "position_correlation", "second_moments",
    "variance",
]  # fmt: skip


def moment(tensor: Tensor) -> float:
    """E x^2."""
    return float(tensor.detach().double().square().mean())


def variance(tensor: Tensor) -> float:
    """E (x - mean over the batch)^2, the first axis being the batch."""
    wide = tensor.detach().double()
    return float((wide - wide.mean(0)).square().mean())


def correlation(tensor: Tensor) -> float:
    """The mean of <x_i, x_j> over pairs of different inputs, over that of <x_i, x_i>."""
    rows = tensor.detach().double().flatten(1)
    pairs = [float(rows[i] @ rows[j]) for i, j in permutations(range(len(rows)), 2)]
    own = [float(row @ row) for row in rows]
    return sum(pairs) / len(pairs) / (sum(own) / len(own))


def position_correlation(tensor: Tensor) -> float:
    """`correlation` of the positions of one input, of [batch, positions, features]."""
    wide = tensor.detach().double()
    pairs = [
        float((wide[:, i] * wide[:, j]).sum()) for i, j in permutations(range(wide.shape[1]), 2)
    ]
    own = float(wide.square().sum()) / wide.shape[1]
    return sum(pairs) / len(pairs) / own


def second_moments(loss: Tensor, tensors: Sequence[Tensor]) -> list[float]:
    """E (dloss/dx)^2 of each tensor of a graph."""
    return [moment(one) for one in torch.autograd.grad(loss, list(tensors), retain_graph=True)]


def place(report: Report, name: str) -> Place:
    """The place of this name."""
    return next(one for one in report.places if one.name == name)


def parameter(report: Report, name: str) -> ParameterState:
    """The parameter of this name."""
    return next(one for one in report.parameters if one.name == name)
