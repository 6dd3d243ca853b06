"""Ranks of a world that is not there: torch's fake process group, which transports nothing.

``python -m tests.distributed.many RANKS WORLD HIDDEN OUTER [INNER]``: FSDP over the outer
dimension, and tensor parallelism over the inner one where there is one; for each of some hidden
sizes. Prints for each rank, size and parameter which elements it holds, by torch's own cut of
numbered weights, and whether they are those of the whole.
"""

import json
import sys
import warnings

import torch
import torch.distributed as dist
from tests.distributed.processes import forked
from tests.distributed.worker import local, materialize
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.testing._internal.distributed.fake_pg import FakeStore

import fanin

SEED = 3


def net(hidden):
    return nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Linear(hidden, 4))


def sharded(model, sizes):
    names = ("outer", "inner")[: len(sizes)]
    mesh = init_device_mesh("cpu", sizes, mesh_dim_names=names)
    if len(sizes) == 2:
        ways = {
            "0": ColwiseParallel(),
            "2": RowwiseParallel(),
        }
        parallelize_module(model, mesh["inner"], ways, src_data_rank=None)
    return fully_shard(model, mesh=mesh["outer"])


def all_held(rank, world, some, sizes):
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)
    return {hidden: held(hidden, sizes) for hidden in some}


def held(hidden, sizes):
    whole = net(hidden)
    plan = fanin.plan(whole, torch.randn(4, 6), recipe=fanin.recipes.kaiming)
    plan = plan.replace({"*.bias": fanin.initializers.Uniform(-1, 1)})
    plan.apply(whole, seed=SEED)
    numbers = net(hidden)
    for parameter in numbers.parameters():
        parameter.data = torch.arange(parameter.numel()).view(parameter.shape).float()
    with torch.device("meta"):
        model = net(hidden)
    try:
        places = dict(sharded(numbers, sizes).named_parameters())
    except (NotImplementedError, TypeError):
        # torch 2.6 does not cut uneven axes twice, nor weights without transport.
        return None
    materialize(plan, sharded(model, sizes), seed=SEED)
    found = {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            here = local(places[name]).long().flatten()
            value = whole.get_parameter(name).flatten()[here]
            right = torch.equal(local(parameter).flatten(), value)
            found[name] = {"held": here.tolist(), "right": right, "of": parameter.numel()}
    return found


def main(ranks, world, hidden, *sizes):
    hiddens = [int(one) for one in hidden.split(",")]
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    some = [int(rank) for rank in ranks.split(",")]
    mesh = tuple(map(int, sizes))
    found = forked(lambda rank: all_held(rank, int(world), hiddens, mesh), some, at_once=2)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
