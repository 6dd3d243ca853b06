"""Whether what a checkpoint has of a tensor can be copied into it, whole or as its first rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import final

import torch
from torch import Tensor, nn

from fanin._errors import FaninError
from fanin._fill import said_of
from fanin._plan._draw._apply import refuse_uncalibrated, require_range
from fanin._plan._draw._measure import has_bytes, squares
from fanin._plan._entry import Entry
from fanin._plan._local._allocate import on_meta
from fanin._plan._local._shards import held, local_of
from fanin._plan._local._view import View
from fanin._trace._names import Tensors
from fanin.initializers._base import take_region
from fanin.initializers._target import require_memory

__all__ = ["Found", "found_for", "part_for", "require_copyable"]


@final
@dataclass(frozen=True, slots=True)
class Found:
    """What is stored for one tensor; ``entry`` and ``axis`` where that is its first rows only."""

    tensors: tuple[Tensor, ...]
    entry: Entry | None = None
    axis: int | None = None


def found_for(
    name: str,
    target: Tensors,
    tensors: tuple[Tensor, ...],
    planned: Mapping[str, Entry],
    view: View,
) -> Found:
    """The whole, or the first rows where the shapes differ in their number.

    Raises:
        FaninError: for any other difference of shapes.
    """
    ours = [view.shape(target)] if len(tensors) == 1 else [tuple(t.shape) for t in target.tensors]
    theirs = [tuple(tensor.shape) for tensor in tensors]
    if ours == theirs:
        return Found(tensors)
    entry = planned.get(name)
    axis = None if entry is None or target.stored else _axis_of_rows(entry, planned)
    is_flat = view.piece(target) is not None
    if axis is not None and not is_flat and _is_shorter(theirs[0], ours[0], axis):
        return Found(tensors, entry, axis)
    here, there = next(pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1])
    raise FaninError(
        "the tensor has another shape in the checkpoint",
        where=f"{name}, missing_from",
        found=f"{there} there, {here} in the model",
        fix="leave it out of the state dict, and it is drawn; only embeddings and readouts that "
        "the plan draws may have fewer rows there, and not under FSDP1",
    )


def part_for(
    name: str, target: Tensors, tensor: Tensor, value: Tensor, view: View, fsdp: set[int]
) -> Tensor:
    """What this process is to hold of ``value``, for one of the tensors of ``target``."""
    piece = view.piece(target)
    if piece is not None:
        return value.reshape(-1)[piece.start : piece.start + piece.memory.numel()]
    region = held(tensor, name, by_fsdp=id(target.owner) in fsdp)
    return value.new_empty(0) if 0 in region.count else take_region(value, region)


def _is_shorter(theirs: tuple[int, ...], ours: tuple[int, ...], axis: int) -> bool:
    """Whether the shapes are equal but for fewer rows of the first."""
    alike = theirs[:axis] == ours[:axis] and theirs[axis + 1 :] == ours[axis + 1 :]
    return len(theirs) == len(ours) and alike and theirs[axis] < ours[axis]


def _axis_of_rows(entry: Entry, planned: Mapping[str, Entry]) -> int | None:
    """The axis of words or classes: of an embedding, a readout, or a readout's bias."""
    if entry.state != "filled":
        return None
    words = entry.axes.axes
    if "lookup" in words:
        return words.index("lookup")
    if _is_readout(entry) or (entry.site.role == "bias" and _has_readout(entry, planned)):
        return words.index("out")
    return None


def _is_readout(entry: Entry) -> bool:
    return "readout" in (entry.site.role, *entry.site.other_roles)


def _has_readout(bias: Entry, planned: Mapping[str, Entry]) -> bool:
    """Whether the weight beside the bias is a readout's."""
    path = bias.name.rpartition(".")[0]
    return any(
        _is_readout(entry) for name, entry in planned.items() if name.rpartition(".")[0] == path
    )


def require_copyable(
    name: str,
    target: Tensors,
    found: Found,
    view: View,
    fsdp: set[int],
    dtype: torch.dtype | None,
) -> None:
    """Raise FaninError for what could not be copied, or would not be the same numbers."""
    for tensor, value in zip(target.tensors, found.tensors, strict=True):
        if not has_bytes(value):
            raise _refusal(
                "the tensor cannot be read from the checkpoint",
                name,
                "it is sharded, sparse, quantized or without memory",
                "give dense tensors with values; of a sharded one full_tensor()",
            )
        if not on_meta(tensor):
            with said_of(name):
                require_memory(local_of(tensor))
        is_cast = dtype is not None and on_meta(tensor) and isinstance(tensor, nn.Parameter)
        wanted = dtype if is_cast and tensor.is_floating_point() else tensor.dtype
        assert wanted is not None  # noqa: S101 - it is asked of what is cast
        _require_kind(name, value.dtype, wanted)
        is_whole = found.entry is None
        part = part_for(name, target, tensor, value, view, fsdp) if is_whole else value
        _require_fits(name, part, wanted)
        if isinstance(tensor, nn.Parameter):
            _require_finite(name, part)
        if found.entry is None:
            continue
        held(tensor, name, by_fsdp=id(target.owner) in fsdp)
        refuse_uncalibrated([found.entry])
        found.entry.check()
        require_range(found.entry, wanted)


def _require_kind(name: str, stored: torch.dtype, wanted: torch.dtype) -> None:
    both_float = stored.is_floating_point and wanted.is_floating_point
    if stored != wanted and not (both_float or (stored.is_complex and wanted.is_complex)):
        raise _refusal(
            "the checkpoint has another kind of numbers",
            name,
            f"{stored} there, {wanted} in the model",
            "convert it, or leave it out of the state dict",
        )


def _require_fits(name: str, value: Tensor, wanted: torch.dtype) -> None:
    """Raise FaninError where a finite number would become infinite."""
    if not (value.is_floating_point() and wanted.is_floating_point) or not value.numel():
        return
    most = torch.finfo(wanted).max
    if most >= torch.finfo(value.dtype).max:
        return
    largest = max(abs(float(end)) for end in torch.aminmax(value))
    if most < largest < float("inf"):
        raise _refusal(
            "the numbers of the checkpoint do not fit the dtype, and would become infinite",
            name,
            f"entries up to {largest:.3g}, {wanted} ends at {most:.3g}",
            "use bfloat16 or float32",
        )


def _require_finite(name: str, value: Tensor) -> None:
    """Raise FaninError for numbers that no training can start from; a buffer may have them."""
    if isfinite(squares(value, 0.0)):
        return
    # It was not, or its squares were beyond float64. 8-bit floats are compared by none of torch's.
    wide = value.float() if value.is_floating_point() and value.itemsize == 1 else value
    if not bool(torch.isfinite(wide).all()):
        raise _refusal(
            "a parameter in the checkpoint is not finite",
            name,
            f"{int((~torch.isfinite(wide)).sum()):,} of {value.numel():,} are NaN or infinite",
            "leave it out of the state dict, and it is drawn; or take an earlier checkpoint",
        )


def _refusal(what: str, name: str, found: str, fix: str) -> FaninError:
    return FaninError(what, where=f"{name}, missing_from", found=found, fix=fix)
