"""Apply a plan to what a checkpoint lacks; what it has is copied."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from fanin._errors import FaninError
from fanin._plan._draw._apply import applied
from fanin._plan._entry import Entry
from fanin._plan._local._view import View
from fanin._plan._receipt import Receipt
from fanin._plan._stored._missing import Loading
from fanin._plan._stored._read import Checkpoint
from fanin.initializers._base import take_seed
from fanin.initializers._target import has_no_data

__all__ = ["applied_rest"]


def applied_rest(
    entries: Sequence[Entry],
    model: nn.Module,
    missing_from: Checkpoint | None,
    *,
    seed: int | None,
    allow_unclaimed: bool,
    allow_unexpected: bool,
    plan: str,
) -> Receipt:
    """As `applied`, for what ``missing_from`` lacks; see `Plan.apply`."""
    if missing_from is None:
        return applied(entries, model, seed=seed, allow_unclaimed=allow_unclaimed, plan=plan)
    view = View.of(model)
    _require_memory(model)
    loading = Loading.of(missing_from, entries, view, allow_unexpected=allow_unexpected)
    rest = loading.rest(entries)
    draws = loading.draws or any(entry.state == "filled" for entry in rest)
    number = take_seed(seed) if draws else 0
    with torch.no_grad():
        aside = loading.rows_aside(view, number)
        # Those that are loaded are kept meanwhile, and only written when the rest was verified.
        receipt = applied(rest, model, seed=number, allow_unclaimed=allow_unclaimed, plan=plan)
        loading.write(view, number, aside)
    return replace(
        receipt,
        seed=number if draws else None,
        tensors=loading.stamped(receipt.tensors, view),
        unexpected=loading.unexpected,
    )


def _require_memory(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if has_no_data(tensor):
            raise FaninError(
                "there is no memory to load into",
                where=name,
                found="a tensor on the meta device",
                fix="plan.materialize(model, seed=0, missing_from=...) gives it memory",
            )
