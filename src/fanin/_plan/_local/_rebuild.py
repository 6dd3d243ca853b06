"""What is kept and has no values on meta, as its own module fills it; the module is untouched."""

from collections.abc import Collection, Sequence
from copy import copy
from math import nan
from typing import Final, cast

import torch
from torch import Tensor, nn

from fanin._errors import FaninError
from fanin._site import Site
from fanin._trace._built import built
from fanin._trace._names import Tensors

__all__ = ["rebuilt", "unknown_values"]

_RESETS: Final = ("reset_parameters", "reset_running_stats")
"""torch's names for what fills a module."""
_FIXED: Final = {"zeros": 0.0, "ones": 1.0}


def rebuilt(target: Tensors, site: Site | None) -> Tensor | None:
    """The values of a tensor that has none, whole and on the CPU; None where nobody knows them.

    They are those that the plan saw, where it has them in full, else what the module's own
    ``reset_parameters`` or ``reset_running_stats`` writes, if that is the same twice, from
    different memory and different random numbers.
    """
    seen = "" if site is None else site.built
    shape, dtype = tuple(target.tensors[0].shape), target.tensors[0].dtype
    if seen in _FIXED:
        return torch.full(shape, _FIXED[seen], dtype=dtype)
    if seen == "identity" and len(shape) == 2:
        return torch.eye(*shape, dtype=dtype)
    for reset in () if target.stored else _RESETS:
        first, second = (_filled(target, reset, attempt) for attempt in (0, 1))
        if first is not None and second is not None and torch.equal(first, second):
            return first if site is None or _is_as_planned(first, target, site) else None
    return None


def unknown_values(names: Sequence[str], *, fix: str) -> FaninError:
    """The error for tensors that `rebuilt` knows no values of."""
    return FaninError(
        "only the model knows how these tensors start, and they have no values on the meta device",
        where=", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else ""),
        found="no reset_parameters of their modules that writes the same each time",
        fix=fix,
    )


def _is_as_planned(values: Tensor, target: Tensors, site: Site) -> bool:
    """Whether ``values`` look as those that the plan saw, as far as it noted them."""
    seen = site.built
    said = built(values, target.owner, site.layout, is_bias=site.role == "bias")
    return not seen or seen.startswith("marked") or said == seen


def _filled(target: Tensors, reset: str, attempt: int) -> Tensor | None:
    """What ``reset`` leaves in the tensor's place in a twin of its module."""
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(attempt)
    try:
        twin = _twin(target.owner, {target.local}, _poison(target.tensors[0], attempt))
        with torch.no_grad():
            getattr(twin, reset)()
        found = getattr(twin, target.local)
    except Exception:  # noqa: BLE001 - the method is the user's own code, and may need more
        return None
    finally:
        generator.set_state(state)
    wanted = target.tensors[0]
    known = isinstance(found, Tensor) and not found.is_meta and found.shape == wanted.shape
    if not known or found.dtype != wanted.dtype or found.isnan().any():
        return None
    return cast("Tensor", found.detach())


def _poison(like: Tensor, attempt: int) -> Tensor:
    """Memory that tells later whether it was written: other entries in each attempt."""
    is_float = like.is_floating_point() or like.is_complex()
    value = nan if is_float else attempt
    return torch.full(tuple(like.shape), value, dtype=like.dtype)


def _twin(module: nn.Module, real: Collection[str], memory: Tensor) -> nn.Module:
    """A module of the same kind and settings, on meta but for ``memory``, with children so too.

    Not by copying: what FSDP made of a class cannot be copied.
    """
    twin = object.__new__(type(module))
    for name, value in vars(module).items():
        object.__setattr__(twin, name, copy(value) if type(value) in (dict, list, set) else value)
    for table in ("_parameters", "_buffers"):
        tensors = getattr(module, table)
        object.__setattr__(twin, table, {k: _held(k, v, real, memory) for k, v in tensors.items()})
    children = module._modules.items()  # noqa: SLF001 - named_children leaves out the doubles
    inner = {name: child and _twin(child, (), memory) for name, child in children}
    object.__setattr__(twin, "_modules", inner)
    return twin


def _held(name: str, tensor: Tensor | None, real: Collection[str], memory: Tensor) -> Tensor | None:
    if tensor is None:
        return None
    held = memory if name in real else torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return nn.Parameter(held, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else held
