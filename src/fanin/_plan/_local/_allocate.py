"""Memory for tensors on the meta device, through the modules that own them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import nan
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from fanin._errors import FaninError
from fanin._plan._local._shards import is_sharded, local_of

__all__ = ["Tie", "memory", "on_meta", "require_device", "require_dtype"]

Tie: TypeAlias = tuple[nn.Module, str, nn.Module, str]
"""An owner and a name, and the owner and name whose parameter it is to share."""


def on_meta(tensor: Tensor) -> bool:
    """Whether ``tensor``, or this process's part of it, has no memory yet."""
    return local_of(tensor).is_meta


def require_dtype(dtype: object, where: str) -> None:
    """Raise FaninError for what parameters cannot be drawn in; None is their own."""
    if dtype is None or (isinstance(dtype, torch.dtype) and _takes_floats(dtype)):
        return
    raise FaninError(
        "this is no dtype for parameters",
        where=f"{where}(dtype=...)",
        found=repr(dtype),
        fix="give a torch dtype of floats, such as torch.bfloat16",
    )


def _takes_floats(dtype: torch.dtype) -> bool:
    if not dtype.is_floating_point:
        return False
    try:
        torch.zeros(1, device="cpu").to(dtype)
    except NotImplementedError:  # one that holds two numbers in a byte
        return False
    return True


def require_device(device: object, where: str) -> None:
    """Raise FaninError for what is no device, or one where there can be no numbers."""
    try:
        known = torch.device(cast("str", device))
        kind = torch.empty(0, device=known).device.type
    except Exception as error:  # noqa: BLE001 - each kind of device has errors of its own
        said = str(error).splitlines()[0][:100]
        raise _no_device(where, f"{device!r}: {type(error).__name__}: {said}") from None
    if kind == "meta":
        raise _no_device(where, f"{device!r}, where nothing has numbers")


def _no_device(where: str, found: str) -> FaninError:
    return FaninError(
        "there can be no numbers on this device",
        where=f"{where}(device=...)",
        found=found,
        fix='give a device that is there: "cpu", or "cuda" on a machine that has one',
    )


@contextmanager
def memory(
    model: nn.Module, ties: list[Tie], *, device: torch.device | str, dtype: torch.dtype | None
) -> Iterator[list[Tensor]]:
    """Inside, what was on meta has memory, full of NaN, and ``ties`` are tied; so it stays.

    Gives what was on meta. Parameters of floats become ``dtype``; buffers keep theirs. Tensors
    that had memory stay the same objects, and tied ones stay tied. Where the body raises, all is
    on meta again, and in the same objects where they are not sharded.
    """
    untied = [(owner, name, getattr(owner, name)) for owner, name, _, _ in ties]
    bare = [(table, name, one) for table, name, one in _places(model) if on_meta(one)]
    try:
        for owner, name, other, its_name in ties:
            setattr(owner, name, getattr(other, its_name))
        if bare:
            _move(model, lambda tensor: _with_memory(tensor, device, dtype))
        yield [table[name] for table, name, _ in bare]
    except BaseException:
        back = {id(table[name]): was.dtype for table, name, was in bare}
        if back:
            _move(model, lambda tensor: _without(tensor, back.get(id(tensor))))
        for table, name, was in bare:
            # FSDP keeps the objects of its shards, and knows those of now.
            if not is_sharded(was):
                table[name] = was
        for owner, name, parameter in untied:
            setattr(owner, name, parameter)
        raise


def _places(model: nn.Module) -> Iterator[tuple[dict[str, Any], str, Tensor]]:
    """Where each parameter and buffer is kept, and what is there now."""
    for module in model.modules():
        for table in (module._parameters, module._buffers):  # noqa: SLF001 - the modules' own
            for name, tensor in table.items():
                if tensor is not None:
                    yield table, name, tensor


def _with_memory(tensor: Tensor, device: torch.device | str, dtype: torch.dtype | None) -> Tensor:
    if not on_meta(tensor):
        return tensor
    is_cast = dtype is not None and isinstance(tensor, nn.Parameter) and tensor.is_floating_point()
    made = torch.empty_like(tensor, device=device, dtype=dtype if is_cast else tensor.dtype)
    with torch.no_grad():
        # What is forgotten after this is seen; what empty_like returns may look like a start.
        local_of(made).fill_(nan if made.is_floating_point() or made.is_complex() else 0)
    return made


def _without(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None or on_meta(tensor):
        return tensor
    return torch.empty_like(tensor, device="meta", dtype=dtype)


def _move(model: nn.Module, make: Callable[[Tensor], Tensor]) -> None:
    """Each parameter and buffer becomes ``make`` of it, where its module and FSDP see it.

    torch's own way unties parameters and drops their attributes.
    """
    before = [
        (module, name, parameter, dict(vars(parameter)))
        for module in model.modules()
        for name, parameter in module._parameters.items()  # noqa: SLF001 - the modules' own
        if parameter is not None
    ]
    made: dict[int, tuple[Tensor, Tensor]] = {}

    def once(tensor: Tensor) -> Tensor:
        # The old one is kept too, so that no other tensor gets its id.
        if id(tensor) not in made:
            made[id(tensor)] = tensor, make(tensor)
        return made[id(tensor)][1]

    # What `to_empty` calls, and FSDP overrides.
    cast("Any", model)._apply(once)  # noqa: SLF001
    first: dict[int, nn.Parameter] = {}
    for owner, name, old, attributes in before:
        now = owner._parameters[name]  # noqa: SLF001
        assert now is not None  # noqa: S101 - it was there
        shared = first.setdefault(id(old), now)
        if shared is not now:
            setattr(owner, name, shared)
        vars(shared).update(attributes)
