"""The tasks: a net, its data, a loss, an optimizer, a target beyond a simple model, a budget."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pydoc_data.topics import topics

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from nets import Lstm, Mlp, PlainConv, ResidualConv, ResidualMlp, Siren, Transformer
from torch import Tensor, nn

from fanin._tour.data import load_digits

__all__ = ["EXTRA", "TASKS", "Task"]

RATES = {
    "sgd": (0.01, 0.03, 0.1, 0.3),
    "momentum": (0.003, 0.01, 0.03, 0.1),
    "adam": (0.0003, 0.001, 0.003, 0.01),
}
CONTEXT, WIDTH = 32, 64


@dataclass(frozen=True)
class Task:
    """One row of the suite."""

    name: str
    make: Callable[[], nn.Module]
    batches: Callable[[int], Callable[[int], tuple[Tensor, Tensor]]]
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: str
    target: float
    steps: int
    together: int
    baseline: str
    published: str
    rates: tuple[float, ...] = ()

    @property
    def grid(self) -> tuple[float, ...]:
        """The rates to begin with."""
        return self.rates or RATES[self.optimizer]


@functools.cache
def _digits(side: int) -> tuple[Tensor, Tensor]:
    digits = load_digits()
    x = digits.train_images
    if side == 14:
        x = F.avg_pool2d(x.view(-1, 1, 28, 28), 2).flatten(1)
        x = (x - x.mean()) / x.std()
    return x, digits.train_labels


def digits(side: int, size: int = 64) -> Callable[[int], Callable[[int], tuple[Tensor, Tensor]]]:
    def of_seed(seed: int) -> Callable[[int], tuple[Tensor, Tensor]]:
        x, y = _digits(side)
        generator = torch.Generator().manual_seed(10_000 + seed)
        # Drawn anew at every step: with epochs, steps to a target come in whole epochs.
        order = torch.randint(len(x), (5000, size), generator=generator)

        def batch(step: int) -> tuple[Tensor, Tensor]:
            chosen = order[step]
            return x[chosen], y[chosen]

        return batch

    return of_seed


@functools.cache
def _text() -> tuple[Tensor, int]:
    raw = "".join(topics.values())
    letters = sorted(set(raw))
    index = {c: i for i, c in enumerate(letters)}
    return torch.tensor([index[c] for c in raw]), len(letters)


def text(seed: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    ids, _ = _text()

    def batch(step: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed((10_000 + seed) * 100_000 + step)
        places = torch.randint(len(ids) - CONTEXT - 1, (16,), generator=generator)
        windows = torch.stack([ids[p : p + CONTEXT + 1] for p in places.tolist()])
        return windows[:, :-1], windows[:, 1:]

    return batch


def signal(_seed: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    t = torch.linspace(-1, 1, 256).unsqueeze(1)
    y = torch.sin(20 * t + 30 * t**2) * torch.exp(-(t**2)) + 0.5 * torch.sign(torch.sin(9 * t))
    return lambda _step: (t, y)


def wave(_seed: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    t = torch.linspace(-1, 1, 256).unsqueeze(1)
    y = torch.sin(3 * math.pi * t) + 0.5 * torch.cos(7 * t)
    return lambda _step: (t, y)


def _deep(depth: int, activation: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Mlp((196, *[64] * (depth - 1), 10), activation)


def _transformer(blocks: int, *, pre_norm: bool, tied: bool = False) -> Callable[[], nn.Module]:
    return lambda: Transformer(_text()[1], WIDTH, blocks, CONTEXT, pre_norm=pre_norm, tied=tied)


def _classify(
    name: str,
    make: Callable[[], nn.Module],
    optimizer: str,
    target: float,
    steps: int,
    together: int,
    published: str,
    side: int = 14,
) -> Task:
    data = digits(side)
    baseline = "a linear classifier 0.227"
    return Task(
        name, make, data, F.cross_entropy, optimizer, target, steps, together, baseline, published
    )


def _language(
    name: str, make: Callable[[], nn.Module], target: float, steps: int, published: str
) -> Task:
    return Task(
        name,
        make,
        text,
        F.cross_entropy,
        "adam",
        target,
        steps,
        8,
        "bigrams 2.458",
        published,
        (0.003, 0.01),
    )


def _wave(name: str, depth: int, target: float, steps: int) -> Task:
    widths = (1, *[64] * (depth - 1), 1)
    return Task(
        name,
        lambda: Mlp(widths, F.relu),
        wave,
        F.mse_loss,
        "adam",
        target,
        steps,
        16,
        "a constant 0.62",
        "kaiming_uniform",
    )


TASKS = {
    task.name: task
    for task in (
        _classify(
            "simple-sgd",
            lambda: Mlp((784, 128, 64, 10), F.relu),
            "sgd",
            0.1,
            1200,
            16,
            "kaiming_uniform",
            28,
        ),
        _classify(
            "simple-adam",
            lambda: Mlp((784, 128, 64, 10), F.relu),
            "adam",
            0.1,
            600,
            16,
            "kaiming_uniform",
            28,
        ),
        _classify("relu-10-momentum", _deep(10, F.relu), "momentum", 0.1, 1000, 24, "looks_linear"),
        _classify("relu-10-adam", _deep(10, F.relu), "adam", 0.1, 1000, 24, "looks_linear"),
        _classify("relu-30-adam", _deep(30, F.relu), "adam", 0.1, 1000, 24, "looks_linear"),
        _classify(
            "tanh-30-momentum", _deep(30, torch.tanh), "momentum", 0.1, 1000, 24, "orthogonal_1"
        ),
        _classify("gelu-10-adam", _deep(10, F.gelu), "adam", 0.1, 1000, 24, "looks_linear"),
        _classify("gelu-30-adam", _deep(30, F.gelu), "adam", 0.1, 1000, 24, "looks_linear"),
        _classify(
            "conv-10-adam",
            lambda: PlainConv(10, 16, average=False),
            "adam",
            0.1,
            800,
            8,
            "delta_orthogonal",
        ),
        _classify(
            "conv-20-adam",
            lambda: PlainConv(20, 16, average=False),
            "adam",
            0.15,
            600,
            8,
            "delta_orthogonal",
        ),
        _classify(
            "conv-20-average-adam",
            lambda: PlainConv(20, 16, average=True),
            "adam",
            0.3,
            800,
            8,
            "delta_orthogonal",
        ),
        _classify(
            "residual-mlp-32-momentum",
            lambda: ResidualMlp(196, 64, 32),
            "momentum",
            0.1,
            800,
            16,
            "fixup",
        ),
        _classify(
            "residual-mlp-32-adam", lambda: ResidualMlp(196, 64, 32), "adam", 0.1, 800, 16, "fixup"
        ),
        _classify(
            "residual-conv-8-adam",
            lambda: ResidualConv(8, 16, batch_norm=False),
            "adam",
            0.15,
            800,
            8,
            "fixup",
        ),
        _classify(
            "resnet-batch-norm-momentum",
            lambda: ResidualConv(4, 16, batch_norm=True),
            "momentum",
            0.1,
            500,
            8,
            "kaiming_fan_out",
        ),
        _language("pre-norm-6", _transformer(6, pre_norm=True), 2.3, 350, "gpt2"),
        _language("post-norm-6", _transformer(6, pre_norm=False), 2.3, 350, "gpt2"),
        _language("pre-norm-6-tied", _transformer(6, pre_norm=True, tied=True), 2.3, 350, "gpt2"),
        _classify("lstm-adam", lambda: Lstm(14, 64), "adam", 0.3, 500, 8, "lstm"),
        _wave("wave-2-adam", 2, 0.03, 2000),
        _wave("wave-4-adam", 4, 0.01, 1000),
        _classify("silu-30-adam", _deep(30, F.silu), "adam", 0.1, 1000, 24, "looks_linear"),
        _classify("selu-30-adam", _deep(30, F.selu), "adam", 0.1, 1000, 24, "forward_gain"),
        Task(
            "siren",
            lambda: Siren(64, 3),
            signal,
            F.mse_loss,
            "adam",
            1e-5,
            1500,
            16,
            "a constant 0.6",
            "siren",
            (0.0001, 0.0003, 0.001, 0.003),
        ),
    )
}

EXTRA = {
    task.name: task
    for task in (
        _classify("elu-30-adam", _deep(30, F.elu), "adam", 0.1, 1000, 24, "forward_gain"),
        _classify("mish-30-adam", _deep(30, F.mish), "adam", 0.1, 1000, 24, "forward_gain"),
        _classify(
            "sigmoid-30-adam", _deep(30, torch.sigmoid), "adam", 0.1, 1000, 24, "forward_gain"
        ),
        _language("post-norm-12", _transformer(12, pre_norm=False), 2.3, 350, "gpt2"),
    )
}
"""Asked in tried.py only: for one rule of steady each, without the other starts."""
