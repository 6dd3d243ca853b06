"""Find a parameter by its dotted name, and its shape, without disturbing the module."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from fanin._errors import FaninError, nearest

__all__ = ["owner_of", "shape_of"]


def owner_of(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The submodule that owns the parameter ``name``, and the parameter's name there."""
    if not isinstance(module, nn.Module) or not isinstance(name, str):
        raise FaninError(
            "a layout is read from a module and the name of its parameter",
            where="fanin.layout",
            found=f"{type(module).__name__}, {name!r}"[:80],
            fix="give the layer and a name: fanin.layout(net.fc1, 'weight'); "
            "for a bare tensor: fanin.Layout(tensor.shape, 'out in')",
        )
    path, _, local = name.rpartition(".")
    try:
        return module.get_submodule(path), local
    except AttributeError:
        known = [name for name, _ in module.named_modules() if name]
        raise FaninError(
            "there is no such submodule",
            where=type(module).__name__,
            found=repr(path),
            fix=f"use one of: {nearest(path, known)}" if known else "name a parameter of its own",
        ) from None


def shape_of(module: nn.Module, name: str) -> tuple[int, ...]:
    """The shape of ``module``'s own parameter ``name``; a parametrized one is not computed."""
    if parametrize.is_parametrized(module, name):
        return _parametrized_shape(module, name)
    tensor = getattr(module, name, None) if name else None
    if not isinstance(tensor, Tensor):
        raise _missing(module, name)
    if is_lazy(tensor):
        raise FaninError(
            "a lazy parameter has no shape yet",
            where=f"{type(module).__name__}.{name}",
            found=type(tensor).__name__,
            fix="run the model once on a batch, then ask again",
        )
    return tuple(tensor.shape)


def _missing(module: nn.Module, name: str) -> FaninError:
    known = [key for key, _ in module.named_parameters()]
    found = repr(name)
    if name and hasattr(module, name):
        value = getattr(module, name)
        found += " is None" if value is None else f" is a {type(value).__name__}"
        if isinstance(value, nn.Module):
            known = [f"{name}.{key}" for key, _ in value.named_parameters()]
    return FaninError(
        "there is no such parameter",
        where=type(module).__name__,
        found=found,
        fix=f"use one of: {nearest(name, known)}" if known else "there are none here",
    )


def _parametrized_shape(module: nn.Module, name: str) -> tuple[int, ...]:
    # To read the attribute runs the parametrization, and that can change the model: spectral_norm
    # takes a power iteration each time. A copy runs instead, without memory or arithmetic where
    # its operations allow meta tensors.
    original = module.get_submodule(f"parametrizations.{name}")
    tensors = [*original.parameters(), *original.buffers()]
    try:
        return _result_shape(deepcopy(original, {id(t): _without_memory(t) for t in tensors}))
    except RuntimeError:
        return _result_shape(deepcopy(original))


def _without_memory(tensor: Tensor) -> Tensor:
    empty = tensor.detach().to("meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


def _result_shape(parametrization: nn.Module) -> tuple[int, ...]:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return tuple(parametrization().shape)
