"""Models of timm: an architecture by its name, without pretrained weights."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from fanin._errors import FaninError, nearest
from fanin._target._python import must_import, raised

__all__ = ["build", "input_shape"]


def build(name: str, values: Mapping[str, Any]) -> tuple[nn.Module, str]:
    """``timm.create_model(name, pretrained=False)``, and this in words.

    Raises:
        FaninError: where timm is not installed, has no such architecture, or refuses a value.
    """
    timm = must_import("timm", option="timm:")
    if not timm.is_model(name):
        raise FaninError(
            "timm has no such architecture",
            where=f"timm:{name}",
            found=f"{len(timm.list_models())} others in timm {timm.__version__}",
            fix=f"name one that it has: {nearest(name, timm.list_models())}",
        )
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, **values)
    except Exception as error:
        raise raised(error, f"timm could not make {name}", f"timm:{name}") from error
    return model, f"timm.create_model({name!r})"


def input_shape(model: nn.Module) -> tuple[int, ...] | None:
    """Channels, height and width that the model says it was made for; None where it does not."""
    for attribute in ("pretrained_cfg", "default_cfg"):
        said = getattr(model, attribute, None)
        if isinstance(said, Mapping) and "input_size" in said:
            return tuple(said["input_size"])
    return None
