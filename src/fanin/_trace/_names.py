"""The parameters and buffers of a model by the names that fanin gives them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, cast, final

from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["Tensors", "canonical_name", "tensors_of", "unwrapped"]

_WRAPPERS: Final = {
    "module": ("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel"),
    "_orig_mod": ("OptimizedModule",),
    "_fsdp_wrapped_module": ("FullyShardedDataParallel",),
    "_checkpoint_wrapped_module": ("CheckpointWrapper",),
}


@final
@dataclass(slots=True)
class Tensors:
    """One parameter or buffer: its names, its owner, and what is stored for it.

    ``tensors`` are the stored ones, one unless it is parametrized; ``path`` names the owner as the
    model has it, with wrappers.
    """

    name: str
    owner: nn.Module
    path: str
    local: str
    tensors: list[Tensor]
    stored: tuple[str, ...] = ()
    is_buffer: bool = False
    tied: list[str] = field(default_factory=list)


def canonical_name(model: nn.Module, path: str) -> str:
    """``path`` without the prefixes of wrappers, where a wrapper really is.

    >>> canonical_name(nn.DataParallel(nn.Linear(2, 2)), "module.weight")
    'weight'
    """
    kept, module = [], model
    for part in path.split("."):
        owners = _WRAPPERS.get(part, ())
        if not any(kind.__name__ in owners for kind in type(module).__mro__):
            kept.append(part)
        # As an attribute a parametrized weight would be computed.
        children = module._modules  # noqa: SLF001 - named_children would list all of them
        inner = children[part] if part in children else None  # noqa: SIM401 - scripted ones have no get
        module = module if inner is None else inner
    return ".".join(kept)


def unwrapped(name: str) -> str:
    """``name`` without every part that a wrapper may have put there, for names without a model.

    >>> unwrapped("module._orig_mod.fc.weight")
    'fc.weight'
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def tensors_of(model: nn.Module) -> list[Tensors]:
    """Every parameter, then every buffer, one for each tensor, in the model's order."""
    found: dict[object, Tensors] = {}
    for one in _all(model):
        key = _identity(one.tensors)
        if key in found:
            if one.name not in (found[key].name, *found[key].tied):
                found[key].tied.append(one.name)
        else:
            found[key] = one
    return sorted(found.values(), key=lambda one: one.is_buffer)


def _identity(tensors: list[Tensor]) -> object:
    first = tensors[0]
    if first.numel() == 0:
        return id(first)
    try:
        place = first.untyped_storage()._cdata, first.storage_offset(), first.stride()  # noqa: SLF001
    except (NotImplementedError, RuntimeError):
        return id(first)
    return (place, tuple(first.shape))


def _all(model: nn.Module) -> Iterator[Tensors]:
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, parametrize.ParametrizationList):
            continue
        yield from _parametrized(model, path, module)
        legacy = _legacy(module)
        hidden = {name for names in legacy.values() for name in names}
        for local, names in legacy.items():
            tensors = [getattr(module, name) for name in names]
            yield _one(model, path, module, local, tensors, stored=names)
        for local, tensor in module._parameters.items():  # noqa: SLF001 - its own, in order
            if tensor is not None and local not in hidden:
                yield _one(model, path, module, local, [tensor])
        for local, buffer in module._buffers.items():  # noqa: SLF001 - its own, in order
            if buffer is not None:
                yield _one(model, path, module, local, [buffer], is_buffer=True)


def _one(
    model: nn.Module,
    path: str,
    module: nn.Module,
    local: str,
    tensors: list[Tensor],
    *,
    stored: tuple[str, ...] = (),
    is_buffer: bool = False,
) -> Tensors:
    prefix = f"{path}." if path else ""
    name = canonical_name(model, prefix + local)
    return Tensors(
        name, module, path, local, tensors, tuple(prefix + one for one in stored), is_buffer
    )


def _parametrized(model: nn.Module, path: str, module: nn.Module) -> Iterator[Tensors]:
    if not parametrize.is_parametrized(module):
        return
    for local, listed in cast("nn.ModuleDict", module.parametrizations).items():
        originals = [name for name, _ in listed.named_parameters(recurse=False)]
        tensors = [getattr(listed, name) for name in originals]
        if tensors:
            stored = tuple(f"parametrizations.{local}.{name}" for name in originals)
            yield _one(model, path, module, local, tensors, stored=stored)
        for name, inner in listed.named_parameters():
            if name not in originals:
                own = f"parametrizations.{local}.{name}"
                yield _one(model, path, module, own, [inner])


def _legacy(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """The weights that torch's older weight and spectral norms compute before each run."""
    found: dict[str, tuple[str, ...]] = {}
    for hook in module._forward_pre_hooks.values():  # noqa: SLF001 - the only place that tells
        name, kind = getattr(hook, "name", None), type(hook).__name__
        if kind == "WeightNorm":
            found[str(name)] = (f"{name}_v", f"{name}_g")
        elif kind == "SpectralNorm":
            found[str(name)] = (f"{name}_orig",)
    return found
