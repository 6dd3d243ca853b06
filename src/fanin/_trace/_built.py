"""Starts that a model declares for itself, read from the values and marks of its tensors."""

from math import sqrt
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fanin._layout import Layout
from fanin.initializers._target import has_no_data

__all__ = ["built"]

_MARKS: Final = ("_no_reinit", "_is_hf_initialized")
_NEAR: Final = 0.01
"""A weight whose largest entry is this much of 1 / sqrt(fan_in) is meant to be nearly zero."""
_ABSURD: Final = 1e10
"""No start has entries of this size; memory that was never written often has."""


def built(tensor: Tensor, owner: nn.Module, layout: Layout | None, *, is_bias: bool) -> str:
    """What the model declares this tensor's start to be; ``""`` for an ordinary draw.

    >>> built(torch.zeros(3, 3), nn.Identity(), None, is_bias=False)
    'zeros'
    >>> built(torch.full((4,), 1e-5), nn.Identity(), None, is_bias=False)
    'constant 1e-05'
    """
    for mark in _MARKS:
        if getattr(tensor, mark, False):
            return f"marked {mark}"
    if has_no_data(tensor) or not tensor.numel() or not tensor.is_floating_point():
        return ""
    values = tensor.detach()
    low, high = (float(entry) for entry in torch.aminmax(values))
    if not (abs(low) < _ABSURD and abs(high) < _ABSURD):
        return "not finite"
    if low == high and (values.numel() > 1 or low in (0.0, 1.0) or values.dim() == 0):
        return _constant(low)
    return _set_apart(values, owner, layout) if is_bias else _shaped(values, layout)


def _shaped(values: Tensor, layout: Layout | None) -> str:
    """A weight that is an identity, or so small that it is meant to be nearly nothing."""
    if _is_identity(values):
        return "identity"
    largest = float(values.abs().max())
    if layout is not None and layout.has_fans and largest < _NEAR / sqrt(layout.fan_in):
        return f"nearly zero: up to {largest:.3g}"
    return ""


def _constant(value: float) -> str:
    named = {0.0: "zeros", 1.0: "ones"}
    return named.get(value, f"constant {value:.6g}")


def _is_identity(values: Tensor) -> bool:
    if values.dim() != 2 or min(values.shape) < 2:
        return False
    if values[0, 0] != 1 or values[0, 1] != 0:
        return False
    identity = torch.eye(*values.shape, device=values.device, dtype=values.dtype)
    return torch.equal(values, identity)


def _set_apart(bias: Tensor, owner: nn.Module, layout: Layout | None) -> str:
    """Whether a bias has values that torch's own start of its layer cannot have drawn."""
    weight = None if parametrize.is_parametrized(owner) else getattr(owner, "weight", None)
    if layout is None or not isinstance(weight, Tensor) or weight.dim() < 2 or not weight.numel():
        return ""
    if not isinstance(owner, (nn.Linear, nn.modules.conv._ConvNd)):  # noqa: SLF001 - their base
        return ""
    bound = 1 / sqrt(weight[0].numel())
    largest = float(bias.abs().max())
    return f"set apart: up to {largest:.3g}, torch draws within {bound:.3g}" * (
        largest > bound * 1.01
    )
