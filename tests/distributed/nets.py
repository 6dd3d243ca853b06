"""One net with everything a start can be about, and the ways to shard it."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)

import fanin
from fanin.initializers import Custom, Orthogonal

SEED = 5
TOKENS = torch.arange(12).reshape(3, 4)


class Turn(nn.Module):
    """A learned scale that is not 1, and a buffer that is in no file: both from its own reset."""

    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.empty(width))
        self.register_buffer("angles", torch.empty(width), persistent=False)
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.constant_(self.scale, 0.25)
        with torch.no_grad():
            self.angles.copy_(torch.arange(len(self.angles)).cos())

    def forward(self, x):
        return x + self.scale * (x * self.angles)


class Net(nn.Module):
    """A tied table with a padding row, a wide pair, a norm, batch norm, a convolution, an LSTM."""

    def __init__(self, width=8, hidden=32, words=24):
        super().__init__()
        self.table = nn.Embedding(words, width, padding_idx=2)
        self.turn = Turn(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width)
        self.square = nn.Linear(width, width)
        self.conv = nn.Conv1d(width, width, 3, padding=1)
        self.batch_norm = nn.BatchNorm1d(width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.own = nn.Linear(width, width)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        x = self.turn(self.table(tokens))
        x = x + self.down(torch.relu(self.up(self.norm(x))))
        x = self.batch_norm(self.conv(self.square(x).transpose(1, 2))).transpose(1, 2)
        return self.head(self.own(self.lstm(x)[0]))


EVEN = {"width": 8, "hidden": 32, "words": 24}
UNEVEN = {"width": 9, "hidden": 33, "words": 25}


def by_hand(tensor, layout):
    """A user's function that draws from torch's generator."""
    nn.init.uniform_(tensor, -0.1, 0.1)


def planned(sizes):
    plan = fanin.plan(Net(**sizes), TOKENS, recipe=fanin.recipes.steady)
    return plan.replace({"square.weight": Orthogonal(), "own.weight": Custom(by_hand)})


def on_meta(sizes):
    with torch.device("meta"):
        return Net(**sizes)


def _mesh(*shape):
    return init_device_mesh("cpu", shape, mesh_dim_names=("outer", "inner")[-len(shape) :])


def fsdp(net):
    for module in (net.up, net.down, net.lstm):
        fully_shard(module)
    return fully_shard(net)


def fsdp_kept_whole(net):
    return fully_shard(net, reshard_after_forward=False)


def fsdp_columns(net):
    columns = lambda parameter: Shard(min(1, parameter.dim() - 1))
    return fully_shard(net, shard_placement_fn=columns)


def fsdp_offloaded(net):
    return fully_shard(net, offload_policy=CPUOffloadPolicy(pin_memory=False))


def hsdp(net):
    return fully_shard(net, mesh=_mesh(2, dist.get_world_size() // 2))


def _tensor_parallel(net, mesh):
    return parallelize_module(
        net, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel(), "own": ColwiseParallel()}
    )


def tensor_parallel(net):
    return _tensor_parallel(net, _mesh(dist.get_world_size()))


def tensor_parallel_untied(net):
    return parallelize_module(
        net,
        _mesh(dist.get_world_size()),
        {"table": RowwiseParallel(input_layouts=Replicate()), "head": ColwiseParallel()},
    )


def fsdp_and_tensor_parallel(net):
    mesh = _mesh(2, dist.get_world_size() // 2)
    return fully_shard(_tensor_parallel(net, mesh["inner"]), mesh=mesh["outer"])


def distributed(net):
    """Every parameter by `distribute_tensor`: rows, columns, whole, in turn; ties kept."""
    mesh, done = _mesh(dist.get_world_size()), {}
    for module in net.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is None:
                continue
            if id(parameter) not in done:
                place = (Shard(0), Shard(parameter.dim() - 1), Replicate())[len(done) % 3]
                cut = distribute_tensor(parameter.detach(), mesh, [place])
                done[id(parameter)] = parameter, nn.Parameter(cut)
            setattr(module, name, done[id(parameter)][1])
    return net


def both_axes(net):
    """Rows over one mesh dimension, and the same rows again over the other."""
    mesh = _mesh(2, dist.get_world_size() // 2)
    cut = distribute_tensor(net.up.weight.detach(), mesh, [Shard(0), Shard(0)])
    net.up.weight = nn.Parameter(cut)
    cut = distribute_tensor(net.down.weight.detach(), mesh, [Shard(1), Shard(0)])
    net.down.weight = nn.Parameter(cut)
    return net


LAYOUTS = {
    "fsdp": (fsdp, EVEN, None),
    "fsdp, uneven": (fsdp, UNEVEN, None),
    "fsdp, bfloat16": (fsdp, UNEVEN, torch.bfloat16),
    "fsdp, float16": (fsdp, UNEVEN, torch.float16),
    "fsdp, float64": (fsdp, UNEVEN, torch.float64),
    "fsdp, kept whole": (fsdp_kept_whole, UNEVEN, None),
    "fsdp, offloaded": (fsdp_offloaded, UNEVEN, None),
    "fsdp, columns": (fsdp_columns, EVEN, None),
    "tensor parallel": (tensor_parallel, EVEN, None),
    "tensor parallel, uneven": (tensor_parallel, UNEVEN, None),
    "tensor parallel, tie lost": (tensor_parallel_untied, UNEVEN, torch.bfloat16),
    "distribute_tensor": (distributed, EVEN, None),
    "distribute_tensor, uneven": (distributed, UNEVEN, torch.bfloat16),
    "hsdp": (hsdp, EVEN, None),
    "hsdp, uneven": (hsdp, UNEVEN, None),
    "fsdp x tensor parallel": (fsdp_and_tensor_parallel, EVEN, None),
    "fsdp x tensor parallel, uneven": (fsdp_and_tensor_parallel, UNEVEN, torch.bfloat16),
    "two cuts of one axis, uneven": (both_axes, UNEVEN, None),
}
NEEDS_FOUR = [name for name, (way, _, _) in LAYOUTS.items()
              if way in (hsdp, fsdp_and_tensor_parallel, both_axes)]  # fmt: skip
"""Ways over two mesh dimensions."""


def names(world):
    """The layouts that a world of this size can have."""
    without = set(NEEDS_FOUR) if world % 2 or world < 4 else set()
    if world == 3:  # FSDP cuts columns only evenly
        without.add("fsdp, columns")
    return [name for name in LAYOUTS if name not in without]
