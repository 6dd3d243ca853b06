"""The ways to shard or wrap a net, and which nets they are tried on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from tests.distributed.nets import SEED, Every, Mixture, even, normed, planned, uneven
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.nn.parallel import DistributedDataParallel


def mesh(*shape):
    return init_device_mesh("cpu", shape, mesh_dim_names=("top", "outer", "inner")[-len(shape) :])


def line():
    return mesh(dist.get_world_size())


def square():
    return mesh(2, dist.get_world_size() // 2)


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
    return fully_shard(net, mesh=square())


def _tensor_parallel(net, on):
    return parallelize_module(
        net, on, {"up": ColwiseParallel(), "down": RowwiseParallel(), "own": ColwiseParallel()}
    )


def tensor_parallel(net):
    return _tensor_parallel(net, line())


def tensor_parallel_untied(net):
    return parallelize_module(
        net,
        line(),
        {"table": RowwiseParallel(input_layouts=Replicate()), "head": ColwiseParallel()},
    )


def fsdp_and_tensor_parallel(net):
    on = square()
    return fully_shard(_tensor_parallel(net, on["inner"]), mesh=on["outer"])


def hsdp_and_tensor_parallel(net):
    on = mesh(2, 2, dist.get_world_size() // 4)
    return fully_shard(_tensor_parallel(net, on["inner"]), mesh=on["top", "outer"])


def distributed(net):
    """Every parameter by `distribute_tensor`: rows, columns, whole, in turn; ties kept."""
    return _cut(net, lambda number, last: (Shard(0), Shard(last), Replicate())[number % 3])


def rows(net):
    return _cut(net, lambda _number, _last: Shard(0))


def columns(net):
    return _cut(net, lambda _number, last: Shard(last))


def _cut(net, place):
    on, done = line(), {}
    for module in net.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is None:
                continue
            if id(parameter) not in done:
                one = place(len(done), parameter.dim() - 1)
                part = distribute_tensor(parameter.detach(), on, [one])
                done[id(parameter)] = parameter, nn.Parameter(part)
            setattr(module, name, done[id(parameter)][1])
    return net


def both_axes(net):
    """Rows over one mesh dimension, and the same rows again over the other."""
    on = square()
    cut = distribute_tensor(net.up.weight.detach(), on, [Shard(0), Shard(0)])
    net.up.weight = nn.Parameter(cut)
    cut = distribute_tensor(net.down.weight.detach(), on, [Shard(1), Shard(0)])
    net.down.weight = nn.Parameter(cut)
    return net


def _experts(net, on, places):
    for name, parameter in list(net.experts.named_parameters()):
        cut = distribute_tensor(parameter.detach(), on, places[: on.ndim])
        setattr(net.experts, name, nn.Parameter(cut))
    return net


def experts(net):
    """A share of the experts in each process, and the rest whole."""
    return _experts(net, line(), [Shard(0)])


def experts_and_fsdp(net):
    """Experts in one mesh dimension and FSDP over the other; the dense layers over both."""
    on = square()
    _experts(net, on["inner"], [Shard(0)])
    fully_shard(net.experts, mesh=on["outer"])
    return fully_shard(net, mesh=line())


def experts_and_fsdp_columns(net):
    """As where there are fewer experts than processes: FSDP cuts within each expert."""
    on = square()
    _experts(net, on["inner"], [Shard(0)])
    fully_shard(net.experts, mesh=on["outer"], shard_placement_fn=lambda _: Shard(1))
    return fully_shard(net, mesh=line())


def experts_fsdp_and_tensor_parallel(net):
    """Three dimensions: FSDP over experts over columns and rows."""
    on = mesh(2, 2, dist.get_world_size() // 4)
    parallelize_module(net, on["inner"], {"first": ColwiseParallel(), "last": RowwiseParallel()})
    _experts(net, on["outer", "inner"], [Shard(0), Shard(1)])
    return fully_shard(net, mesh=on["top"])


def compiled(net):
    """Names with the prefixes of wrappers, one in another, outside and inside of FSDP."""
    net.up = torch.compile(checkpoint_wrapper(net.up))
    net.down = checkpoint_wrapper(net.down)
    net.conv = fully_shard(torch.compile(net.conv))
    return torch.compile(fully_shard(net))


def ddp(net):
    return DistributedDataParallel(torch.compile(net))


def _fsdp1(net, **more):
    policy = ModuleWrapPolicy({nn.Conv1d, nn.LSTM, nn.LayerNorm})
    return FullyShardedDataParallel(
        net, auto_wrap_policy=policy, device_id=torch.device("cpu"), **more
    )


def fsdp1(net):
    return _fsdp1(net, use_orig_params=True)


def fsdp1_flat(net):
    return _fsdp1(net, use_orig_params=False)


def fsdp1_hybrid(net):
    return _fsdp1(net, use_orig_params=True, device_mesh=square())


def fsdp1_while_wrapped(net):
    """FSDP1 asks for each module of a unit that has no memory."""
    paths = {module: path for path, module in net.named_modules()}

    def start(module):
        planned(Every).materialize(module, seed=SEED, part=True, names={"": paths[module]})

    return _fsdp1(net, use_orig_params=True, param_init_fn=start)


ANY, EVEN_WORLDS, EIGHT = (1, 2, 3, 4, 8), (4, 8), (8,)


@dataclass(frozen=True)
class Layout:
    """A way, a net, the dtype that memory is given in, and the sizes of worlds that can have it.

    ``built``: the way needs a net that has its memory already. ``filled``: it fills it itself.
    """

    way: Callable
    make: Callable
    dtype: torch.dtype | None = None
    worlds: tuple = ANY
    built: bool = False
    filled: bool = False


LAYOUTS = {
    "fsdp": Layout(fsdp, even),
    "fsdp, uneven": Layout(fsdp, uneven),
    "fsdp, bfloat16": Layout(fsdp, uneven, torch.bfloat16),
    "fsdp, float16": Layout(fsdp, uneven, torch.float16),
    "fsdp, float64": Layout(fsdp, uneven, torch.float64),
    "fsdp, kept whole": Layout(fsdp_kept_whole, uneven),
    "fsdp, offloaded": Layout(fsdp_offloaded, uneven),
    "fsdp, columns": Layout(fsdp_columns, even, worlds=(1, 2, 4, 8)),  # cut only evenly
    "tensor parallel": Layout(tensor_parallel, even),
    "tensor parallel, uneven": Layout(tensor_parallel, uneven),
    "tensor parallel, tie lost": Layout(tensor_parallel_untied, uneven, torch.bfloat16),
    "distribute_tensor": Layout(distributed, even),
    "distribute_tensor, uneven": Layout(distributed, uneven, torch.bfloat16),
    "hsdp": Layout(hsdp, even, worlds=EVEN_WORLDS),
    "hsdp, uneven": Layout(hsdp, uneven, worlds=EVEN_WORLDS),
    "fsdp x tensor parallel": Layout(fsdp_and_tensor_parallel, even, worlds=EVEN_WORLDS),
    "fsdp x tensor parallel, uneven": Layout(
        fsdp_and_tensor_parallel, uneven, torch.bfloat16, EVEN_WORLDS
    ),
    "hsdp x tensor parallel": Layout(hsdp_and_tensor_parallel, even, worlds=EIGHT),
    "hsdp x tensor parallel, uneven": Layout(hsdp_and_tensor_parallel, uneven, worlds=EIGHT),
    "two cuts of one axis, uneven": Layout(both_axes, uneven, worlds=EVEN_WORLDS),
    "experts": Layout(experts, Mixture),
    "experts, fsdp": Layout(experts_and_fsdp, Mixture, worlds=EVEN_WORLDS),
    "experts, fsdp, columns": Layout(experts_and_fsdp_columns, Mixture, torch.bfloat16, (4,)),
    "experts, fsdp x tensor parallel": Layout(
        experts_fsdp_and_tensor_parallel, Mixture, worlds=EIGHT
    ),
    "parametrized": Layout(fully_shard, normed),
    "parametrized, columns": Layout(columns, normed, torch.float64),
    "compiled, checkpointed": Layout(compiled, uneven),
    "ddp": Layout(ddp, uneven, built=True),
    "fsdp1": Layout(fsdp1, uneven, built=True),
    "fsdp1, flat": Layout(fsdp1_flat, uneven, built=True),
    "fsdp1, hybrid": Layout(fsdp1_hybrid, even, worlds=EVEN_WORLDS, built=True),
    "fsdp1, while wrapped": Layout(fsdp1_while_wrapped, Every, filled=True),
} | {
    f"every initializer, {way.__name__}, {str(dtype).removeprefix('torch.')}": Layout(
        way, Every, dtype
    )
    for way in (rows, columns)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16)
}


def names(world):
    """The layouts that a world of this size can have."""
    return [name for name, layout in LAYOUTS.items() if world in layout.worlds]
