"""Sharded tensors behind a parametrization: drawn whole, taken apart, and the parts kept."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from fanin._errors import FaninError
from fanin._fill import Draw, Job, wanted_for
from fanin._plan._draw._apply import drawn_into
from fanin._plan._local._shards import held, is_sharded, local_of
from fanin._trace._names import Tensors
from fanin.initializers._base import take_region

__all__ = ["require_known", "wanted_here"]


def require_known(name: str, target: Tensors, *, is_flat: bool) -> None:
    """Raise FaninError where the whole of a parametrized tensor cannot be set up beside its parts.

    torch's older weight and spectral norm compute it in a hook of the module, from the parts.
    """
    is_new = is_parametrized(target.owner, target.local)
    if is_flat or (not is_new and any(map(is_sharded, target.tensors))):
        raise FaninError(
            "a tensor that is parametrized in this way cannot be filled where it is sharded",
            where=name,
            found="FSDP1's flat parameter" if is_flat else "torch.nn.utils' older norm",
            fix="materialize the model first, and shard it then; or use "
            "torch.nn.utils.parametrizations with fully_shard",
        )


def wanted_here(target: Tensors, draw: Draw, seed: int, fsdp: set[int]) -> list[Tensor]:
    """What is to be kept in its place in this process, so that the whole is the draw."""
    job = Job(target.owner, target.local, draw)
    if not any(map(is_sharded, job.kept)):
        return wanted_for(job, drawn_into(job.stored.new_empty(job.shape), draw, seed))
    whole = Job(_whole(target, job.kept), target.local, draw)
    made = wanted_for(whole, drawn_into(whole.stored.new_empty(whole.shape), draw, seed))
    by_fsdp = id(target.owner) in fsdp
    parts = []
    for tensor, value in zip(job.kept, made, strict=True):
        region = held(tensor, draw.stream, by_fsdp=by_fsdp)
        # Where nothing is held, torch gives the other axes as it likes.
        parts.append(take_region(value, region).reshape(local_of(tensor).shape).clone())
    return parts


def _whole(target: Tensors, kept: Sequence[Tensor]) -> nn.Module:
    """A module with nothing but the parametrization, whose tensors are whole."""
    memo: dict[int, Any] = {
        id(tensor): nn.Parameter(
            torch.empty(tensor.shape, dtype=tensor.dtype, device=local_of(tensor).device),
            tensor.requires_grad,
        )
        for tensor in kept
        if is_sharded(tensor)
    }
    parametrizations = cast("nn.ModuleDict", target.owner.parametrizations)
    module = nn.Module()
    copied = deepcopy(parametrizations[target.local], memo)
    module.parametrizations = nn.ModuleDict({target.local: copied})
    return module
