"""Members of a comparison: trained together, one by one, and in two processes."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import torch
from torch import Tensor, nn

from fanin._compare._data import as_data
from fanin._compare._loop import train_one_by_one
from fanin._compare._records import Member, Settings
from fanin._compare._stack import train_together
from fanin._compare._train import Job, train
from fanin._compare._way import choose_way
from timing import Row

__all__ = ["members"]

MEMBERS = 8
BATCH = 64


def simple() -> nn.Module:
    """784-128-64-10 with ReLU."""
    return nn.Sequential(
        nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def deep() -> nn.Module:
    """20 layers of 64 with ReLU."""
    layers = [layer for _ in range(20) for layer in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(nn.Linear(784, 64), nn.ReLU(), *layers, nn.Linear(64, 10))


def convolutional() -> nn.Module:
    """Three convolutions of 16 channels on 28 x 28, the first two with stride 2."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 49, 10),
    )


class Block(nn.Module):
    """Attention and a feed-forward layer of width 32, each with its norm before it."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.norm, self.packed = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.packed(self.norm(x)).unflatten(-1, (3, 4, -1)).transpose(1, -2).unbind(-3)
        shares = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + self.out((shares @ v).transpose(1, 2).flatten(-2))
        return x + self.feed(x)


def transformer() -> nn.Module:
    """2 blocks of width 32 on 28 rows of 28 pixels."""
    return nn.Sequential(
        nn.Unflatten(1, (28, 28)),
        nn.Linear(28, 32),
        Block(),
        Block(),
        nn.LayerNorm(32),
        nn.Flatten(),
        nn.Linear(28 * 32, 10),
    )


CASES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "SimpleNet, 784-128-64-10": (simple, 200),
    "perceptron, 20 layers of 64": (deep, 80),
    "convolutional, 3 layers of 16": (convolutional, 40),
    "transformer, 2 layers of 32": (transformer, 20),
}
"""Models by description, and how many steps are timed."""


def job(make_model: Callable[[], nn.Module], steps: int) -> Job:
    """Eight rates of one start, with Adam."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2048, 784, generator=generator)
    data = as_data((images, torch.arange(2048) % 10), size=BATCH)
    return Job(
        make_model=make_model,
        starts={"own": None},
        data=data,
        settings=Settings(optimizer="adam", steps=steps),
        members=tuple(Member("own", 0.0003 * (n + 1), 0) for n in range(MEMBERS)),
    )


def members(*, quick: bool) -> list[Row]:
    """Eight members of a comparison, trained together, in two processes, and one by one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ProcessPoolExecutor(2, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            return [row(name, pool, quick=quick) for name in CASES]
    finally:
        torch.set_num_threads(before)


def row(name: str, pool: ProcessPoolExecutor, *, quick: bool) -> Row:
    """One model; the ratios are of rounds in turn."""
    make_model, steps = CASES[name]
    whole = job(make_model, max(10, steps // 4) if quick else steps)
    halves = [replace(whole, members=half) for half in (whole.members[:4], whole.members[4:])]
    ways: dict[str, Callable[[], object]] = {
        "one by one": lambda: train_one_by_one(whole, ignore),
        "together": lambda: train_together(whole, ignore),
        "processes": lambda: list(pool.map(train, halves)),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(2 if quick else 6):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            if number:
                seconds[way].append(time.perf_counter() - start)
    alone = seconds["one by one"]
    return {
        "model": name,
        "a step of one member, ms": 1e3 * statistics.median(alone) / whole.size,
        "together / one by one": ratio(seconds["together"], alone),
        "two processes / one by one": ratio(seconds["processes"], alone),
        "chosen": choose_way(whole)[0],
    }


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios, round by round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def ignore(_: int) -> None:
    """Progress that nobody looks at."""
