"""The batches that members train on: a function of the seed and the step, and of nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor

from fanin._errors import FaninError
from fanin._trace._run import describe

__all__ = ["Batches", "Data", "LossFunction", "as_data", "default_loss"]

LossFunction: TypeAlias = Callable[[Any, Any], Tensor]
"""Of the model's result and the targets: their mean loss."""
Batches: TypeAlias = Callable[[int], Callable[[int], tuple[Any, Any]]]
"""Of a seed: of a step, from 1, its inputs (tensor, tuple or mapping) and targets."""
_ORDER = 1 << 40
"""Added to a seed for the order of the data, which is then no draw of anything else."""


@final
@dataclass(frozen=True, slots=True)
class _Drawn:
    """Rows of tensors, drawn anew at every step.

    With whole epochs the steps to a target come in whole epochs too, as a loss falls when examples
    come again.
    """

    inputs: Tensor
    targets: Tensor
    size: int

    def __call__(self, seed: int) -> Callable[[int], tuple[Tensor, Tensor]]:
        generator = torch.Generator()

        def batch(step: int) -> tuple[Tensor, Tensor]:
            generator.manual_seed(_ORDER + seed * 1_000_003 + step)
            rows = torch.randint(len(self.inputs), (self.size,), generator=generator)
            return self.inputs[rows], self.targets[rows]

        return batch


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What is trained on: batches, a loss, and held-out examples where there are."""

    batches: Batches
    loss: LossFunction
    test: tuple[Any, Any] | None = None

    def example(self) -> tuple[Any, Any]:
        """The first batch of seed 0, to trace on."""
        return self.batches(0)(1)


def as_data(given: object, *, size: int = 64, loss: LossFunction | None = None) -> Data:
    """``given`` as `Data`: tensors (inputs, targets), two such pairs, or a function of a seed.

    Of two pairs the second is held out. A function gives, for a seed, a function of the step.
    Without a ``loss``: `default_loss`.

    Raises:
        FaninError: for anything else, and for inputs and targets of different lengths.

    >>> data = as_data((torch.arange(10.0), torch.arange(10)), size=4)
    >>> inputs, targets = data.batches(0)(1)
    >>> torch.equal(inputs.long(), targets)
    True
    """
    if isinstance(given, Data):
        return given
    chosen = loss or default_loss
    if callable(given):
        return Data(batches=given, loss=chosen)
    if _is_pair(given):
        return Data(batches=_Drawn(*_same_length(given), size), loss=chosen)
    if isinstance(given, tuple) and len(given) == 2 and all(_is_pair(one) for one in given):
        return Data(batches=_Drawn(*_same_length(given[0]), size), loss=chosen, test=given[1])
    raise FaninError(
        "this is no data to train on",
        where="data",
        found=describe(given),
        fix="give tensors (inputs, targets), two such pairs of which the second is held out, or "
        "a function of a seed that returns a function of the step",
    )


def _is_pair(given: object) -> bool:
    if not isinstance(given, tuple) or len(given) != 2:
        return False
    return all(isinstance(one, Tensor) for one in given)


def _same_length(pair: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - a pair of tensors, as seen
    inputs, targets = pair
    if len(inputs) == len(targets) > 0:
        return inputs, targets
    raise FaninError(
        "inputs and targets are not of one length",
        where="data",
        found=f"{len(inputs)} inputs and {len(targets)} targets",
        fix="give one target for each input",
    )


def default_loss(output: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the last axis for whole numbers, else the mean squared error.

    >>> round(default_loss(torch.zeros(4, 10), torch.arange(4)).item(), 4)
    2.3026
    """
    if not targets.is_floating_point():
        return F.cross_entropy(output.flatten(0, -2), targets.flatten())
    return F.mse_loss(output, targets)
