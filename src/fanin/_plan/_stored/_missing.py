"""What a checkpoint has of a model: it is copied, and only the rest is drawn."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, final

import torch
from torch import Tensor

from fanin._engine import Region
from fanin._errors import FaninError
from fanin._fill import refresh
from fanin._plan._draw._apply import draws_alone
from fanin._plan._draw._measure import checksum, has_bytes
from fanin._plan._draw._part import Part
from fanin._plan._entry import Entry
from fanin._plan._local._shards import local_of
from fanin._plan._local._view import View, renamed
from fanin._plan._receipt import Stamp
from fanin._plan._stored._fit import Found, found_for, part_for, require_copyable
from fanin._plan._stored._names import Slot, assigned, renaming, slots_of, unknown_names
from fanin._plan._stored._read import Checkpoint, name_of, stored_tensors
from fanin._trace._names import Tensors, unwrapped
from fanin.initializers import Initializer
from fanin.initializers._base import take_region
from fanin.recipes import Keep

__all__ = ["Loading"]


@final
@dataclass(frozen=True, slots=True)
class Loading:
    """The tensors of a model that a checkpoint has, looked at and fit to be copied."""

    found: Mapping[str, Found]
    """By the name of the entry, or of a buffer that is not in the plan."""
    fsdp: Collection[int] = ()
    unexpected: tuple[str, ...] = ()
    source: str = ""
    planned: Mapping[str, Entry] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        given: Checkpoint | None,
        entries: Sequence[Entry],
        view: View,
        *,
        allow_unexpected: bool,
        fsdp: Collection[int] = (),
        dtype: torch.dtype | None = None,
    ) -> "Loading":
        """Nothing where no checkpoint is given; ``dtype`` is that of parameters without memory.

        Raises:
            FaninError: for names that the model does not have, unless ``allow_unexpected``; for
                other shapes or kinds of numbers; and where names of one tensor differ.
        """
        if given is None:
            return cls({})
        stored, source = stored_tensors(given), name_of(given)
        planned = {name: entry for entry in entries for name in entry.names}
        targets: dict[str, Tensors] = {}
        slots = _elsewhere(entries) if view.part else {}
        for target in filter(_is_saved, view.tensors()):
            entry = planned.get(target.name)
            key = target.name if entry is None else entry.name
            targets.setdefault(key, target)
            slots |= slots_of(key, target, renamed=bool(view.prefixes))
        keys, unexpected = assigned(stored, slots)
        _refuse_own_names(stored, view, source)
        if not stored:
            raise _empty(source)
        if unexpected and not (allow_unexpected and keys):
            lacking = [name for name, slot in slots.items() if slot not in keys]
            raise _unexpected(unexpected, lacking or slots, source, is_none=not keys)
        found = {}
        memory = {_place(tensor)[0] for target in targets.values() for tensor in target.tensors}
        for key, target in targets.items():
            tensors = _stored_for(key, target, stored, keys)
            if tensors:
                tensors = _apart(target, tensors, memory)
                found[key] = found_for(key, target, tensors, planned, view)
                require_copyable(key, target, found[key], view, set(fsdp), dtype)
        return cls(found, fsdp, unexpected, source, planned)

    def rest(self, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        """``entries``, where those that are found are not to be drawn."""
        loaded = Keep(f"It is in {self.source}.")
        return tuple(
            replace(entry, decision=loaded, by="kept start") if entry.name in self.found else entry
            for entry in entries
        )

    @property
    def draws(self) -> bool:
        """Whether rows are to be drawn under what is stored."""
        return any(one.axis is not None for one in self.found.values())

    def has(self, target: Tensors) -> bool:
        """Whether it is found."""
        return self._name_of(target) is not None

    def rows_aside(self, view: View, seed: int) -> dict[str, Tensor]:
        """The new rows that code of the user's draws, beside the model: it may fail."""
        made = {}
        for name, target in self._targets(view):
            one = self.found[name]
            if one.entry is not None and not draws_alone(_initializer(one.entry)):
                part, local, _ = self._new_rows(one, target)
                made[name] = part.draw_into(torch.empty_like(local), seed)
        return made

    def write(self, view: View, seed: int, aside: Mapping[str, Tensor]) -> None:
        """Each process its part: what is stored is copied, and the rows after it are drawn."""
        for name, target in self._targets(view):
            one = self.found[name]
            if one.entry is not None:
                comparisons = len(self.planned) * view.processes([target])
                self._extend(one, target, seed, aside.get(name), comparisons)
                continue
            for tensor, value in zip(target.tensors, one.tensors, strict=True):
                part = part_for(name, target, tensor, value, view, set(self.fsdp))
                if part.numel():
                    local_of(tensor).copy_(part)
            refresh(target.owner, target.local)

    def _extend(
        self, one: Found, target: Tensors, seed: int, aside: Tensor | None, comparisons: int
    ) -> None:
        part, local, kept = self._new_rows(one, target)
        memory = local_of(target.tensors[0])
        if kept and memory.numel():
            assert one.axis is not None  # noqa: S101 - asked before
            old = _rows(part.region, one.axis, -kept, kept)
            memory.narrow(one.axis, 0, kept).copy_(take_region(one.tensors[0], old))
        if aside is not None:
            local.copy_(aside)
        elif local.numel():
            part.draw_into(local, seed)
        part.stamped(_entry(one), local, comparisons)

    def _new_rows(self, one: Found, target: Tensors) -> tuple[Part, Tensor, int]:
        """What is to be drawn here, the memory for it, and how many rows before it are stored."""
        assert one.axis is not None  # noqa: S101 - asked before
        part = Part.of(_entry(one), target, set(self.fsdp))
        first, number = part.region.start[one.axis], part.region.count[one.axis]
        kept = min(max(one.tensors[0].shape[one.axis] - first, 0), number)
        region = _rows(part.region, one.axis, kept, number - kept)
        memory = local_of(target.tensors[0])
        if memory.numel():
            memory = memory.narrow(one.axis, kept, number - kept)
        return replace(part, region=region), memory, kept

    def stamped(self, stamps: Sequence[Stamp], view: View) -> tuple[Stamp, ...]:
        """``stamps``, with those of what was found as it is now, in their places."""
        now = {name: self._stamp(name, target) for name, target in self._targets(view)}
        both = [now.pop(stamp.name, stamp) for stamp in stamps]
        return (*both, *now.values())

    def _stamp(self, name: str, target: Tensors) -> Stamp:
        one, local = self.found[name], [local_of(tensor) for tensor in target.tensors]
        kinds = {
            str(value.dtype).removeprefix("torch.")
            for value, tensor in zip(one.tensors, local, strict=True)
            if value.dtype != tensor.dtype
        }
        state: Final = "loaded" if one.axis is None else "extended"
        return Stamp(name, state, checksum(local), ", ".join(sorted(kinds)))

    def _targets(self, view: View) -> Iterator[tuple[str, Tensors]]:
        for target in view.tensors() if self.found else ():
            name = self._name_of(target)
            if name is not None:
                yield name, target

    def _name_of(self, target: Tensors) -> str | None:
        for name in (target.name, *target.tied):
            key = self.planned[name].name if name in self.planned else name
            if key in self.found:
                return key
        return None


def _entry(one: Found) -> Entry:
    assert one.entry is not None  # noqa: S101 - asked of what is extended only
    return one.entry


def _initializer(entry: Entry) -> Initializer:
    assert entry.initializer is not None  # noqa: S101 - only what is drawn is extended
    return entry.initializer


def _rows(region: Region, axis: int, skip: int, number: int) -> Region:
    """``number`` rows of ``region`` along ``axis``, after so many."""
    start, count = list(region.start), list(region.count)
    start[axis], count[axis] = start[axis] + skip, number
    return replace(region, start=tuple(start), count=tuple(count))


def _elsewhere(entries: Sequence[Entry]) -> dict[str, Slot]:
    """The names of the whole model, of which this may be a part."""
    names = (name for entry in entries for name in (*entry.names, *entry.site.stored))
    return {name: (name, -1) for name in names}


def _refuse_own_names(stored: Collection[str], view: View, source: str) -> None:
    """Raise FaninError where ``names`` are given, and the checkpoint has those before them."""
    if not view.prefixes:
        return
    # Not by its state dict, which FSDP1 gathers.
    seen = View(view.model, flats=view.flats).tensors()
    own = {unwrapped(name) for one in seen for name in (one.name, *one.tied, *one.stored)}
    keys = [unwrapped(name) for name in stored]
    others = [name for name in keys if renamed(name, view.prefixes) != name]
    if others and own.issuperset(keys):
        raise FaninError(
            "the checkpoint has the names of this model; those of the plan are read",
            where=f"missing_from={source}",
            found=f"{others[0]}, which is {renamed(others[0], view.prefixes)} in the plan",
            fix="give the checkpoint of the whole model, or rename these as names= does",
        )


def _empty(source: str) -> FaninError:
    return FaninError(
        "the checkpoint is empty",
        where=f"missing_from={source}",
        found="no tensor",
        fix="leave missing_from out, and all is drawn; or save the state dict again",
    )


def _is_saved(target: Tensors) -> bool:
    """Whether a state dict has it."""
    return target.local not in target.owner._non_persistent_buffers_set  # noqa: SLF001 - torch's only way to tell


def _stored_for(
    key: str, target: Tensors, stored: Mapping[str, Tensor], keys: Mapping[Slot, list[str]]
) -> tuple[Tensor, ...]:
    """What is stored for a tensor: one, or all of those behind a parametrized one; or nothing."""
    wanted = [(key, index) for index in range(len(target.tensors))]
    there = [slot for slot in wanted if slot in keys]
    if there and len(there) < len(wanted):
        raise FaninError(
            "the checkpoint has only a part of a parametrized tensor",
            where=key,
            found=", ".join(keys[slot][0] for slot in there) + ", and no more of it",
            fix=f"store all of {', '.join(target.stored)}, or none",
        )
    return tuple(_one(stored, keys[slot]) for slot in there)


def _place(tensor: Tensor) -> tuple[int, int]:
    """Where its memory begins, and where it begins itself; zeros where it has none."""
    local = local_of(tensor)
    if not has_bytes(local):
        return 0, 0
    return local.untyped_storage().data_ptr(), local.data_ptr()


def _apart(target: Tensors, tensors: tuple[Tensor, ...], memory: set[int]) -> tuple[Tensor, ...]:
    """``tensors``; copied where they are the model's under other names, which are written to."""
    return tuple(
        value.clone()
        if _place(value)[0] in memory - {0} and _place(value) != _place(own)
        else value
        for own, value in zip(target.tensors, tensors, strict=True)
    )


def _one(stored: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """What is stored under these names of one tensor."""
    first = stored[names[0]]
    for name in names[1:]:
        other = stored[name]
        alike = other.shape == first.shape and other.dtype == first.dtype
        if not (alike and (other.data_ptr() == first.data_ptr() or torch.equal(other, first))):
            raise FaninError(
                "these are one tensor of the model, and differ in the checkpoint",
                where=f"{names[0]} and {name}",
                found=f"{_said(first)} and {_said(other)}" if not alike else "other values",
                fix="leave one of them out of the state dict, or untie the model and plan it again",
            )
    return first


def _said(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"


def _unexpected(
    names: Sequence[str], known: Collection[str], source: str, *, is_none: bool
) -> FaninError:
    way = renaming(names, known)
    rest = "rename them or leave them out of the state dict"
    also = "" if is_none else "; allow_unexpected=True lists them on the receipt"
    return FaninError(
        "the checkpoint has names that the model does not have" + ", and no other" * is_none,
        where=f"missing_from={source}",
        found=f"{len(names)}: {unknown_names(names, known)}",
        fix=f"rename them: {{{way}: tensor for name, tensor in state.items()}}"
        if way
        else rest + also,
    )
