"""The words a layout is written in."""

from typing import Literal

__all__ = ["Axis", "Role"]

Axis = Literal["out", "in", "kernel", "batch", "lookup", "channel"]

Role = Literal[
    "weight",
    "bias",
    "embedding",
    "recurrent",
    "projection",
    "norm_scale",
    "norm_shift",
    "slope",
]
