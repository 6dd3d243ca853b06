"""Prove that a model holds a planned start: draw it again, and compare; nothing is written."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from fanin._engine import Region
from fanin._errors import FaninError
from fanin._fill import is_computed, kept_for
from fanin._plan._draw._apply import refuse_uncalibrated
from fanin._plan._draw._match import matched
from fanin._plan._draw._measure import has_bytes
from fanin._plan._draw._parametrized import wanted_here
from fanin._plan._draw._part import Part
from fanin._plan._entry import Entry
from fanin._plan._local._allocate import on_meta
from fanin._plan._local._modes import without_modes
from fanin._plan._local._shards import local_of, resharded
from fanin._plan._local._view import View, prefixes_of, renamed
from fanin._plan._proof._cause import cause_of
from fanin._plan._proof._held import PRODUCT, Held, Place, Tally
from fanin._plan._proof._verification import Comparison, Verification
from fanin._plan._stored._names import Slot, assigned
from fanin._plan._stored._read import Checkpoint, name_of, stored_tensors
from fanin._trace._names import Tensors
from fanin.initializers._base import take_seed
from fanin.initializers._target import has_no_data

__all__ = ["proven"]

_Result: TypeAlias = tuple[Comparison, Held | None]


@without_modes()
def proven(
    entries: Sequence[Entry],
    checked: nn.Module | Checkpoint,
    *,
    seed: int,
    plan: str,
    part: bool = False,
    names: Mapping[str, str] | None = None,
) -> Verification:
    """What is found where ``entries`` are held against a model or a checkpoint."""
    number = _checked_seed(seed)
    refuse_uncalibrated(entries)
    with torch.no_grad():
        if isinstance(checked, nn.Module):
            fsdp = resharded(checked)
            view = View.of(checked, part=part, names=names)
            unexpected: tuple[str, ...] = ()
            results, said = list(_of_model(entries, view, fsdp, number)), type(checked).__name__
        else:
            stored, said = stored_tensors(checked), name_of(checked)
            prefixes = prefixes_of(names, stored)
            planned = {renamed(name, prefixes): name for name in stored}
            found, unknown = assigned(planned, _slots(entries))
            keys = {slot: [planned[one] for one in there] for slot, there in found.items()}
            unexpected = tuple(planned[one] for one in unknown)
            results = list(_of_checkpoint(entries, stored, keys, number, part=part))
            if any(entry.state == "filled" for entry in entries):
                _require_some(results, said)
        held = [one for _, one in results if one is not None]
        different = [(one, found) for found, one in results if one and found.state == "different"]
        cause = cause_of(different, held, number) if different else ""
    return Verification(number, plan, said, tuple(found for found, _ in results), unexpected, cause)


def _require_some(results: Sequence[_Result], said: str) -> None:
    """Raise FaninError where there is nothing in a checkpoint that could be compared."""
    if all(found.state == "not drawn" for found, _ in results):
        raise FaninError(
            "the checkpoint has nothing that the plan draws",
            where=f"plan.verify, {said}",
            found=f"{len(results)} tensors that the plan keeps" if results else "no such tensor",
            fix="give the checkpoint of this model, or of this part of it with names=",
        )


def _checked_seed(seed: object) -> int:
    if seed is None:
        raise FaninError(
            "a start is that of a seed",
            where="plan.verify",
            found="seed=None",
            fix="give the seed of the start, which the receipt of `apply` has: receipt.seed",
        )
    return take_seed(seed)


def _of_model(entries: Sequence[Entry], view: View, fsdp: set[int], seed: int) -> Iterator[_Result]:
    pairs = matched(entries, view.model, ties=False, view=view)
    for entry, target in pairs:
        if entry.state == "filled":
            _require_values(entry, target)
    for entry, target in pairs:
        if entry.state != "filled":
            yield Comparison(target.name, "not drawn", why=entry.why), None
            continue
        part = Part.of(entry, target, fsdp, view.piece(target))
        if is_computed(target.owner, target.local):
            yield _through(target, part, seed, fsdp), None
            continue
        held = Held(target.name, entry, part, local_of(target.tensors[0]))
        if held.local.numel() == 0 != math.prod(view.shape(target)):
            yield Comparison(target.name, "elsewhere"), None
            continue
        yield held.compared(seed), held


def _require_values(entry: Entry, target: Tensors) -> None:
    for tensor in target.tensors:
        if not has_bytes(local_of(tensor)):
            raise _without_values(entry.name, tensor)


def _without_values(name: str, tensor: Tensor) -> FaninError:
    return FaninError(
        "this tensor has no values to compare",
        where=f"plan.verify, {name}",
        found="no memory" if on_meta(tensor) else f"a {type(tensor).__name__}",
        fix="materialize the model first, or verify a checkpoint of it",
    )


def _through(target: Tensors, part: Part, seed: int, fsdp: set[int]) -> Comparison:
    """A parametrized tensor: the parameters that are kept for it. Its buffers move when it runs."""
    wanted = wanted_here(target, part.draw, seed, fsdp)
    ours = {id(tensor) for tensor in target.tensors}
    tally = Tally(PRODUCT)
    for tensor, value in zip(kept_for(target.owner, target.local), wanted, strict=True):
        local = local_of(tensor)
        if id(tensor) in ours and local.numel():
            whole = Region.whole(tuple(local.shape))
            tally.add(local, value.cpu(), Place(whole, None, whole))
    return tally.result(target.name)


def _slots(entries: Sequence[Entry]) -> dict[str, Slot]:
    """The names of the plan; a parametrized tensor may also be there under its own."""
    names = {name: (entry.name, 0) for entry in entries for name in entry.names}
    return names | {one: (entry.name, 1) for entry in entries for one in entry.site.stored}


def _of_checkpoint(
    entries: Sequence[Entry],
    stored: Mapping[str, Tensor],
    keys: Mapping[Slot, list[str]],
    seed: int,
    *,
    part: bool,
) -> Iterator[_Result]:
    for entry in entries:
        there = keys.get((entry.name, 0), [])
        is_there = bool(there) or (entry.name, 1) in keys
        if part and not is_there:
            continue
        # A buffer may be one that no state dict has.
        if entry.state != "filled" and (is_there or entry.site.role == "buffer"):
            yield Comparison(entry.name, "not drawn", why=entry.why), None
        elif there:
            for key in there:
                found, held = _stored(entry, key, stored[key], seed)
                # What is not mapped would stay in memory with it.
                yield found, held if isinstance(stored, dict) else None
        elif (entry.name, 1) in keys:
            why = "parametrized: verify the model that loaded it"
            yield Comparison(entry.name, "not compared", why=why), None
        else:
            yield Comparison(entry.name, "missing"), None


def _stored(entry: Entry, key: str, tensor: Tensor, seed: int) -> _Result:
    """A tensor of a checkpoint, which may be a part of a sharded one."""
    local, layout = local_of(tensor), entry.site.layout
    why = ""
    if has_no_data(local):
        raise _without_values(key, local)
    if local.numel() == 0 != math.prod(tensor.shape):
        return Comparison(key, "elsewhere"), None
    if not has_bytes(local) or not (tensor.is_floating_point() or tensor.is_complex()):
        why = f"it holds {tensor.dtype}, which is not drawn"
    elif layout is not None and tuple(tensor.shape) != layout.shape:
        why = f"shape {tuple(tensor.shape)}, planned {layout.shape}"
    if why:
        return Comparison(key, "different", tensor.numel(), tensor.numel(), why=why), None
    part = Part.of(entry, Tensors(key, nn.Module(), "", key, [tensor]), set())
    held = Held(key, entry, part, local)
    return held.compared(seed), held
