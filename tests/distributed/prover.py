"""The processes of a world: each verifies what it holds, and loads what a checkpoint has.

``python -m tests.distributed.prover WORLD STORE [LAYOUT ...]`` prints JSON: for each rank, for each
layout, what is wrong.
"""

import sys

import torch
import torch.distributed as dist
from tests.distributed.layouts import LAYOUTS
from tests.distributed.nets import SEED, on_meta, planned
from tests.distributed.worker import (
    is_right_here,
    local,
    main,
    materialize,
    numbered,
    parameters,
    whole,
)
from torch.distributed.tensor.debug import CommDebugMode

from fanin._plan._draw._slices import costs_its_size


def made(layout):
    return layout.way(layout.make() if layout.built else on_meta(layout.make))


def filled(layout):
    net = made(layout)
    if not layout.filled:
        materialize(planned(layout.make), net, dtype=layout.dtype)
    return net


def exact(plan, found):
    """A weight of numbers drawn one by one, of which this process holds some."""
    for name, tensor in found.items():
        is_drawn = name in plan and plan[name].state == "filled" and not plan[name].site.stored
        if is_drawn and plan[name].std > 0 and costs_its_size(plan[name].initializer, plan[name]):
            memory = local(tensor).detach()
            if memory.numel():
                return name, memory
    return None, None


def verified(layout):
    """What is wrong with the verdicts on a right start, another seed, and one changed bit."""
    plan, net = planned(layout.make), filled(layout)
    state = torch.get_rng_state()
    with CommDebugMode() as traffic:
        right = plan.verify(net, seed=SEED)
    wrong = [] if right.ok else [str(right)]
    if traffic.get_total_counts() or not torch.equal(state, torch.get_rng_state()):
        wrong.append("it communicated, or drew from torch's generator")
    name, memory = exact(plan, parameters(net))
    if name is not None and plan.verify(net, seed=SEED + 1).ok:
        wrong.append("another seed is the same")
    if name is not None and dist.get_rank() == 0:
        bits = memory.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[memory.itemsize])
        index = tuple(size - 1 for size in memory.shape)
        bits[index] += 1
        found = [(one.name, one.differing) for one in plan.verify(net, seed=SEED).different]
        wrong += [] if found == [(plan[name].name, 1)] else [f"one bit of {name}: {found}"]
        bits[index] -= 1
    again = plan.verify(net, seed=SEED)
    return wrong + ([] if again.ok else ["it is not the same any more"])


def loaded(layout, path):
    """What is wrong where every second module comes from a file."""
    plan, source = planned(layout.make), layout.make()
    plan.apply(source, seed=SEED)
    groups = [name for name, _ in source.named_children()][::2]
    stored = {
        name: tensor + 1
        for name, tensor in source.state_dict().items()
        if name.split(".")[0] in groups
    }
    torch.save(stored, path)
    net, places = made(layout), parameters(layout.way(numbered(layout.make)))
    with CommDebugMode() as traffic:
        receipt = materialize(plan, net, dtype=layout.dtype, missing_from=path)
    wrong = ["it communicated"] if traffic.get_total_counts() else []
    wanted = whole(layout.make, layout.dtype)
    wanted |= {name: one.to(wanted[name].dtype) for name, one in stored.items() if name in wanted}
    if "head.weight" in stored:
        wanted["table.weight"] = stored["head.weight"].to(wanted["table.weight"].dtype)
    found = parameters(net)
    wrong += [one for one in found if not is_right_here(one, found, places, wanted)]
    return wrong + ([] if receipt.loaded else ["nothing was loaded"])


@torch.no_grad()
def record(name, store, rank):
    layout = LAYOUTS[name]
    try:
        wrong = verified(layout)
        if not layout.filled:
            wrong += [f"loaded: {one}" for one in loaded(layout, f"{store}.{rank}.pt")]
    except NotImplementedError as error:  # torch 2.6 does not cut uneven axes twice
        return {"refused": str(error)}
    return {"wrong": wrong}


if __name__ == "__main__":
    main(record, *sys.argv[1:])
