"""The entries of a plan and the tensors of a model, one for one."""

from collections.abc import Collection, Iterator, Sequence
from typing import TypeAlias

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from fanin._errors import FaninError, nearest
from fanin._plan._entry import Entry
from fanin._plan._local._view import View, require_model
from fanin._trace._names import Tensors

__all__ = ["Pair", "matched"]

Pair: TypeAlias = tuple[Entry, Tensors]


def matched(
    entries: Sequence[Entry], model: nn.Module, *, ties: bool = True, view: View | None = None
) -> list[Pair]:
    """Each entry with its tensor.

    A kept buffer that the model does not have now, and a buffer that is not in the plan, are left
    out: models make buffers when they run. Without ``ties`` a tensor of the plan may be several of
    the model, as it is after a move to the meta device, and comes with each. A ``view`` says by
    which names the model is looked at, and whether it is a part, which may lack names.

    Raises:
        FaninError: where names, shapes or ties of parameters differ.
    """
    if view is None:
        require_model(model)
    seen = View(model) if view is None else view
    targets = seen.tensors()
    by_name = {name: target for target in targets for name in (target.name, *target.tied)}
    pairs = list(_pairs(entries, by_name, part=seen.part))
    for entry, target in pairs:
        names = {name for name in entry.names if name in by_name or not seen.part}
        if ties and not target.is_buffer and names != {target.name, *target.tied}:
            raise _other_ties(entry, target, by_name, names)
        _require_shape(entry, target, seen.shape(target))
    planned = {id(target) for _, target in pairs}
    for target in targets:
        if id(target) not in planned and not target.is_buffer:
            raise _not_planned(target, entries)
    return pairs


def _pairs(entries: Sequence[Entry], by_name: dict[str, Tensors], *, part: bool) -> Iterator[Pair]:
    for entry in entries:
        found = {id(by_name[name]): by_name[name] for name in entry.names if name in by_name}
        if found:
            yield from ((entry, target) for target in found.values())
        elif not part and (entry.site.role != "buffer" or entry.state == "filled"):
            raise FaninError(
                "the plan is of another model",
                where=entry.name,
                found="it is in the plan, and the model has no such parameter",
                fix=f"make a plan of this model{_nearest(entry.name, by_name)}; "
                "where it is one part of the planned model: part=True",
            )


def _nearest(name: str, names: Collection[str]) -> str:
    return f"; nearest there: {nearest(name, names)}" if names else ""


def _not_planned(target: Tensors, entries: Sequence[Entry]) -> FaninError:
    names = [entry.name for entry in entries]
    return FaninError(
        "the plan is of another model",
        where=target.name,
        found="the model has this parameter, and it is not in the plan",
        fix=f"make a plan of this model{_nearest(target.name, names)}",
    )


def _require_shape(entry: Entry, target: Tensors, shape: tuple[int, ...]) -> None:
    if entry.state != "filled":
        return
    layout = entry.site.layout
    # What a parametrization takes, it says itself.
    is_whole = layout is not None and not is_parametrized(target.owner, target.local)
    if layout is not None and is_whole and shape != layout.shape:
        raise FaninError(
            "the parameter has another shape than planned",
            where=entry.name,
            found=f"{shape}, planned {layout.shape}",
            fix="make a plan of this model",
        )


def _other_ties(
    entry: Entry, target: Tensors, by_name: dict[str, Tensors], names: set[str]
) -> FaninError:
    apart = [name for name in entry.names if name in names and by_name.get(name) is not target]
    if apart:
        found = f"{entry.name} and {apart[0]} are one tensor in the plan, and two in the model"
    else:
        more = next(name for name in (target.name, *target.tied) if name not in entry.names)
        found = f"{entry.name} and {more} are one tensor in the model, and two in the plan"
    return FaninError(
        "the ties differ",
        where=entry.name,
        found=found,
        fix="tie the model as it was when it was planned (model.tie_weights()), or plan it again",
    )
