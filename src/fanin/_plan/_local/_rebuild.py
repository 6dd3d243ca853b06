"""What is kept and has no values on meta, as its own module fills it; the module is untouched."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from math import nan
from typing import Any, Final, TypeAlias, cast, final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fanin._errors import FaninError
from fanin._plan._local._shards import is_sharded
from fanin._site import Site
from fanin._trace._built import built
from fanin._trace._names import Tensors
from fanin._trace._nested import tensors_in

__all__ = ["rebuilt", "unknown_values"]

_RESETS: Final = ("reset_parameters", "reset_running_stats")
"""torch's names for what fills a module."""
_FIXED: Final = {"zeros": 0.0, "ones": 1.0}
_Memory: TypeAlias = Mapping[str, Tensor]
"""The tensors of a twin that are not on meta, by their local names."""


def rebuilt(target: Tensors, site: Site | None) -> Tensor | None:
    """The values of a tensor that has none, whole and on the CPU; None where nobody knows them.

    They are those that the plan saw, where it has them in full, else what the module's own
    ``reset_parameters`` or ``reset_running_stats`` writes, if that is the same twice, from
    different memory and different random numbers.
    """
    seen = "" if site is None else site.built
    shape, dtype = tuple(target.tensors[0].shape), target.tensors[0].dtype
    if seen in _FIXED:
        return torch.full(shape, _FIXED[seen], dtype=dtype, device="cpu")
    if seen == "identity" and len(shape) == 2:
        return torch.eye(*shape, dtype=dtype, device="cpu")
    for reset in () if target.stored else _RESETS:
        if hasattr(target.owner, reset):
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
    """What ``reset`` leaves in the tensor's place in a twin of its module.

    With memory for this tensor alone; where it is computed from others of its module, for those.
    """
    for memory in (_memory_of_one, _memory_of_all):
        found = _run(target, reset, attempt, memory)
        if found is not None:
            return found
    return None


def _memory_of_one(target: Tensors, attempt: int) -> _Memory:
    return {target.local: _poison(target.tensors[0], attempt)}


def _memory_of_all(target: Tensors, attempt: int) -> _Memory:
    """As they are in the module, where they have values there."""
    owner = target.owner
    own = {**owner._parameters, **owner._buffers}  # noqa: SLF001 - the module's own, by local name
    return {
        name: _poison(tensor, attempt)
        if tensor.is_meta or name == target.local
        else tensor.detach().cpu().clone()
        for name, tensor in own.items()
        if tensor is not None and (tensor.is_meta or not is_sharded(tensor))
    }


def _run(
    target: Tensors, reset: str, attempt: int, memory: Callable[[Tensors, int], _Memory]
) -> Tensor | None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(attempt)
        try:
            with torch.no_grad(), torch.device("cpu"), _NoneFromMeta():
                twin = _twin(target.owner, memory(target, attempt))
                getattr(twin, reset)()
            found = getattr(twin, target.local)
        except Exception:  # noqa: BLE001 - the method is the user's own code, and may need more
            return None
    wanted = target.tensors[0]
    known = isinstance(found, Tensor) and not found.is_meta and found.shape == wanted.shape
    if not known or found.dtype != wanted.dtype or found.isnan().any():
        return None
    return cast("Tensor", found.detach())


@final
class _NoneFromMeta(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises where memory is computed from a tensor without: torch then leaves it, in silence."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's signature
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        given = tensors_in((args, *(kwargs or {}).values()))
        result = func(*args, **(kwargs or {}))
        reads_meta = any(tensor.is_meta for tensor in given)
        if reads_meta and not all(tensor.is_meta for tensor in tensors_in(result)):
            raise RuntimeError(f"{func} reads a tensor on the meta device")
        return result


def _poison(like: Tensor, attempt: int) -> Tensor:
    """Memory that tells later whether it was written: other entries in each attempt."""
    is_float = like.is_floating_point() or like.is_complex()
    value = nan if is_float else attempt
    return torch.full(tuple(like.shape), value, dtype=like.dtype)


def _twin(module: nn.Module, memory: _Memory) -> nn.Module:
    """A module of the same kind and settings, on meta but for ``memory``, with children so too.

    Not by copying: what FSDP made of a class cannot be copied.
    """
    twin = object.__new__(type(module))
    for name, value in vars(module).items():
        object.__setattr__(twin, name, copy(value) if type(value) in (dict, list, set) else value)
    for table in ("_parameters", "_buffers"):
        tensors = getattr(module, table)
        object.__setattr__(twin, table, {k: _held(k, v, memory) for k, v in tensors.items()})
    children = module._modules.items()  # noqa: SLF001 - named_children leaves out the doubles
    inner = {name: child and _twin(child, {}) for name, child in children}
    object.__setattr__(twin, "_modules", inner)
    return twin


def _held(name: str, tensor: Tensor | None, memory: _Memory) -> Tensor | None:
    if tensor is None:
        return None
    held = memory.get(name)
    if held is None:
        held = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return nn.Parameter(held, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else held
