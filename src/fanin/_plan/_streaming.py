"""The draws of a plan for other hands: one tensor at a time, or one function a parameter."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from fanin._errors import FaninError, nearest
from fanin._fill import Draw, padding_row
from fanin._plan._coverage import refuse_unclaimed
from fanin._plan._draw._apply import draw_of, drawn_into, refuse_uncalibrated, require_range
from fanin._plan._draw._match import matched
from fanin._plan._draw._part import Part
from fanin._plan._entry import Entry
from fanin._plan._local._allocate import require_device
from fanin._plan._local._modes import without_modes
from fanin._plan._local._shards import is_sharded, local_of

__all__ = ["Filling", "fillings", "left_out", "streamed"]


def left_out(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """What a stream does not give: kept, unclaimed, and what is computed from other tensors."""
    return tuple(entry for entry in entries if not _is_given(entry))


def _is_given(entry: Entry) -> bool:
    return entry.state == "filled" and not entry.site.stored


@final
@dataclass(frozen=True, slots=True)
class _Piece:
    """One tensor that is to be given."""

    entry: Entry
    name: str
    draw: Draw
    shape: tuple[int, ...]
    dtype: torch.dtype


def streamed(
    entries: Sequence[Entry],
    model: nn.Module | None,
    *,
    seed: int,
    dtype: torch.dtype | None,
    device: torch.device | str,
    allow_unclaimed: bool,
) -> Iterator[tuple[str, Tensor]]:
    """The pairs of `Plan.stream`; whatever is wrong is raised here, before the first of them."""
    with without_modes():
        require_device(device, "plan.stream")
    refuse_unclaimed(entries, allow_unclaimed=allow_unclaimed)
    refuse_uncalibrated(entries)
    pieces = list(_planned(entries) if model is None else _of_model(entries, model))
    for piece in pieces:
        piece.entry.check()
        require_range(piece.entry, dtype or piece.dtype)
    return _pairs(pieces, seed, dtype, device)


def _pairs(
    pieces: Sequence[_Piece], seed: int, dtype: torch.dtype | None, device: torch.device | str
) -> Iterator[tuple[str, Tensor]]:
    for piece in pieces:
        with without_modes():
            tensor = torch.empty(piece.shape, dtype=dtype or piece.dtype, device=device)
            drawn_into(tensor, piece.draw, seed)
        yield piece.name, tensor


def _planned(entries: Sequence[Entry]) -> Iterator[_Piece]:
    for entry in filter(_is_given, entries):
        dtype = getattr(torch, entry.site.dtype, None)
        if entry.site.layout is None or not isinstance(dtype, torch.dtype):
            raise FaninError(
                "the plan does not know the shape of this parameter",
                where=entry.name,
                found=f"layout {entry.site.layout}, dtype {entry.site.dtype}",
                fix="give the model, which may be on the meta device: plan.stream(model, seed=...)",
            )
        yield _Piece(entry, entry.name, draw_of(entry), entry.site.layout.shape, dtype)


def _of_model(entries: Sequence[Entry], model: nn.Module) -> Iterator[_Piece]:
    for entry, target in matched(entries, model, ties=False):
        if _is_given(entry):
            tensor, row = target.tensors[0], padding_row(target.owner)
            path = f"{target.path}.{target.local}" if target.path else target.local
            yield _Piece(entry, path, draw_of(entry, row), tuple(tensor.shape), tensor.dtype)


@final
@dataclass(frozen=True, slots=True)
class Filling:
    """A function of a tensor: fills it, in place, with the numbers that `Plan.apply` gives it.

    Of a sharded one, what this process holds; raises where it is not known what that is.
    """

    draw: Draw
    seed: int

    def __call__(self, tensor: Tensor) -> Tensor:
        if is_sharded(tensor):
            # The tensor does not tell whether FSDP cut it.
            part = Part.of_tensor(self.draw, tensor, by_fsdp=False)
            part.draw_into(local_of(tensor), self.seed)
            return tensor
        return drawn_into(tensor, self.draw, self.seed)

    def __repr__(self) -> str:
        return f"Filling({self.draw.place}: {self.draw.initializer}, seed {self.seed})"


def fillings(entries: Sequence[Entry], path: str, seed: int) -> dict[str, Filling]:
    """One filling for each parameter that the module at ``path`` owns and the plan fills."""
    refuse_uncalibrated(entries)
    owned = {entry.name: entry for entry in entries if entry.name.rpartition(".")[0] == path}
    if not owned and path:
        paths = {entry.name.rpartition(".")[0] for entry in entries}
        raise FaninError(
            "no module of the plan has this path, or it owns no parameter itself",
            where="plan.param_init",
            found=repr(path),
            fix=f"use one of: {nearest(path, map(repr, sorted(paths)))}",
        )
    return {
        name.rpartition(".")[2]: Filling(draw_of(entry), seed)
        for name, entry in owned.items()
        if _is_given(entry)
    }
