"""Sharded models: what one process of many spends on its part, beside torch's own way."""

import json
import statistics
import subprocess
import sys
import time
import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore

import fanin
from timing import Row, peak_memory

__all__ = ["parts"]

WORLDS = (1, 4, 64, 1024)
WAYS = ("fanin", "torch")


def parts(*, quick: bool) -> list[Row]:
    """One process of many, its part of 8 matrices of 4096 x 4096 (2 when quick) under FSDP."""
    rows: list[Row] = []
    for world in WORLDS:
        found = {way: _measured(way, world, layers=2 if quick else 8) for way in WAYS}
        ours, theirs = found["fanin"], found["torch"]
        rows.append(
            {
                "processes": world,
                "numbers in one": f"{int(ours['numbers']):,}",
                "materialize, ms": 1e3 * ours["seconds"],
                "to_empty and normal_, ms": 1e3 * theirs["seconds"],
                "materialize adds, MB": ours["memory"],
                "to_empty and normal_ add, MB": theirs["memory"],
            }
        )
    return rows


def _measured(way: str, world: int, layers: int, repeats: int = 3) -> dict[str, float]:
    """Medians over processes: what is kept by torch from one to the next would be measured too."""
    command = [sys.executable, __file__, way, str(world), str(layers)]
    found = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(repeats)
    ]
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def process(way: str, world: int, layers: int) -> dict[str, float]:
    """One process in the middle of a world of which nobody else is there."""
    torch.set_num_threads(1)
    dist.init_process_group("fake", store=FakeStore(), rank=world // 2, world_size=world)
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(4096, 4096, bias=False) for _ in range(layers)))
    plan = fanin.plan(model, torch.empty(1, 4096, device="meta"), recipe=fanin.recipes.kaiming)
    # The engine and torch's own first calls are no part of it.
    plan_of_one(way)
    for layer in model:
        fully_shard(layer)
    fully_shard(model)
    before, began = peak_memory(), time.perf_counter()
    fill(way, model, plan)
    seconds = time.perf_counter() - began
    local = [parameter.to_local() for parameter in model.parameters()]
    return {
        "seconds": seconds,
        "memory": peak_memory() - before,
        "numbers": float(sum(part.numel() for part in local)),
    }


def plan_of_one(way: str) -> None:
    """The same for a small model of its own."""
    with torch.device("meta"):
        model = fully_shard(nn.Linear(64, 64, bias=False))
    batch = torch.empty(1, 64, device="meta")
    with torch.device("meta"):
        whole = nn.Linear(64, 64, bias=False)
    fill(way, model, fanin.plan(whole, batch, recipe=fanin.recipes.kaiming))


def fill(way: str, model: nn.Module, plan: fanin.Plan) -> None:
    """By fanin's call, or by torch's two."""
    if way == "fanin":
        plan.materialize(model, seed=0)
        return
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0, 0.02)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = process(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps(found))
    dist.destroy_process_group()
