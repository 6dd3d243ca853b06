"""What Hugging Face keeps beside the weights: config.json, and the number of parameters."""

from copy import deepcopy
from typing import Any, cast

import torch
from torch import nn

__all__ = ["config_text", "parameters_of"]


def config_text(model: nn.Module, dtype: torch.dtype | None) -> str | None:
    """The text of the model's config.json, as its ``save_pretrained`` writes it; None without one.

    >>> config_text(nn.Linear(2, 2), None) is None
    True
    """
    if not _is_hugging_face(model):
        return None
    config: Any = deepcopy(model.config)
    floats = (one.dtype for one in model.parameters() if one.is_floating_point())
    used = dtype or next(floats, torch.float32)
    config.dtype = str(used).removeprefix("torch.")
    config.architectures = [type(model).__name__]
    return cast("str", config.to_json_string())


def parameters_of(model: nn.Module) -> int | None:
    """The numbers in the model's parameters, as its index counts them; None for another model.

    >>> parameters_of(nn.Linear(2, 2)) is None
    True
    """
    if not _is_hugging_face(model):
        return None
    return sum(one.numel() for one in model.parameters())


def _is_hugging_face(model: nn.Module) -> bool:
    config = getattr(model, "config", None)
    return hasattr(model, "main_input_name") and hasattr(config, "to_json_string")
