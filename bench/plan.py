"""Plans: applied, verified and checksummed, against torch.nn.init filling the same tensors."""

from collections.abc import Callable

import torch
from torch import nn

from fanin import Layout
from fanin._plan import plan, plan_from_sites
from fanin._site import Site
from fanin.recipes import kaiming
from timing import Row, interleaved, peak_memory

__all__ = ["applying"]

WIDTH = 8192


def applying(*, quick: bool) -> list[Row]:
    """A model of 1B float32 parameters (67M when quick), and one of many small ones."""
    return [_large(number=1 if quick else 15), _many(number=1_000 if quick else 10_000)]


def _large(number: int) -> Row:
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(number)))
    row = torch.randn(1, WIDTH)
    with torch.no_grad():
        return _row(model, lambda: plan(model, row, recipe=kaiming).apply(model, seed=0), repeats=3)


def _many(number: int) -> Row:
    model = nn.ParameterList(torch.empty(64, 64) for _ in range(number))
    where = Layout((64, 64), "out in")
    sites = [Site(name=str(index), layout=where) for index in range(number)]
    found = plan_from_sites(sites, kaiming)
    return _row(model, lambda: found.apply(model, seed=0), repeats=5)


def _row(model: nn.Module, ours: Callable[[], object], repeats: int) -> Row:
    def theirs() -> None:
        for parameter in model.parameters():
            nn.init.normal_(parameter, 0, 0.02)

    before = peak_memory()
    seconds = interleaved(ours, theirs, repeats)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    return {
        "parameters": f"{numbers / 1e6:.0f}M in {len(list(model.parameters()))} tensors",
        "fanin, s": seconds[0],
        "nn.init.normal_, s": seconds[1],
        "times faster": seconds[2],
        "memory on top, MB": peak_memory() - before,
    }
