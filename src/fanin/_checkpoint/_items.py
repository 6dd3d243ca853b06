"""Which tensors a checkpoint has: those of the state dict, each once, and by which name."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from torch import Tensor, nn

from fanin._checkpoint._sources import Drawn, Kept, Rebuilt, Source, Through
from fanin._errors import FaninError
from fanin._fill import Job, is_computed, kept_for, padding_row, said_of
from fanin._plan import Entry, Plan
from fanin._plan._coverage import incomplete
from fanin._plan._draw._apply import draw_of, refuse_uncalibrated, require_range
from fanin._plan._draw._match import Pair, matched
from fanin._plan._draw._measure import has_bytes
from fanin._plan._kept import UNSEEN
from fanin._plan._local._rebuild import unknown_values
from fanin._plan._local._shards import is_sharded
from fanin._trace._names import Tensors, canonical_name, tensors_of
from fanin.initializers._target import require_writable

__all__ = ["Item", "items_of"]


@final
@dataclass(frozen=True, slots=True)
class Item:
    """One tensor of a checkpoint; ``others`` are the names that share it."""

    name: str
    others: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype
    source: Source

    @property
    def size(self) -> int:
        """In bytes."""
        return prod(self.shape) * self.dtype.itemsize


def items_of(
    plan: Plan, model: nn.Module, *, seed: int, dtype: torch.dtype | None
) -> tuple[Item, ...]:
    """The tensors in the order of the state dict; whatever is wrong is raised here.

    Raises:
        FaninError: for another model than planned, unclaimed tensors, and what cannot be drawn or
            has values that nobody knows.
    """
    if plan.unclaimed:
        raise incomplete([entry.name for entry in plan.unclaimed], may_allow=False)
    refuse_uncalibrated(plan.entries)
    pairs = matched(plan.entries, model, ties=False)
    sources = _Sources.of(pairs, model, seed)
    items = []
    for names, tensor, (_, source) in _grouped(_state(model), sources, model):
        _require_plain(names[0], tensor)
        name = _kept_name(names, model)
        others = tuple(other for other in names if other != name)
        items.append(Item(name, others, tuple(tensor.shape), _dtype(tensor, source, dtype), source))
    _refuse_unknown(items)
    return tuple(items)


_Known = tuple[object, Source]
"""What is the same for the names of one tensor, and where its numbers come from."""


@final
@dataclass(frozen=True, slots=True)
class _Sources:
    """By the id of a tensor of the model, and by canonical name."""

    by_tensor: Mapping[int, _Known]
    by_name: Mapping[str, _Known]

    @classmethod
    def of(cls, pairs: Sequence[Pair], model: nn.Module, seed: int) -> "_Sources":
        """The draws of the plan; the values of the rest."""
        planned = {id(target.tensors[0]): entry for entry, target in pairs}
        by_tensor: dict[int, _Known] = {}
        for entry, target in pairs:
            if entry.state == "filled":
                by_tensor.update(_drawn(entry, target, seed))
        by_name: dict[str, _Known] = {}
        for target in tensors_of(model):
            entry_or_none = planned.get(id(target.tensors[0]))
            for tensor in target.tensors:
                known = target.name, _undrawn(tensor, target, entry_or_none)
                by_tensor.setdefault(id(tensor), known)
            if not target.stored:
                for name in (target.name, *target.tied):
                    by_name[name] = by_tensor[id(target.tensors[0])]
        return cls(by_tensor, by_name)

    def find(self, tensor: Tensor, name: str) -> _Known:
        """What is known of a tensor of the state dict."""
        if id(tensor) in self.by_tensor:
            return self.by_tensor[id(tensor)]
        return self.by_name.get(name, (name, Kept(tensor)))


def _drawn(entry: Entry, target: Tensors, seed: int) -> Iterator[tuple[int, _Known]]:
    entry.check()
    draw = draw_of(entry, padding_row(target.owner))
    if not is_computed(target.owner, target.local):
        tensor = target.tensors[0]
        with said_of(entry.name):
            require_writable(tensor)
        yield id(tensor), (entry.name, Drawn(entry, draw, seed))
        return
    job = Job(target.owner, target.local, draw)
    for number, tensor in enumerate(kept_for(target.owner, target.local)):
        if tensor.is_meta:
            raise FaninError(
                "a parametrized tensor cannot be written from the meta device",
                where=entry.name,
                found=f"{len(target.tensors)} tensors in its place, which it is computed from",
                fix="make the model in memory, or keep it there with plan.materialize first",
            )
        yield id(tensor), ((entry.name, number), Through(job, number, seed))


def _undrawn(tensor: Tensor, target: Tensors, entry: Entry | None) -> Source:
    by_module = Rebuilt(target, entry and entry.site)
    # What the plan saw no values of may be what to_empty left, as for `materialize`.
    is_unseen = entry is not None and entry.decision == UNSEEN
    return by_module if tensor.is_meta or (is_unseen and by_module.is_known) else Kept(tensor)


def _state(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The state dict, without what transformers leaves out of its files."""
    left_out = getattr(model, "_keys_to_ignore_on_save", None) or ()
    # With the parameters themselves, so that shared ones are seen.
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise FaninError(
                "the state dict holds what is no tensor",
                where=name,
                found=f"an object of type {type(value).__name__}",
                fix="a checkpoint holds tensors alone: keep it in a buffer, or another file",
            )
        if name not in left_out:
            yield name, value


def _grouped(
    state: Iterator[tuple[str, Tensor]], sources: _Sources, model: nn.Module
) -> list[tuple[list[str], Tensor, _Known]]:
    """One for each tensor, with all its names."""
    groups: dict[object, tuple[list[str], Tensor, _Known]] = {}
    for path, tensor in state:
        name = canonical_name(model, path)
        known = sources.find(tensor, name)
        groups.setdefault(known[0], ([], tensor, known))[0].append(name)
    return list(groups.values())


def _kept_name(names: Sequence[str], model: nn.Module) -> str:
    """The name that is written: the first that transformers does not take for a copy."""
    patterns = [
        f"{path}.{pattern}" if path else pattern
        for path, module in model.named_modules()
        for pattern in getattr(module, "_tied_weights_keys", None) or ()
    ]
    copies = [name for name in sorted(names) if any(re.search(one, name) for one in patterns)]
    return next(name for name in names if name not in copies[: len(names) - 1])


def _require_plain(name: str, tensor: Tensor) -> None:
    if is_sharded(tensor) or not (tensor.is_meta or has_bytes(tensor)):
        raise FaninError(
            "only plain tensors can be written",
            where=name,
            found=f"type {type(tensor).__name__}, layout {tensor.layout}",
            fix="write the checkpoint from one process, before the model is sharded or quantized: "
            "a model on the meta device takes no memory",
        )


def _dtype(tensor: Tensor, source: Source, dtype: torch.dtype | None) -> torch.dtype:
    is_made = not isinstance(source, Kept)
    is_cast = isinstance(tensor, nn.Parameter) and tensor.is_floating_point() and is_made
    wanted = dtype if dtype is not None and is_cast else tensor.dtype
    if isinstance(source, Drawn):
        require_range(source.entry, wanted)
    return wanted


def _refuse_unknown(items: Sequence[Item]) -> None:
    unknown = [
        item.name
        for item in items
        if isinstance(item.source, Rebuilt) and item.size and not item.source.is_known
    ]
    if unknown:
        raise unknown_values(
            unknown,
            fix="compute them on the CPU before this call, and they are kept; or make the model in "
            "memory; or plan.replace({name: initializer})",
        )
