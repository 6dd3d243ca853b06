"""The processes of a world: every layout, materialized and held against the single-process net.

``python -m tests.distributed.worker WORLD STORE`` prints JSON: for each rank, for each layout.
"""

import json
import sys
import warnings

import torch
import torch.distributed as dist
from tests.distributed.layouts import LAYOUTS, names
from tests.distributed.nets import NOT_EXACT, SEED, on_meta, planned
from tests.distributed.processes import forked
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.debug import CommDebugMode

from fanin._plan._materialize import materialized

PREFIXES = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Of wrappers; no module of the nets here has such a name itself."""


def materialize(plan, model, *, seed=SEED, device="cpu", dtype=None, allow_unclaimed=False, **more):
    return materialized(
        plan.entries,
        model,
        device=device,
        dtype=dtype,
        seed=seed,
        allow_unclaimed=allow_unclaimed,
        plan=plan.checksum,
        **more,
    )


def clean(name):
    return ".".join(part for part in name.split(".") if part not in PREFIXES)


def parameters(model):
    return {clean(name): parameter for name, parameter in model.named_parameters()}


def whole(make, dtype):
    """The net of one process: what every layout must hold."""
    net = make()
    if dtype is not None:
        for parameter in net.parameters():
            parameter.data = parameter.data.to(dtype)
    planned(make).apply(net, seed=SEED)
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}


def numbered(make):
    """A net whose entries say where they are: what torch's sharding leaves is then seen."""
    net = make()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape))
    return net


def same(name, found, wanted):
    if any(word in name for word in NOT_EXACT):
        step = torch.finfo(wanted.dtype).eps
        return torch.allclose(found.double(), wanted.double(), rtol=0, atol=max(1e-6, step))
    return found.dtype == wanted.dtype and torch.equal(found, wanted)


def local(tensor):
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def record(name):
    layout = LAYOUTS[name]
    wanted = whole(layout.make, layout.dtype)
    try:
        net = layout.way(layout.make() if layout.built else on_meta(layout.make))
        places = parameters(layout.way(numbered(layout.make)))
    except NotImplementedError as error:  # torch 2.6 does not cut uneven axes twice
        return {"refused": str(error)}
    wrong, state = [], torch.get_rng_state()
    states = {"filled"}
    with CommDebugMode() as traffic:
        if not layout.filled:
            receipt = materialize(planned(layout.make), net, dtype=layout.dtype)
            states = {stamp.state for stamp in receipt.tensors}
    if traffic.get_total_counts() or not torch.equal(state, torch.get_rng_state()):
        wrong.append("it communicated, or drew from torch's generator")
    found = parameters(net)
    if "head.weight" in wanted.keys() & found.keys():
        wrong.append("the tie is lost")
    wrong += [f"{one}: here" for one in found if not is_right_here(one, found, places, wanted)]
    gathered = wrong_of_gathered(net, found, wanted, wrong)
    sharded = sum(isinstance(tensor, DTensor) for tensor in found.values())
    return {"wrong": wrong, "gathered": gathered, "sharded": sharded, "states": sorted(states)}


def is_right_here(name, found, places, wanted):
    """Whether what is held is what torch, cutting numbers, left in its place."""
    if name.endswith("_flat_param"):
        return True
    here = local(places[name]).long()
    value = wanted[name].flatten()[here.flatten()].view(here.shape)
    return same(name, local(found[name]), value)


def wrong_of_gathered(net, found, wanted, wrong):
    """How many tensors torch gathered; what is wrong with them joins ``wrong``."""
    if isinstance(net, FullyShardedDataParallel):
        with FullyShardedDataParallel.summon_full_params(net, writeback=False):
            all_of_it = {name: one.clone() for name, one in parameters(net).items()}
    else:
        all_of_it = {
            name: tensor.full_tensor()
            for name, tensor in found.items()
            if isinstance(tensor, DTensor) and is_told_right_by_torch(tensor)
        }
    gathered = len(all_of_it)
    all_of_it |= {clean(name): buffer for name, buffer in net.named_buffers()}
    wrong += [
        f"{one}: whole" for one, value in all_of_it.items() if not same(one, value, wanted[one])
    ]
    return gathered


def is_told_right_by_torch(tensor):
    """Whether `full_tensor` gathers it as it is: not where shards of two dimensions are uneven."""
    cuts = [one for one in tensor.placements if not one.is_replicate()]
    axes = {one.dim for one in cuts}
    return len(cuts) == len(axes) or all(
        tensor.shape[axis] % tensor.device_mesh.size() == 0 for axis in axes
    )


def all_layouts(record, rank, world, store, only):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    found = {name: record(name, store, rank) for name in only or names(world)}
    dist.barrier()
    return found


def main(record, world, store, *only):
    """Print, for each rank, what ``record`` of each layout, the store and the rank says."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    ranks = range(int(world))
    run = lambda rank: all_layouts(record, rank, int(world), store, only)
    sys.stdout.write(json.dumps(forked(run, ranks, at_once=int(world))))


if __name__ == "__main__":
    main(lambda name, *_: record(name), *sys.argv[1:])
