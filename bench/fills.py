"""Filling tensors: fanin's initializers against torch.nn.init."""

from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from fanin import Layout
from fanin._stream import Region, Stream, fill_normal, fill_uniform
from fanin.initializers import Normal, Uniform, kaiming_normal
from timing import Row, interleaved

__all__ = ["large", "parts", "small"]

BOUND = 0.02
IN_A_ROW = 20
"""A rank draws the shards of many parameters one after the other, so the code is warm."""
LAWS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "uniform": (
        lambda t: Uniform(-BOUND, BOUND).fill_(t, seed=0),
        lambda t: nn.init.uniform_(t, -BOUND, BOUND),
    ),
    "normal": (
        lambda t: Normal(BOUND).fill_(t, seed=0),
        lambda t: nn.init.normal_(t, 0, BOUND),
    ),
    "normal cut at 2 std": (
        lambda t: Normal(BOUND, cut=2).fill_(t, seed=0),
        lambda t: nn.init.trunc_normal_(t, 0, BOUND, -2 * BOUND, 2 * BOUND),
    ),
}


def large(*, quick: bool) -> list[Row]:
    """One tensor of 64M elements (4M when quick), all threads."""
    side = 2048 if quick else 8192
    rows: list[Row] = []
    for dtype in (torch.float32, torch.bfloat16):
        tensor = torch.empty(side, side, dtype=dtype)
        tensor.fill_(0)
        for law, (ours, theirs) in LAWS.items():
            repeats = 3 if law.startswith("normal cut") else 7
            seconds = interleaved(partial(ours, tensor), partial(theirs, tensor), repeats)
            rows.append(
                {
                    "law": law,
                    "dtype": str(dtype).removeprefix("torch."),
                    "fanin, Melem/s": side * side / seconds[0] / 1e6,
                    "torch, Melem/s": side * side / seconds[1] / 1e6,
                    "times faster": seconds[2],
                }
            )
    return rows


def small(*, quick: bool) -> list[Row]:
    """10,000 parameters of 1,000 to 10,000 elements (1,000 when quick), one call each."""
    number = 1_000 if quick else 10_000
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(10, 100, (number, 1), generator=generator)
    weights = [torch.zeros(100, int(size)) for size in sizes]
    layouts = [Layout(tuple(w.shape), "out in") for w in weights]
    names = [f"layer.{i}.weight" for i in range(number)]
    named = list(zip(weights, layouts, names, strict=True))
    normal, kaiming, uniform = Normal(BOUND), kaiming_normal(), Uniform(-BOUND, BOUND)
    cases: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "normal": (
            lambda: [normal.fill_(w, seed=0, name=n) for w, _, n in named],
            lambda: [nn.init.normal_(w, 0, BOUND) for w in weights],
        ),
        "uniform": (
            lambda: [uniform.fill_(w, seed=0, name=n) for w, _, n in named],
            lambda: [nn.init.uniform_(w, -BOUND, BOUND) for w in weights],
        ),
        "kaiming_normal": (
            lambda: [kaiming.fill_(w, layout=where, seed=0, name=n) for w, where, n in named],
            lambda: [nn.init.kaiming_normal_(w, nonlinearity="relu") for w in weights],
        ),
    }
    rows: list[Row] = []
    for name, (ours, theirs) in cases.items():
        seconds = interleaved(ours, theirs, 5)
        rows.append(
            {
                "initializer": name,
                "fanin, µs a parameter": seconds[0] / number * 1e6,
                "torch, µs a parameter": seconds[1] / number * 1e6,
                "times faster": seconds[2],
            }
        )
    return rows


def in_a_row(draw: Callable[[], object]) -> None:
    """The draw, IN_A_ROW times."""
    for _ in range(IN_A_ROW):
        draw()


def parts(*, quick: bool) -> list[Row]:
    """A 1/1024 part of a 64M matrix (4M when quick), of 20 drawn in a row, against the whole."""
    side = 2048 if quick else 8192
    whole = torch.zeros(side, side)
    stream = Stream(0, "weight")
    step = side // 32
    cuts = {
        "rows": (slice(0, side // 1024), slice(None)),
        "columns": (slice(None), slice(8, 8 + side // 1024)),
        "block": (slice(64, 64 + step), slice(8, 8 + step)),
        "every 32nd in both axes": (slice(0, side, 32), slice(5, side, 32)),
        "every 1024th column": (slice(None), slice(3, side, 1024)),
    }
    rows: list[Row] = []
    laws = {"normal": (fill_normal, 0.0, BOUND), "uniform": (fill_uniform, -BOUND, BOUND)}
    for (name, cut), (law, (fill, first, second)) in product(cuts.items(), laws.items()):
        region = Region.of((side, side), cut)
        part = torch.zeros(region.shape)
        seconds = interleaved(
            partial(in_a_row, partial(fill, part, stream, first, second, region)),
            partial(fill, whole, stream, first, second),
            15,
        )
        rows.append(
            {
                "1/1024 of the elements": name,
                "law": law,
                "part, ms": seconds[0] / IN_A_ROW * 1e3,
                "whole, ms": seconds[1] * 1e3,
                "part / whole": f"1/{seconds[2] * IN_A_ROW:.0f}",
            }
        )
    return rows
