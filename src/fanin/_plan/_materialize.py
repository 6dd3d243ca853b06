"""Write a plan into a model on the meta device, or sharded: each process draws what it holds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor, nn

from fanin._errors import FaninError
from fanin._fill import Job, is_computed, kept_for, refresh, said_of
from fanin._plan._coverage import refuse_unclaimed
from fanin._plan._draw._apply import draws_alone, refuse_uncalibrated, require_range
from fanin._plan._draw._match import Pair, matched
from fanin._plan._draw._measure import checksum
from fanin._plan._draw._memory import refuse_shared_memory
from fanin._plan._draw._parametrized import require_known, wanted_here
from fanin._plan._draw._part import Part
from fanin._plan._entry import Entry
from fanin._plan._kept import UNSEEN
from fanin._plan._local._allocate import Tie, memory, on_meta, require_device, require_dtype
from fanin._plan._local._modes import without_modes
from fanin._plan._local._rebuild import rebuilt, unknown_values
from fanin._plan._local._shards import held, is_sharded, local_of, resharded
from fanin._plan._local._view import View, require_model
from fanin._plan._receipt import Receipt, Stamp
from fanin._plan._stored._missing import Loading
from fanin._plan._stored._read import Checkpoint
from fanin._trace._names import Tensors
from fanin._version import __version__
from fanin.initializers._base import take_region, take_seed
from fanin.initializers._target import has_no_data, require_writable

__all__ = ["materialized"]

_NOTHING: Final = Loading({})


@without_modes()
def materialized(
    entries: Sequence[Entry],
    model: nn.Module,
    *,
    device: torch.device | str,
    dtype: torch.dtype | None,
    seed: int,
    allow_unclaimed: bool,
    plan: str,
    part: bool = False,
    names: Mapping[str, str] | None = None,
    missing_from: Checkpoint | None = None,
    allow_unexpected: bool = False,
) -> Receipt:
    """Give ``model`` memory and fill it by ``entries``; see `Plan.materialize`."""
    number = _checked_seed(seed)
    require_dtype(dtype, "plan.materialize")
    require_device(device, "plan.materialize")
    require_model(model)
    fsdp = resharded(model)
    view = View.of(model, part=part, names=names)
    loading = Loading.of(
        missing_from, entries, view, allow_unexpected=allow_unexpected, fsdp=fsdp, dtype=dtype
    )
    entries = loading.rest(entries)
    refuse_unclaimed(entries, allow_unclaimed=allow_unclaimed)
    refuse_uncalibrated(entries)
    pairs = matched(entries, model, ties=False, view=view)
    _require_drawable(pairs, dtype, view)
    parts = {
        entry.name: Part.of(entry, target, fsdp, view.piece(target))
        for entry, target in pairs
        if _drawn(entry)
    }
    ties = list(_lost_ties(pairs, view, fsdp))
    if not ties:
        matched(entries, model, view=view)
    bare = _Bare.of(pairs, view, loading, allow_unclaimed=allow_unclaimed)
    with memory(model, ties, device=device, dtype=dtype) as made, torch.no_grad():
        pairs = matched(entries, model, view=view)
        _refuse_forgotten(view, made, pairs, bare)
        aside = loading.rows_aside(view, number)
        bare.write(view, fsdp)
        through = _write(pairs, parts, number, fsdp)
        loading.write(view, number, aside)
        stamps = [*_stamps(view, pairs, parts, through, bare), *_absent(entries, pairs, view)]
        all_stamps = loading.stamped(stamps, view)
    versions = __version__, str(torch.__version__)
    return Receipt(number, *versions, plan, all_stamps, loading.unexpected)


def _checked_seed(seed: object) -> int:
    if seed is None:
        raise FaninError(
            "every process needs the same seed",
            where="plan.materialize",
            found="seed=None, which each would take from its own generator",
            fix="give a number: seed=0",
        )
    return take_seed(seed)


def _drawn(entry: Entry) -> bool:
    return entry.state == "filled"


def _require_drawable(pairs: Sequence[Pair], dtype: torch.dtype | None, view: View) -> None:
    """Raise FaninError for what could not be filled, before anything is changed."""
    for entry, target in pairs:
        for tensor in target.tensors:
            _require_kind(entry.name, tensor)
        if not _drawn(entry):
            continue
        entry.check()
        first = target.tensors[0]
        computed = is_computed(target.owner, target.local)
        if computed:
            require_known(entry.name, target, is_flat=view.piece(target) is not None)
        with said_of(entry.name):
            for tensor in target.tensors if not computed else ():
                require_writable(local_of(tensor))
        is_cast = dtype is not None and on_meta(first) and first.is_floating_point()
        require_range(entry, dtype if dtype is not None and is_cast else first.dtype)
    refuse_shared_memory([pair for pair in pairs if not any(map(is_sharded, pair[1].tensors))])


def _require_kind(name: str, tensor: Tensor) -> None:
    fake = has_no_data(local_of(tensor)) and not on_meta(tensor)
    if fake or (tensor.grad is not None and on_meta(tensor)):
        raise FaninError(
            "this tensor cannot be given memory",
            where=name,
            found="a fake tensor" if fake else "a gradient without values",
            fix="make the model outside of FakeTensorMode" if fake else "model.zero_grad()",
        )


def _lost_ties(pairs: Sequence[Pair], view: View, fsdp: set[int]) -> Iterator[Tie]:
    """What is one tensor in the plan and several in the model, as a move to meta leaves it."""
    first: dict[str, Tensors] = {}
    for entry, target in pairs:
        one = first.setdefault(entry.name, target)
        if one is target or target.is_buffer:
            continue
        is_flat = view.piece(one) is not None or view.piece(target) is not None
        _require_tieable(entry, one, target, fsdp, is_flat=is_flat)
        for module in view.model.modules():
            for name, parameter in module._parameters.items():  # noqa: SLF001 - its own
                if parameter is target.tensors[0]:
                    yield module, name, one.owner, one.local


def _require_tieable(
    entry: Entry, one: Tensors, other: Tensors, fsdp: set[int], *, is_flat: bool
) -> None:
    first, second = one.tensors[0], other.tensors[0]
    alike = (
        first.shape == second.shape
        and first.dtype == second.dtype
        and getattr(first, "placements", None) == getattr(second, "placements", None)
        and getattr(first, "device_mesh", None) == getattr(second, "device_mesh", None)
    )
    is_bare = on_meta(first) and on_meta(second)
    # One that has memory alone would not be overwritten by the other's.
    is_drawn = _drawn(entry) and on_meta(first) == on_meta(second)
    is_managed = is_flat or id(one.owner) in fsdp or id(other.owner) in fsdp
    is_plain = not one.stored and not other.stored
    if not (alike and is_plain and (is_bare or is_drawn)) or is_managed:
        raise FaninError(
            "the ties differ",
            where=entry.name,
            found=f"{one.name} and {other.name} are one tensor in the plan, and two in the model",
            fix="make it the same Parameter under both names: model.tie_weights(), or by hand; "
            "before the model is sharded, and again after parallelize_module, which undoes ties",
        )


@final
@dataclass(frozen=True, slots=True)
class _Bare:
    """What the plan saw no values of and does not draw, and the values it gets.

    None: it has no memory, and nobody knows them.
    """

    values: Mapping[str, Tensor | None]
    loading: Loading = _NOTHING

    @classmethod
    def of(
        cls, pairs: Sequence[Pair], view: View, loading: Loading, *, allow_unclaimed: bool
    ) -> "_Bare":
        """As their modules fill them; an error names those whose values nobody knows."""
        planned = {name: entry for entry, _ in pairs for name in entry.names}
        values: dict[str, Tensor | None] = {}
        for target in view.tensors():
            entry = planned.get(target.name)
            is_bare = any(map(on_meta, target.tensors))
            if (entry is not None and _drawn(entry)) or loading.has(target):
                continue
            if is_bare:
                _require_kind(target.name, target.tensors[0])
                values[target.name] = rebuilt(target, entry and entry.site)
            elif entry is not None and entry.decision == UNSEEN:
                # What is there may be what to_empty left.
                known = rebuilt(target, entry.site)
                values |= {} if known is None else {target.name: known}
        unknown = [name for name, value in values.items() if value is None]
        if unknown and not allow_unclaimed:
            raise unknown_values(
                unknown,
                fix="compute them on the CPU before this call, and they are kept; or fill them "
                "after it: allow_unclaimed=True leaves them as NaN; or plan.replace({name: "
                "initializer})",
            )
        return cls(values, loading)

    def knows(self, target: Tensors) -> bool:
        """Whether it is written, or known to be unknown."""
        return target.name in self.values or self.loading.has(target)

    def write(self, view: View, fsdp: set[int]) -> None:
        """The values that are known, each process its part."""
        for target in view.tensors():
            value = self.values.get(target.name)
            if value is not None:
                tensor = target.tensors[0]
                region = held(tensor, target.name, by_fsdp=id(target.owner) in fsdp)
                if 0 not in region.count:
                    local_of(tensor).copy_(take_region(value, region))

    def is_unknown(self, name: str) -> bool:
        """Whether it has memory now, and no values."""
        return name in self.values and self.values[name] is None


def _refuse_forgotten(
    view: View, made: Sequence[Tensor], pairs: Sequence[Pair], bare: _Bare
) -> None:
    """Raise FaninError for what was given memory and that nobody fills."""
    known = {id(tensor) for _, target in pairs for tensor in target.tensors}
    known |= {id(one.tensors[0]) for one in view.tensors() if bare.knows(one)}
    forgotten = {id(tensor) for tensor in made} - known
    if forgotten:
        named = [*view.model.named_parameters(), *view.model.named_buffers()]
        raise FaninError(
            "these tensors had no memory, and nobody fills them",
            where="plan.materialize",
            found=", ".join(name for name, tensor in named if id(tensor) in forgotten),
            fix="plan the model as it is now: fanin.plan(model, batch)",
        )


def _write(
    pairs: Sequence[Pair], parts: Mapping[str, Part], seed: int, fsdp: set[int]
) -> dict[str, list[Tensor]]:
    """First what code of the user's draws, beside the model; then the rest, in place."""
    ready: list[tuple[Tensor, Tensor]] = []
    through: dict[str, list[Tensor]] = {}
    jobs: list[Job] = []
    in_place: list[tuple[Part, Tensor]] = []
    for entry, target in pairs:
        if not _drawn(entry):
            continue
        part, local = parts[entry.name], local_of(target.tensors[0])
        if is_computed(target.owner, target.local):
            job = Job(target.owner, target.local, part.draw)
            through[entry.name] = wanted_here(target, part.draw, seed, fsdp)
            ready += zip(map(local_of, job.kept), through[entry.name], strict=True)
            jobs.append(job)
        elif draws_alone(part.draw.initializer):
            in_place.append((part, local))
        else:
            ready.append((local, part.draw_into(torch.empty_like(local), seed)))
    for part, local in in_place:
        part.draw_into(local, seed)
    for local, value in ready:
        local.copy_(value)
    for job in jobs:
        refresh(job.owner, job.name)
    return through


def _stamps(
    view: View,
    pairs: Sequence[Pair],
    parts: Mapping[str, Part],
    through: Mapping[str, list[Tensor]],
    bare: _Bare,
) -> Iterator[Stamp]:
    """The stamps of what this process holds; raises where it is not what the plan says."""
    filled = sum(_drawn(entry) for entry, _ in pairs)
    comparisons = filled * view.processes(target for _, target in pairs)
    for entry, target in pairs:
        local = [local_of(tensor) for tensor in target.tensors]
        if entry.name in through:
            kept = map(local_of, kept_for(target.owner, target.local))
            assert all(map(torch.equal, kept, through[entry.name]))  # noqa: S101 - just copied
            yield Stamp(entry.name, "filled", checksum(local))
        elif _drawn(entry):
            yield parts[entry.name].stamped(entry, local[0], comparisons)
        else:
            state = "unclaimed" if bare.is_unknown(target.name) else entry.state
            yield Stamp(entry.name, state, checksum(local))
    planned = {name for entry, _ in pairs for name in entry.names}
    for target in view.tensors():
        if target.name in bare.values and target.name not in planned:
            state = "unclaimed" if bare.is_unknown(target.name) else "kept"
            yield Stamp(target.name, state, checksum([local_of(target.tensors[0])]))


def _absent(entries: Sequence[Entry], pairs: Sequence[Pair], view: View) -> Iterator[Stamp]:
    """What of the plan is not in this part of the model; parts alone have such."""
    present = {entry.name for entry, _ in pairs}
    for entry in entries if view.part else ():
        if entry.name not in present:
            yield Stamp(entry.name, "absent", None)
