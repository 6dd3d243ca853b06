"""Run on a model without data: what has no values goes without, masks and positions keep theirs.

A model on the meta device is given a batch with data. Where the two meet, the result has no data.
Whole numbers, truth values and small constants that the model makes for itself (positions, masks)
are kept on the CPU, so that a model may look at them.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final, cast, final

import torch
from torch import Tensor
from torch._ops import OpOverload

from fanin._trace._nested import tensors_in
from fanin._trace._operations import base_name

__all__ = ["Dataless", "on_one_device"]

_META: Final = torch.device("meta")
_CPU: Final = torch.device("cpu")
_MADE: Final = ("arange", "zeros", "ones", "full", "scalar_tensor", "eye", "new_zeros", "new_ones",
                "new_full", "zeros_like", "ones_like", "full_like")  # fmt: skip
_LARGEST: Final = 2**20
"""Entries of a constant that is made with data; a mask is smaller, a state of the model larger."""


@final
class Dataless:
    """Computes operations of tensors with and without data; knows which have lost theirs."""

    def __init__(self) -> None:
        self._lost: dict[int, Tensor] = {}

    def computed(self, func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
        """The operation's result, on meta as far as its inputs have no data."""
        tensors = list(tensors_in([args, list(kwargs.values())]))
        is_mixed = {self._has_data(tensor) for tensor in tensors} == {True, False}
        if is_mixed and func._schema.is_mutable and self._has_data(tensors[0]):  # noqa: SLF001
            # What it should write has no values, so what it holds is not to be believed.
            self._lost[_memory(tensors[0])] = tensors[0]
            return tensors[0]
        if is_mixed or any(_memory(tensor) in self._lost for tensor in tensors):
            args, kwargs = _on_meta(args), {k: _on_meta(v) for k, v in kwargs.items()}
            tensors = list(tensors_in([args, list(kwargs.values())]))
        return _run(func, args, _placed(func, tensors, args, kwargs))

    def _has_data(self, tensor: Tensor) -> bool:
        return not tensor.is_meta and _memory(tensor) not in self._lost


def on_one_device(args: Sequence[Any]) -> Sequence[Any]:
    """The arguments of a call, all on meta if one tensor is: recurrent layers ask for it."""
    if {tensor.is_meta for tensor in tensors_in(args)} != {True, False}:
        return args
    return cast("Sequence[Any]", _on_meta(args))


def _memory(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the storage's address
    except (NotImplementedError, RuntimeError):
        return id(tensor)


def _placed(
    func: OpOverload, tensors: list[Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The keywords, with the device on which the result can be made."""
    name, device = base_name(func), kwargs.get("device")
    if device is None:
        return kwargs
    if name == "_to_copy":
        if tensors[0].is_meta:
            return {**kwargs, "device": _META}
        dtype = kwargs.get("dtype") or tensors[0].dtype
        is_whole = not dtype.is_floating_point and not dtype.is_complex
        return {**kwargs, "device": _CPU} if device == _META and is_whole else kwargs
    if device == _META and name in _MADE and _size(name, tensors, args) <= _LARGEST:
        return {**kwargs, "device": _CPU}
    return kwargs


def _size(name: str, tensors: list[Tensor], args: Sequence[Any]) -> int:
    if name.endswith("_like"):
        return tensors[0].numel()
    sizes = args[1] if name.startswith("new_") else args[0] if args else ()
    return prod(sizes) if isinstance(sizes, (list, tuple)) else 1


def _run(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
    if base_name(func) == "_grouped_mm" and args[0].is_meta and args[0].dtype != torch.bfloat16:
        # The meta form of this operation knows one dtype.
        halves = [one.to(torch.bfloat16) for one in args[:2]]
        return func(*halves, *args[2:], **kwargs).to(args[0].dtype)
    return func(*args, **kwargs)


def _on_meta(found: Any) -> Any:  # noqa: ANN401 - a call's arguments are anything
    if isinstance(found, Tensor):
        return found if found.is_meta else found.to("meta")
    if isinstance(found, (list, tuple)):
        return [_on_meta(entry) for entry in found]
    return found
