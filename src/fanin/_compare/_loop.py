"""Members one by one, as a plain training loop would."""

from typing import Any, final

import torch
from torch import Tensor

from fanin._compare._data import Data
from fanin._compare._records import Member, Outcome
from fanin._compare._train import Advance, Job, Progress, built, failed
from fanin._compare._update import Update
from fanin._errors import FaninError
from fanin._observe import run

__all__ = ["Single", "scored", "train_one_by_one"]

_EVERY = 20
"""Steps between two reports of progress."""


def train_one_by_one(job: Job, advance: Advance) -> list[Outcome]:
    """Each member by itself; what a model draws as it runs depends on the member's seed alone."""
    return [_trained(job, member, advance) for member in job.members]


def _trained(job: Job, member: Member, advance: Advance) -> Outcome:
    single = Single(job, member)
    progress = Progress(member, job.settings, stops=job.stops)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(member.seed)
        for step in range(1, job.settings.steps + 1):
            progress.see(single.step())
            if step % _EVERY == 0 or progress.is_done:
                advance((step - 1) % _EVERY + 1)
            if progress.is_done:
                break
        held_out = (None, None) if progress.diverged else single.held_out()
    return progress.outcome(*held_out)


@final
class Single:
    """One member: its model and weights, and what the optimizer keeps of them.

    Raises:
        FaninError: for whatever the model, the loss or the data raise.
    """

    def __init__(self, job: Job, member: Member) -> None:
        self._data, self._member, self._steps = job.data, member, 0
        self._batches = job.data.batches(member.seed)
        try:
            self._model = built(job, member)
        except Exception as error:
            raise failed(error, member, 0) from error
        weights = {n: one for n, one in self._model.named_parameters() if one.requires_grad}
        require_weights(weights.values(), type(self._model).__name__)
        self._names, self._weights = list(weights), list(weights.values())
        # An axis for the one member, as the update has one: views of the weights.
        self._views = {name: weight.detach().unsqueeze(0) for name, weight in weights.items()}
        rates = torch.tensor([member.rate], dtype=torch.float64, device=self._weights[0].device)
        self._update = Update(job.settings.optimizer, rates, self._views)

    def step(self) -> float:
        """One step on its next batch; returns the loss before it."""
        self._steps += 1
        try:
            return self._step(*self._batches(self._steps))
        except Exception as error:
            raise failed(error, self._member, self._steps) from error

    def _step(self, inputs: object, targets: object) -> float:
        loss = self._data.loss(run(self._model, inputs), targets)
        found = torch.autograd.grad(loss, self._weights, allow_unused=True)
        gradients = {
            name: gradient.unsqueeze(0)
            for name, gradient in zip(self._names, found, strict=True)
            if gradient is not None
        }
        self._update.step(self._views, gradients)
        return float(loss.detach())

    def held_out(self) -> tuple[float | None, float | None]:
        """Loss and accuracy on the held-out data, where there are."""
        if self._data.test is None:
            return None, None
        self._model.eval()
        try:
            with torch.no_grad():
                return scored(self._data, run(self._model, self._data.test[0]))
        except Exception as error:
            raise failed(error, self._member, self._steps) from error
        finally:
            self._model.train()


def require_weights(weights: Any, model: str) -> None:  # noqa: ANN401 - anything that has a length
    """Raises FaninError where nothing is trained."""
    if not len(weights):
        raise FaninError(
            "there is nothing to train",
            where=model,
            found="no parameter that asks for a gradient",
            fix="give a model with parameters, and requires_grad=True where they are trained",
        )


def scored(data: Data, output: Any) -> tuple[float | None, float | None]:  # noqa: ANN401 - a model's
    """Loss on the held-out data, and the share that is right for whole-number targets."""
    if data.test is None:
        return None, None
    return float(data.loss(output, data.test[1])), accuracy(output, data.test[1])


def accuracy(output: object, targets: object) -> float | None:
    """The share of whole-number targets that have the largest output; None for other outputs.

    >>> accuracy(torch.eye(4), torch.tensor([0, 1, 2, 0]))
    0.75
    """
    if not isinstance(output, Tensor) or not isinstance(targets, Tensor):
        return None
    if targets.is_floating_point() or targets.shape != output.shape[:-1]:
        return None
    return float((output.argmax(-1) == targets).float().mean())
