"""Which part of a whole tensor this process holds: read from a DTensor, checked against it."""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from fanin._engine import Region
from fanin._errors import FaninError

__all__ = ["held", "is_sharded", "local_of", "owners", "resharded"]

_DTENSOR: Final = "DTensor"
_FSDP: Final = "FSDPModule"


def is_sharded(tensor: Tensor) -> bool:
    """Whether ``tensor`` is a DTensor, of which this process holds a part.

    >>> is_sharded(torch.zeros(2))
    False
    """
    # By its name: importing torch.distributed.tensor takes longer than importing fanin.
    return any(kind.__name__ == _DTENSOR for kind in type(tensor).__mro__)


def local_of(tensor: Tensor) -> Tensor:
    """What is held here: the local tensor of a DTensor, else the tensor itself."""
    if not is_sharded(tensor):
        return tensor
    with torch.no_grad():
        return cast("Tensor", cast("Any", tensor).to_local())


def owners(tensors: Iterable[Tensor]) -> int:
    """How many processes hold parts of these tensors together; 1 where nothing is sharded."""
    sizes = (cast("Any", one).device_mesh.size() for one in tensors if is_sharded(one))
    return max(sizes, default=1)


def resharded(model: nn.Module) -> set[int]:
    """The ids of the modules that ``fully_shard`` manages, and of those inside them.

    Whole weights that a forward pass left in their places give way to the shards.
    """
    managed: set[int] = set()
    for module in model.modules():
        if any(kind.__name__ == _FSDP for kind in type(module).__mro__):
            cast("Any", module).reshard()
            managed.update(map(id, module.modules()))
    return managed


def held(tensor: Tensor, name: str, *, by_fsdp: bool) -> Region:
    """The region of the whole that this process holds; all of it for a plain tensor.

    torch.chunk's arithmetic: plain shards from left to right of the mesh, then strided ones from
    right to left, as FSDP makes them after tensor parallelism.

    Raises:
        FaninError: for a placement other than Shard, Replicate and torch's strided shard; for a
            strided one that is uneven and not FSDP's, which torch cuts in other places; and where
            the local tensor has another shape than that.

    >>> held(torch.zeros(4, 3), "weight", by_fsdp=False).is_whole
    True
    """
    if not is_sharded(tensor):
        return Region.whole(tuple(tensor.shape))
    shared = cast("Any", tensor)
    full, placements, mesh = tuple(tensor.shape), shared.placements, shared.device_mesh
    cuts = _cuts(placements, tuple(mesh.shape), full, name, by_fsdp=by_fsdp)
    place = mesh.get_coordinate()
    none = (0,) * len(full)
    if place is None:  # this process is no part of the mesh
        return Region(full, none, none, (1,) * len(full))
    start, count = list(none), list(full)
    for across, axis in cuts:
        first, length = _chunk(count[axis], mesh.shape[across], place[across])
        start[axis], count[axis] = start[axis] + first, length
    local = tuple(local_of(tensor).shape)
    if local != tuple(count) and prod(local) + prod(count) > 0:
        raise _refusal(
            "a shard has another shape than its placements say",
            name,
            f"{local} held, {tuple(count)} of {full} by {_said(placements)} on a mesh of "
            f"{tuple(mesh.shape)}",
            "shard it with fully_shard, parallelize_module or distribute_tensor",
        )
    return Region(full, tuple(start), tuple(count), (1,) * len(full))


def _chunk(size: int, chunks: int, number: int) -> tuple[int, int]:
    """Where chunk ``number`` of torch.chunk starts, and how long it is.

    >>> [_chunk(9, 4, number) for number in range(4)]
    [(0, 3), (3, 3), (6, 3), (9, 0)]
    """
    step = -(-size // chunks)
    first = min(number * step, size)
    return first, min(step, size - first)


def _cuts(
    placements: Sequence[Any],
    mesh: tuple[int, ...],
    full: tuple[int, ...],
    name: str,
    *,
    by_fsdp: bool,
) -> list[tuple[int, int]]:
    """The mesh dimension and the axis of each cut, in the order in which they were made."""
    plain: list[tuple[int, int]] = []
    strided: list[tuple[int, int]] = []
    for across, placement in enumerate(placements):
        kind = type(placement).__name__
        if kind == "Replicate":
            continue
        if kind not in ("Shard", "_StridedShard"):
            raise _refusal(
                "only sharded and replicated tensors can be filled",
                name,
                _said(placements),
                "redistribute it to Shard or Replicate first",
            )
        (plain if kind == "Shard" else strided).append((across, placement.dim % len(full)))
    for across, axis in strided:
        inner = prod(mesh[one] for one, other in plain + strided if other == axis and one > across)
        cut = prod(mesh[one] for one, other in plain + strided if other == axis)
        even = full[axis] % cut == 0
        if placements[across].split_factor != inner or not (even or by_fsdp):
            raise _refusal(
                "it is not known how this tensor was cut",
                name,
                f"{_said(placements)} on a mesh of {mesh}, shape {full}",
                "use sizes that the mesh divides, or shard it with fully_shard after "
                "parallelize_module",
            )
    return plain + strided[::-1]


def _said(placements: Sequence[Any]) -> str:
    return "(" + ", ".join(map(str, placements)) + ")"


def _refusal(what: str, name: str, found: str, fix: str) -> FaninError:
    return FaninError(what, where=name, found=found, fix=fix)
