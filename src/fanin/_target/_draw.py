"""Numbers to run a model on where nobody has given any."""

import torch
from torch import Tensor, nn

from fanin.initializers import Normal

__all__ = ["float_type", "floats"]


def floats(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Standard normal numbers, the same whenever name and shape are."""
    return Normal(1.0).fill_(torch.empty(shape, dtype=dtype), seed=0, name=name)


def float_type(model: nn.Module) -> torch.dtype:
    """The dtype of the first parameter that has a floating point."""
    types = (one.dtype for one in model.parameters() if one.is_floating_point())
    return next(types, torch.float32)
