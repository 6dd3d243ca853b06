"""FSDP1's flat parameters: which piece of which parameter this process holds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Final, TypeAlias, cast, final

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from fanin._engine import Region
from fanin._errors import FaninError
from fanin._trace._names import Tensors, canonical_name

__all__ = ["Flats", "Piece", "flats_of", "with_flats"]

_FSDP1: Final = "FullyShardedDataParallel"
_FLAT: Final = "_flat_param"


@final
@dataclass(frozen=True, slots=True)
class Piece:
    """The entries of one parameter, in row-major order from ``start``, that lie here."""

    names: tuple[str, ...]
    owner: nn.Module
    local: str
    memory: Tensor
    shape: tuple[int, ...]
    start: int
    processes: int

    def box(self) -> tuple[Region, int]:
        """The smallest box of the whole that holds the piece, and where the piece begins in it.

        >>> import torch
        >>> piece = Piece(("weight",), nn.Linear(2, 2), "weight", torch.empty(5), (4, 3), 4, 2)
        >>> region, begin = piece.box()
        >>> region.start, region.count, begin
        ((1, 0), (2, 3), 1)
        """
        start, count = [0] * len(self.shape), [1] * len(self.shape)
        first, last = self.start, self.start + self.memory.numel() - 1
        if last < first:
            return Region(self.shape, tuple(start), (0,) * len(start), tuple(count)), 0
        for axis in range(len(self.shape)):
            stride = prod(self.shape[axis + 1 :])
            row, rows = first // stride, last // stride - first // stride + 1
            start[axis], count[axis] = row, rows
            first, last = first - row * stride, last - row * stride
            if rows > 1:
                count[axis + 1 :] = self.shape[axis + 1 :]
                break
        return Region(self.shape, tuple(start), tuple(count), (1,) * len(start)), first


Flats: TypeAlias = dict[tuple[int, str], Piece]
"""By the id of the owner, and the parameter's name there."""


def flats_of(model: nn.Module) -> Flats:
    """What the flat parameters of FSDP1 in ``model`` hold; nothing where there are none.

    Raises:
        FaninError: where FSDP1 holds whole weights at the moment, a parametrized weight, one that
            is not contiguous, or memory in another place than it records.
    """
    paths: dict[int, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(id(module), []).append(path)
    found: Flats = {}
    for module in model.modules():
        if any(kind.__name__ == _FSDP1 for kind in type(module).__mro__):
            handle = getattr(module, "_handle", None)
            for piece in () if handle is None else _pieces(model, handle, paths):
                found[id(piece.owner), piece.local] = piece
            for one in () if handle is None else handle.flat_param._shared_param_infos:  # noqa: SLF001
                prime = id(one.prim_module), one.prim_param_name
                found[id(one.module), one.param_name] = found[prime]
    return found


def with_flats(targets: Iterable[Tensors], flats: Flats) -> list[Tensors]:
    """``targets``, with the pieces of ``flats`` in the place of what FSDP1 shows of them."""
    rest = [one for one in targets if not flats or not _is_shown(one, flats)]
    return rest + [
        Tensors(
            piece.names[0], piece.owner, "", piece.local, [piece.memory], tied=[*piece.names[1:]]
        )
        for piece in {id(piece): piece for piece in flats.values()}.values()
    ]


def _is_shown(target: Tensors, flats: Flats) -> bool:
    """Whether this is a flat parameter, or the view of a part of one."""
    names = {(id(target.owner), target.local)}
    names |= {(id(target.owner), one.rpartition(".")[2]) for one in target.stored}
    flat = target.local == _FLAT and "_fsdp_wrapped_module" in target.path.split(".")
    return flat or bool(names & flats.keys())


def _pieces(model: nn.Module, handle: Any, paths: dict[int, list[str]]) -> Iterator[Piece]:  # noqa: ANN401 - torch's private FlatParamHandle
    # There is no public way to see any of it; what is read is held against what modules show.
    flat = handle.flat_param
    memory, others = _memory(flat), _others(model, flat, paths)
    contiguous = getattr(flat, "_contiguities", (True,) * len(flat._shapes))  # noqa: SLF001
    infos, places = flat._param_infos, flat._shard_param_infos  # noqa: SLF001
    for info, shape, place, in_rows in zip(infos, flat._shapes, places, contiguous, strict=True):  # noqa: SLF001
        owner, local = info.module, info.param_name
        names = _names(model, paths[id(owner)], local) + others.get((id(owner), local), [])
        if isinstance(owner, ParametrizationList) or not in_rows:
            raise _refusal(names[0], "parametrized" if in_rows else "in another order than rows")
        begin, start = place.offset_in_shard or 0, place.intra_param_start_idx or 0
        number = place.numel_in_shard or 0
        piece = memory[begin : begin + number]
        _require_there(names[0], owner, local, piece, number)
        known = tuple(dict.fromkeys(names))
        yield Piece(known, owner, local, piece, tuple(shape), start, handle.world_size)


def _others(
    model: nn.Module,
    flat: Any,  # noqa: ANN401 - torch's private FlatParameter
    paths: dict[int, list[str]],
) -> dict[tuple[int, str], list[str]]:
    """The other names of what is tied within the unit, by the owner and name of the first."""
    found: dict[tuple[int, str], list[str]] = {}
    for one in flat._shared_param_infos:  # noqa: SLF001
        names = found.setdefault((id(one.prim_module), one.prim_param_name), [])
        names += _names(model, paths[id(one.module)], one.param_name)
    return found


def _memory(flat: Any) -> Tensor:  # noqa: ANN401 - torch's private FlatParameter
    # FSDP1 sets it when the model runs first.
    shard = getattr(flat, "_local_shard", flat)
    if shard.data_ptr() != flat.data_ptr():
        raise _refusal(", ".join(flat._fqns[:3]), "gathered: whole weights at the moment")  # noqa: SLF001
    return cast("Tensor", shard.detach())


def _names(model: nn.Module, paths: Iterable[str], local: str) -> list[str]:
    return [canonical_name(model, f"{path}.{local}" if path else local) for path in paths]


def _require_there(name: str, owner: nn.Module, local: str, piece: Tensor, number: int) -> None:
    """Raise FaninError where the record and what the module shows are not one piece of memory."""
    shown = owner._parameters.get(local)  # noqa: SLF001 - with use_orig_params it is a view
    is_other = shown is not None and (
        shown.numel() != number or (number > 0 and shown.data_ptr() != piece.data_ptr())
    )
    if is_other or piece.numel() != number or piece.is_meta:
        raise _refusal(name, "in another place than FSDP1 has on record")


def _refusal(name: str, found: str) -> FaninError:
    return FaninError(
        "this weight of FSDP1 can neither be filled nor compared",
        where=name,
        found=found,
        fix="materialize and verify the model before it is wrapped, or before it runs; or use "
        "fully_shard",
    )
