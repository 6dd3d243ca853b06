"""What the start of orthogonal matrices takes beside the shards: rank 1 of 4, none of it there.

``python -m tests.distributed.memory COUNT SIZE`` prints by how many bytes the peak of the process
grew while ``COUNT`` matrices of ``SIZE`` x ``SIZE`` were materialized.
"""

import json
import resource
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from tests.distributed.worker import materialize
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore

import fanin
from fanin.initializers import Orthogonal


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def current():
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def net(count, size):
    with torch.device("meta"):
        return nn.Sequential(*(nn.Linear(size, size, bias=False) for _ in range(count)))


def start(count, size):
    batch = torch.empty(2, size, device="meta")
    plan = fanin.plan(net(count, size), batch).replace({"*": Orthogonal()})
    model = net(count, size)
    for layer in model:
        fully_shard(layer)
    materialize(plan, fully_shard(model))


def main(count, size):
    torch.set_num_threads(1)
    dist.init_process_group("fake", store=FakeStore(), rank=1, world_size=4)
    start(1, 8)  # what is loaded once
    # Imports may have had more for a moment, under which growth would not be seen.
    ballast = torch.ones(max(0, peak() - current()) // 4)
    before = peak()
    start(int(count), int(size))
    sys.stdout.write(json.dumps(peak() - before))
    del ballast


if __name__ == "__main__":
    main(*sys.argv[1:])
