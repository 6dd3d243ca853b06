"""All that tracing must leave as it was: of a model, and of the world around it."""

import random

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["give_gradients_and_flags", "picture"]


def give_gradients_and_flags(model: nn.Module) -> None:
    """Gradients and mixed training flags, so that there is something to be left alone."""
    for place, parameter in enumerate(model.parameters()):
        if parameter.requires_grad and not parameter.is_meta:
            parameter.grad = torch.full_like(parameter, float(place))
    for place, module in enumerate(model.modules()):
        module.training = place % 3 == 1


def picture(model: nn.Module) -> dict[str, object]:
    """By name: values, gradients, flags and hooks of the model; states of the generators."""
    found: dict[str, object] = {
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's generator": repr(np.random.get_state()),  # noqa: NPY002 - the global one
        "python's generator": random.getstate(),
    }
    for name, parameter in model.named_parameters(remove_duplicate=False):
        gradient = None if parameter.grad is None else _bits(parameter.grad)
        wants = parameter.requires_grad
        found[f"parameter {name}"] = (id(parameter), _bits(parameter), gradient, wants)
    for name, buffer in model.named_buffers(remove_duplicate=False):
        found[f"buffer {name}"] = (id(buffer), _bits(buffer))
    for name, module in model.named_modules():
        found[f"module {name}"] = (module.training, sorted(vars(module)), _hooks(module))
    return found


def _hooks(module: nn.Module) -> dict[str, list[object]]:
    return {
        key: list(value.values())
        for key, value in vars(module).items()
        if "hooks" in key and isinstance(value, dict)
    }


def _bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
