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
from fanin._plan._calibrate._copies import Copies
from fanin._plan._calibrate._run import Run, running
from fanin._plan._calibrate._targets import wanted
from fanin._plan._draw._match import matched
from fanin.recipes import Recipe, kaiming, lsuv
from timing import Row, table

__all__ = ["calibrate"]

LAYERS = (10, 30, 100)
SIDE = 512
CHANNELS = 64
SECONDS = 3.0
"""For the repeats of one row, of which there are at least five."""


def mlp(layers: int) -> tuple[nn.Module, Tensor]:
    """ReLU layers of width 512, and a batch of 512."""
    made = [(nn.Linear(SIDE, SIDE), nn.ReLU()) for _ in range(layers)]
    return nn.Sequential(*(one for pair in made for one in pair)), batch(SIDE, SIDE)


def convolutions(layers: int) -> tuple[nn.Module, Tensor]:
    """ReLU convolutions 3x3 of 64 channels, and a batch of 32 images of 16x16."""
    made = [(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU()) for _ in range(layers)]
    return nn.Sequential(*(one for pair in made for one in pair)), batch(32, CHANNELS, 16, 16)


def batch(*shape: int) -> Tensor:
    """Standard normals, the same in every run."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def calibrate(*, quick: bool) -> list[Row]:
    """Times in forward passes: the start drawn, the pass that measures, the whole call, and lsuv's.

    lsuv draws an orthogonal start; stds are the least, median and largest of the layers' outputs.
    """
    rows = []
    for build in (mlp, convolutions):
        for layers in LAYERS[:2] if quick else LAYERS:
            net, inputs = build(layers)
            other = theirs(net, inputs)
            rows += [
                row(f"{build.__name__}, {start}", layers, net, inputs, recipe) | other
                for start, recipe in {"orthogonal": lsuv, "normal": kaiming}.items()
            ]
    return rows


def row(name: str, layers: int, net: nn.Module, inputs: Tensor, recipe: Recipe) -> Row:
    """One net with one kind of start."""
    plan = fanin.plan(net, inputs, recipe=recipe)
    calibrated = plan.calibrate(net, inputs)
    actions = (
        partial(run, net, inputs),
        partial(plan.calibrate, net, inputs),
        partial(copies, plan, net),
        partial(one_pass, plan, net, inputs),
    )
    once, whole, drawing, measuring = in_turn(actions)
    calibrated.apply(net, seed=0)
    return {
        "net, start": name,
        "layers": layers,
        "forward, ms": 1e3 * once,
        "drawing": drawing / once,
        "measuring pass": measuring / once,
        "whole": whole / once,
        "whole less drawing": (whole - drawing) / once,
        "stds": ends(net, inputs),
    }


def in_turn(actions: tuple[Callable[[], object], ...]) -> list[float]:
    """The median seconds of each; what an action returns as a float are its own seconds."""
    columns: list[list[float]] = [[] for _ in actions]
    begin = time.perf_counter()
    while len(columns[0]) < 6 or time.perf_counter() - begin < SECONDS:
        for column, action in zip(columns, actions, strict=True):
            column.append(seconds(action))
    return [statistics.median(column[1:]) for column in columns]


def seconds(action: Callable[[], object]) -> float:
    """How long it takes, once; or what it says itself."""
    start = time.perf_counter()
    said = action()
    return said if isinstance(said, float) else time.perf_counter() - start


def copies(plan: fanin.Plan, net: nn.Module) -> Copies:
    """The start, drawn beside the net as a calibration does it."""
    asked = wanted(plan.entries, None)
    return Copies.drawn(matched(plan.entries, net), asked, seed=0, per="tensor")


def one_pass(plan: fanin.Plan, net: nn.Module, inputs: Tensor) -> float:
    """Seconds of the one forward pass that measures and scales, its copies drawn before."""
    drawn = copies(plan, net)
    with drawn.in_place_of(net):
        measured = Run(drawn.weights)
        with running(measured, 0):
            return seconds(partial(net, inputs))


def run(net: nn.Module, inputs: Tensor) -> object:
    """One forward pass, as inference runs it."""
    with torch.no_grad():
        return net(inputs)


def theirs(net: nn.Module, inputs: Tensor) -> Row:
    """The package lsuv on a copy of the net, once; dashes where it is not installed."""
    if importlib.util.find_spec("lsuv") is None:
        return {"lsuv's drawing": "-", "lsuv": "-", "lsuv's stds": "-"}
    from lsuv import lsuv_with_singlebatch

    other = deepcopy(net)
    weights = [one.weight for one in other.modules() if isinstance(one, (nn.Linear, nn.Conv2d))]
    once = statistics.median(seconds(partial(run, other, inputs)) for _ in range(7))
    drawing = seconds(lambda: [nn.init.orthogonal_(weight) for weight in weights])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = seconds(partial(lsuv_with_singlebatch, other, inputs, verbose=False))
    return {
        "lsuv's drawing": drawing / once,
        "lsuv": whole / once,
        "lsuv's stds": ends(other, inputs),
    }


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
