"""The processes of a world: every layout, materialized and held against the single-process net.

``python -m tests.distributed.worker WORLD STORE`` prints JSON: for each rank, for each layout.
"""

import json
import sys
import warnings

import torch
import torch.distributed as dist
from tests.distributed.nets import LAYOUTS, SEED, Net, names, on_meta, planned
from tests.distributed.processes import forked
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.debug import CommDebugMode

from fanin._plan._materialize import materialized

NOT_EXACT = "square.weight"
"""Orthogonal: a product of matrices."""


def materialize(plan, model, *, dtype=None, seed=SEED, device="cpu", allow_unclaimed=False):
    return materialized(
        plan.entries,
        model,
        device=device,
        dtype=dtype,
        seed=seed,
        allow_unclaimed=allow_unclaimed,
        plan=plan.checksum,
    )


def whole(plan, sizes, dtype):
    """The net of one process: what every layout must hold."""
    net = Net(**sizes)
    if dtype is not None:
        for parameter in net.parameters():
            parameter.data = parameter.data.to(dtype)
    plan.apply(net, seed=SEED)
    return net


def numbered(sizes):
    """A net whose entries say where they are: what torch's sharding leaves is then seen."""
    net = Net(**sizes)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape))
    return net


def same(name, found, wanted):
    if name == NOT_EXACT:
        step = torch.finfo(wanted.dtype).eps
        return torch.allclose(found.double(), wanted.double(), rtol=0, atol=max(1e-6, step))
    return found.dtype == wanted.dtype and torch.equal(found, wanted)


def local(tensor):
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def record(name):
    shard, sizes, dtype = LAYOUTS[name]
    plan = planned(sizes)
    reference = whole(plan, sizes, dtype)
    wanted = {**dict(reference.named_parameters()), **dict(reference.named_buffers())}
    try:
        net, places = shard(on_meta(sizes)), dict(shard(numbered(sizes)).named_parameters())
    except NotImplementedError as error:  # torch 2.6 does not cut uneven axes twice
        return {"refused": str(error)}
    state = torch.get_rng_state()
    with CommDebugMode() as traffic:
        receipt = materialize(plan, net, dtype=dtype)
    wrong, gathered, sharded = [], 0, 0
    if traffic.get_total_counts() or not torch.equal(state, torch.get_rng_state()):
        wrong.append("it communicated, or drew from torch's generator")
    for parameter, tensor in (*net.named_parameters(), *net.named_buffers()):
        value = wanted[parameter]
        if not isinstance(tensor, DTensor):
            wrong += [] if same(parameter, tensor, value) else [f"{parameter}: {tensor}"]
            continue
        sharded += 1
        here = local(places[parameter]).long()
        if not same(parameter, local(tensor), value.flatten()[here.flatten()].view(here.shape)):
            wrong.append(f"{parameter}: the shard")
        if is_told_right_by_torch(tensor):
            gathered += 1
            if not same(parameter, tensor.full_tensor(), value):
                wrong.append(f"{parameter}: gathered")
    if net.head.weight is not net.table.weight:
        wrong.append("the tie is lost")
    return {
        "wrong": wrong,
        "gathered": gathered,
        "sharded": sharded,
        "states": sorted({stamp.state for stamp in receipt.tensors}),
    }


def is_told_right_by_torch(tensor):
    """Whether `full_tensor` gathers it as it is: not where shards of two dimensions are uneven."""
    cuts = [one for one in tensor.placements if not one.is_replicate()]
    axes = {one.dim for one in cuts}
    return len(cuts) == len(axes) or all(
        tensor.shape[axis] % tensor.device_mesh.size() == 0 for axis in axes
    )


def all_layouts(rank, world, store):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    found = {name: record(name) for name in names(world)}
    dist.barrier()
    return found


def main(world, store):
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    ranks = range(int(world))
    found = forked(lambda rank: all_layouts(rank, int(world), store), ranks, at_once=int(world))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
