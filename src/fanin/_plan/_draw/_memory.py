"""Two parameters that are not tied must not lie on one piece of memory: both would be written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from fanin._errors import FaninError
from fanin._plan._draw._match import Pair
from fanin.initializers._target import has_no_data

__all__ = ["refuse_shared_memory"]


def refuse_shared_memory(pairs: Sequence[Pair]) -> None:
    """Raise FaninError where a tensor to fill overlaps another one of the model."""
    last: dict[int, _Span] = {}
    for span in sorted(_spans(pairs), key=lambda span: span.start):
        before = last.get(span.storage)
        if before is not None and span.start < before.end and (before.filled or span.filled):
            raise FaninError(
                "two parameters share memory, and are not tied",
                where=f"{before.name} and {span.name}",
                found="one piece of memory under two tensors: each would overwrite the other",
                fix="tie them (the same Parameter object under both names), or copy one: .clone()",
            )
        if before is None or span.end > before.end:
            last[span.storage] = span


@final
@dataclass(frozen=True, slots=True)
class _Span:
    """Where a tensor begins and ends in its storage, in bytes."""

    storage: int
    start: int
    end: int
    name: str
    filled: bool


def _spans(pairs: Sequence[Pair]) -> Iterator[_Span]:
    for entry, target in pairs:
        for tensor in target.tensors:
            if _has_span(tensor):
                start = int(tensor.storage_offset()) * tensor.element_size()
                end = start + tensor.numel() * tensor.element_size()
                storage = tensor.untyped_storage().data_ptr()
                yield _Span(storage, start, end, entry.name, entry.state == "filled")


def _has_span(tensor: Tensor) -> bool:
    # Strided tensors may lie between each other without meeting.
    plain = tensor.layout == torch.strided and not has_no_data(tensor)
    return plain and tensor.numel() > 0 and tensor.is_contiguous()
