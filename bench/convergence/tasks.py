"""The tasks: a net, its data, a loss, an optimizer, a target beyond a simple model, a budget.

All of them were fixed before they were run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Final

import torch.nn.functional as F  # noqa: N812 - torch's own habit
from examples import CONTEXT, Batch, digits, large_digits, letters, signal, text, wave
from nets import Lstm, Mlp, PlainConv, ResidualConv, ResidualMlp, Siren, Transformer
from torch import Tensor, nn

from fanin._compare._data import Data
from fanin._compare._records import Optimizer, Settings
from fanin._compare._search import GRIDS

__all__ = [
    "CHOSEN_ON",
    "EXTRA",
    "FEW",
    "MORE",
    "QUICK",
    "SCORING",
    "SECOND",
    "TASKS",
    "TUNING",
    "UNSURE",
    "Task",
]

TUNING: Final = (100, 101, 102)
FEW: Final = TUNING[:2]
"""For the transformers, whose trainings take half of the time of all."""
SCORING: Final = tuple(range(8))
SECOND: Final = tuple(range(20, 28))
"""Where a rule of steady was chosen by how it does on the first: nothing was chosen on these."""
CHOSEN_ON: Final = frozenset(
    {
        "simple-sgd", "simple-0.3-sgd", "simple-0.5-sgd", "simple-adam", "wave-2-adam",
        "wave-4-adam", "lstm-adam", "residual-mlp-32-momentum", "residual-mlp-32-adam",
        "residual-conv-8-adam", "resnet-batch-norm-momentum", "resnet-batch-norm-adam",
    }
)  # fmt: skip
"""Tasks on whose first scores the start of short runs, and that of readouts, was chosen."""
MORE: Final = tuple(range(28, 44))
UNSURE: Final = frozenset(
    {
        "simple-sgd", "simple-adam", "siren", "wave-2-adam", "lstm-momentum",
        "pre-norm-6-momentum", "residual-conv-8-momentum", "resnet-batch-norm-momentum",
        "resnet-batch-norm-adam",
    }
)  # fmt: skip
"""Tasks where eight seeds left it open whether another start is more than 1.1 times as fast."""
LINEAR: Final = "a linear classifier 0.227"
BIGRAMS: Final = "bigrams 2.458"
CONSTANT: Final = "a constant 0.62"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One net to train; ``stack``: so many members at once, ``published``: the family's start."""

    name: str
    make: Callable[[], nn.Module]
    batches: Callable[[int], Batch]
    optimizer: Optimizer
    target: float
    steps: int
    stack: int
    baseline: str
    published: str
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    rates: tuple[float, ...] = ()
    tuning: tuple[int, ...] = TUNING

    @property
    def scoring(self) -> tuple[int, ...]:
        """The seeds of the rows in results.md."""
        first = SECOND if self.name in CHOSEN_ON else SCORING
        return first + MORE if self.name in UNSURE else first

    @property
    def data(self) -> Data:
        """As fanin's trainings take them."""
        return Data(batches=self.batches, loss=self.loss)

    @property
    def settings(self) -> Settings:
        """What all its members share; steps count until the mean loss of 20 batches is there."""
        return Settings(
            optimizer=self.optimizer,
            steps=self.steps,
            target=self.target,
            rates=self.rates or GRIDS[self.optimizer],
            tuning_seeds=self.tuning,
            scoring_seeds=self.scoring,
        )


def _classify(
    name: str,
    make: Callable[[], nn.Module],
    target: float,
    steps: int,
    stack: int,
    published: str,
    batches: Callable[[int], Batch] = digits,
) -> Task:
    """The optimizer is the last word of the name."""
    optimizers: dict[str, Optimizer] = {"sgd": "sgd", "momentum": "momentum", "adam": "adam"}
    return Task(
        name=name,
        make=make,
        batches=batches,
        optimizer=optimizers[name.rpartition("-")[2]],
        target=target,
        steps=steps,
        stack=stack,
        baseline=LINEAR,
        published=published,
    )


def _language(name: str, blocks: int, *, pre_norm: bool, tied: bool = False) -> Task:
    return Task(
        name=name,
        make=partial(_transformer, blocks, pre_norm=pre_norm, tied=tied),
        batches=text,
        optimizer="adam",
        target=2.3,
        steps=350,
        stack=8,
        baseline=BIGRAMS,
        published="small_init",
        rates=(0.003, 0.01),
        tuning=FEW,
    )


def _transformer(blocks: int, *, pre_norm: bool, tied: bool) -> nn.Module:
    return Transformer(letters(), 64, blocks, CONTEXT, pre_norm=pre_norm, tied=tied)


def _wave(name: str, depth: int, target: float, steps: int) -> Task:
    return Task(
        name=name,
        make=partial(Mlp, (1, *[64] * (depth - 1), 1), F.relu),
        batches=wave,
        optimizer="adam",
        target=target,
        steps=steps,
        stack=16,
        baseline=CONSTANT,
        published="kaiming_uniform",
        loss=F.mse_loss,
    )


def _deep(
    name: str,
    depth: int,
    activation: Callable[[Tensor], Tensor],
    published: str = "looks_linear",
    steps: int = 1000,
) -> Task:
    make = partial(Mlp, (196, *[64] * (depth - 1), 10), activation)
    return _classify(name, make, 0.1, steps, 24, published)


def _conv(name: str, depth: int, target: float, steps: int, *, average: bool = False) -> Task:
    make = partial(PlainConv, depth, 16, average=average)
    return _classify(name, make, target, steps, 8, "delta_orthogonal")


SIMPLE: Final = partial(Mlp, (784, 128, 64, 10), F.relu)
RESIDUAL: Final = partial(ResidualMlp, 196, 64, 32)
RESIDUAL_CONV: Final = partial(ResidualConv, 8, 16, batch_norm=False)
BATCH_NORM: Final = partial(ResidualConv, 4, 16, batch_norm=True)
SIREN: Final = Task(
    name="siren",
    make=partial(Siren, 64, 3),
    batches=signal,
    optimizer="adam",
    target=1e-5,
    steps=1500,
    stack=16,
    baseline="a constant 0.6",
    published="siren",
    loss=F.mse_loss,
    rates=(0.0001, 0.0003, 0.001, 0.003),
)


def _simple(name: str, target: float, steps: int) -> Task:
    return _classify(name, SIMPLE, target, steps, 16, "kaiming_uniform", large_digits)


def _by_name(*tasks: Task) -> Mapping[str, Task]:
    return MappingProxyType({task.name: task for task in tasks})


TASKS: Final = _by_name(
    _simple("simple-sgd", 0.1, 1200),
    _simple("simple-0.3-sgd", 0.3, 600),
    _simple("simple-0.5-sgd", 0.5, 600),
    _simple("simple-adam", 0.1, 600),
    _deep("relu-10-momentum", 10, F.relu),
    _deep("relu-10-adam", 10, F.relu),
    _deep("relu-30-momentum", 30, F.relu),
    _deep("relu-30-adam", 30, F.relu),
    _deep("tanh-30-momentum", 30, F.tanh, "orthogonal_1"),
    _deep("tanh-30-adam", 30, F.tanh, "orthogonal_1"),
    _deep("gelu-10-momentum", 10, F.gelu),
    _deep("gelu-10-adam", 10, F.gelu),
    _deep("gelu-30-momentum", 30, F.gelu),
    _deep("gelu-30-adam", 30, F.gelu),
    _deep("silu-30-adam", 30, F.silu),
    _deep("selu-30-adam", 30, F.selu, "forward_gain"),
    _conv("conv-10-momentum", 10, 0.1, 800),
    _conv("conv-10-adam", 10, 0.1, 800),
    _conv("conv-20-momentum", 20, 0.15, 600),
    _conv("conv-20-adam", 20, 0.15, 600),
    _conv("conv-20-average-adam", 20, 0.3, 800, average=True),
    _classify("residual-mlp-32-momentum", RESIDUAL, 0.1, 800, 16, "fixup"),
    _classify("residual-mlp-32-adam", RESIDUAL, 0.1, 800, 16, "fixup"),
    _classify("residual-conv-8-momentum", RESIDUAL_CONV, 0.15, 800, 8, "fixup"),
    _classify("residual-conv-8-adam", RESIDUAL_CONV, 0.15, 800, 8, "fixup"),
    _classify("resnet-batch-norm-momentum", BATCH_NORM, 0.1, 500, 8, "kaiming_fan_out"),
    _classify("resnet-batch-norm-adam", BATCH_NORM, 0.1, 500, 8, "kaiming_fan_out"),
    _language("pre-norm-6", 6, pre_norm=True),
    _language("pre-norm-6-tied", 6, pre_norm=True, tied=True),
    replace(
        _language("pre-norm-6-momentum", 6, pre_norm=True),
        optimizer="momentum",
        target=2.4,
        steps=600,
        rates=(),
    ),
    _language("pre-norm-12", 12, pre_norm=True),
    _language("post-norm-6", 6, pre_norm=False),
    _language("post-norm-12", 12, pre_norm=False),
    _classify("lstm-momentum", partial(Lstm, 14, 64), 0.3, 1000, 8, "lstm"),
    _classify("lstm-adam", partial(Lstm, 14, 64), 0.3, 500, 8, "lstm"),
    _wave("wave-2-adam", 2, 0.03, 2000),
    _wave("wave-4-adam", 4, 0.01, 1000),
    SIREN,
    replace(SIREN, name="siren-momentum", optimizer="momentum", target=1e-3, rates=()),
)

EXTRA: Final = _by_name(
    _deep("relu-2-sgd", 2, F.relu, steps=600),
    _deep("relu-3-sgd", 3, F.relu, steps=600),
    _deep("relu-4-adam", 4, F.relu, steps=600),
    _deep("gelu-3-sgd", 3, F.gelu, steps=600),
    _deep("gelu-4-adam", 4, F.gelu, steps=600),
    _deep("tanh-4-sgd", 4, F.tanh, steps=600),
    _conv("conv-4-sgd", 4, 0.3, 800),
    _conv("conv-4-adam", 4, 0.3, 800),
    _deep("elu-30-adam", 30, F.elu, "forward_gain"),
    _deep("mish-30-adam", 30, F.mish, "forward_gain"),
    _deep("sigmoid-30-adam", 30, F.sigmoid, "forward_gain"),
)
"""Asked in tried.py only: for one rule of steady each, without the other starts."""

QUICK: Final = (
    "simple-0.3-sgd",
    "wave-4-adam",
    "relu-10-adam",
    "gelu-10-adam",
    "tanh-30-momentum",
    "conv-10-adam",
    "lstm-adam",
)
"""About 290 s on one core, with one tuning seed and three scoring seeds."""
