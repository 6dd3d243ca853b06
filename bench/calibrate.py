"""Calibrating in one pass, against one forward pass and the package lsuv on the same nets."""

import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

import fanin
from fanin._plan._calibrate_copies import Copies
from fanin._plan._calibrate_run import Run, running
from fanin._plan._calibrate_targets import wanted
from fanin._plan._match import matched
from fanin.recipes import Recipe, kaiming, lsuv
from timing import Row, table

__all__ = ["calibrate"]

LAYERS = (10, 30, 100)
SIDE = 256
CHANNELS = 64


def mlp(layers: int) -> tuple[nn.Module, Tensor]:
    """ReLU layers of width 256, and a batch of 256."""
    made = [(nn.Linear(SIDE, SIDE), nn.ReLU()) for _ in range(layers)]
    return nn.Sequential(*(one for pair in made for one in pair)), batch(SIDE, SIDE)


def convolutions(layers: int) -> tuple[nn.Module, Tensor]:
    """ReLU convolutions 3x3 of 64 channels, and a batch of 16 images of 16x16."""
    made = [(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU()) for _ in range(layers)]
    return nn.Sequential(*(one for pair in made for one in pair)), batch(16, CHANNELS, 16, 16)


def batch(*shape: int) -> Tensor:
    """Standard normals, the same in every run."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def calibrate(*, quick: bool) -> list[Row]:
    """Times in units of one forward pass, and the least, median and largest std of the layers."""
    rows = []
    for build in (mlp, convolutions):
        for layers in LAYERS[:2] if quick else LAYERS:
            net, inputs = build(layers)
            repeats = 5 if quick else max(7, 200 // layers)
            rows += [
                row(f"{build.__name__}, {start}", layers, net, inputs, recipe, repeats)
                for start, recipe in {"orthogonal": lsuv, "normal": kaiming}.items()
            ]
    return rows


def row(
    name: str, layers: int, net: nn.Module, inputs: Tensor, recipe: Recipe, repeats: int
) -> Row:
    """One net with one kind of start."""
    plan = fanin.plan(net, inputs, recipe=recipe)
    calibrated = plan.calibrate(net, inputs)
    forward = partial(run, net, inputs)
    whole = partial(plan.calibrate, net, inputs)
    draw = partial(drawn, calibrated)
    times: list[tuple[float, ...]] = []
    for _ in range(repeats + 1):
        one = seconds(forward), seconds(whole), seconds(draw), one_pass(plan, net, inputs)
        times.append(one)
    once, *_ = medians = [statistics.median(column) for column in zip(*times[1:], strict=True)]
    calibrated.apply(net, seed=0)
    found: Row = {
        "net, start": name,
        "layers": layers,
        "forward, ms": 1e3 * once,
        "calibrate / forward": medians[1] / once,
        "drawing / forward": medians[2] / once,
        "pass / forward": medians[3] / once,
        "stds": ends(net, inputs),
    }
    return found | theirs(net, inputs, once)


def seconds(action: Callable[[], object]) -> float:
    """How long it takes, once."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def one_pass(plan: fanin.Plan, net: nn.Module, inputs: Tensor) -> float:
    """Seconds of the one forward pass that measures and scales, its copies drawn before."""
    asked = wanted(plan.entries, None)
    copies = Copies.drawn(matched(plan.entries, net), asked, seed=0, per="tensor")
    with copies.in_place_of(net):
        measured = Run(copies.weights)
        with running(measured, 0):
            return seconds(partial(net, inputs))


def drawn(plan: fanin.Plan) -> None:
    """Each tensor of the plan, once."""
    for _ in plan.stream(seed=0):
        pass


def run(net: nn.Module, inputs: Tensor) -> object:
    """One forward pass, as inference runs it."""
    with torch.no_grad():
        return net(inputs)


def theirs(net: nn.Module, inputs: Tensor, once: float) -> Row:
    """The package lsuv on a copy of the net; dashes where it is not installed."""
    if importlib.util.find_spec("lsuv") is None:
        return {"lsuv / forward": "-", "lsuv's stds": "-"}
    from lsuv import lsuv_with_singlebatch

    other = deepcopy(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = seconds(partial(lsuv_with_singlebatch, other, inputs, verbose=False))
    return {"lsuv / forward": whole / once, "lsuv's stds": ends(other, inputs)}


def ends(net: nn.Module, inputs: Tensor) -> str:
    """The smallest, the median and the largest std of the layers' outputs."""
    found: list[float] = []
    hooks = [
        one.register_forward_hook(lambda _module, _args, out: found.append(float(out.std())))
        for one in net.modules()
        if isinstance(one, (nn.Linear, nn.Conv2d))
    ]
    run(net, inputs)
    for hook in hooks:
        hook.remove()
    return " ".join(f"{std:.4g}" for std in (min(found), statistics.median(found), max(found)))


if __name__ == "__main__":
    print(table("Calibrating", calibrate(quick=False)))
