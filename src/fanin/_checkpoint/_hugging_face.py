"""What Hugging Face keeps beside the weights: config.json."""

from copy import deepcopy
from typing import Any, cast

import torch
from torch import nn

__all__ = ["config_text"]


def config_text(model: nn.Module, dtype: torch.dtype | None) -> str | None:
    """The text of the model's config.json, as its ``save_pretrained`` writes it; None without one.

    >>> config_text(nn.Linear(2, 2), None) is None
    True
    """
    config: Any = getattr(model, "config", None)
    if not (hasattr(model, "main_input_name") and hasattr(config, "to_json_string")):
        return None
    config = deepcopy(config)
    floats = (one.dtype for one in model.parameters() if one.is_floating_point())
    used = dtype or next(floats, torch.float32)
    config.dtype = str(used).removeprefix("torch.")
    config.architectures = [type(model).__name__]
    return cast("str", config.to_json_string())
