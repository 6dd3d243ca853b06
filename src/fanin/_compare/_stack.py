"""Members trained together: one stack of weights with an axis of members, under torch.func.vmap."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from fanin._compare._loop import scored
from fanin._compare._records import Outcome
from fanin._compare._train import Advance, Job, Progress, built
from fanin._compare._update import Update, stacked

__all__ = ["Stack", "train_together"]

_Named: TypeAlias = dict[str, Tensor]
_EVERY = 20
"""After so many steps the losses are read, and members that are done leave the stack."""


def train_together(job: Job, advance: Advance) -> list[Outcome]:
    """All members at once; the same as one by one up to the rounding of single products."""
    stack = Stack(job)
    losses: list[Tensor] = []
    with quiet():
        for step in range(1, job.settings.steps + 1):
            losses.append(stack.step())
            if step % _EVERY == 0 or step == job.settings.steps:
                advance(len(losses) * len(stack.places))
                stack.read(torch.stack(losses, 1).tolist())
                losses.clear()
            if not stack.places:
                break
        stack.finish()
    return [stack.outcomes[place] for place in range(len(job.members))]


@contextmanager
def quiet() -> Iterator[None]:
    """Without vmap's warnings of operations that it does one member at a time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        yield


@final
class Stack:
    """Weights and buffers with an axis of members in front, and what is known of each member."""

    def __init__(self, job: Job) -> None:
        models = [built(job, member) for member in job.members]
        self._job, self._base, self._steps = job, models[0], 0
        self._batches = job.data.batches(job.members[0].seed)
        trained = {name for name, one in self._base.named_parameters() if one.requires_grad}
        self._weights = stacked(
            {n: p for n, p in model.named_parameters() if n in trained} for model in models
        )
        self._others = stacked(
            {n: p for n, p in _named(model) if n not in trained} for model in models
        )
        self._device = next(iter(self._weights.values())).device
        rates = [member.rate for member in job.members]
        self._update = Update(
            job.settings.optimizer,
            torch.tensor(rates, dtype=torch.float64, device=self._device),
            self._weights,
        )
        self.progress = [Progress(member, job.settings, stops=job.stops) for member in job.members]
        self.places = list(range(len(models)))
        self.outcomes: dict[int, Outcome] = {}
        self._slopes = vmap(
            grad_and_value(self._loss), in_dims=(0, 0, None, None), randomness="error"
        )

    def _loss(self, weights: _Named, others: _Named, inputs: object, targets: object) -> Tensor:
        return self._job.data.loss(self._output(weights, others, inputs), targets)

    def _output(self, weights: _Named, others: _Named, inputs: object) -> object:
        own = {**weights, **others}
        if isinstance(inputs, Mapping):
            return functional_call(self._base, own, (), dict(inputs))
        return functional_call(self._base, own, inputs)

    def step(self) -> Tensor:
        """One step of every member on the next batch; returns the losses before it [members]."""
        self._steps += 1
        inputs, targets = self._batches(self._steps)
        gradients, losses = self._slopes(self._weights, self._others, inputs, targets)
        self._update.step(self._weights, gradients)
        found: Tensor = losses.detach()
        return found

    def read(self, losses: list[list[float]]) -> None:
        """The losses [members][steps] since the last reading; members that are done leave."""
        stay = []
        for row, place in enumerate(self.places):
            for loss in losses[row]:
                if not self.progress[place].is_done:
                    self.progress[place].see(loss)
            if not self.progress[place].is_done:
                stay.append(row)
        if len(stay) < len(self.places):
            self._leave([row for row in range(len(self.places)) if row not in stay])
            self._keep(stay)

    def finish(self) -> None:
        """Whoever is still there leaves."""
        self._leave(list(range(len(self.places))))
        self.places = []

    def _leave(self, rows: list[int]) -> None:
        for row in rows:
            place = self.places[row]
            self.outcomes[place] = self.progress[place].outcome(*self._held_out(row))

    def _keep(self, rows: list[int]) -> None:
        self.places = [self.places[row] for row in rows]
        index = torch.tensor(rows, dtype=torch.int64, device=self._device)
        for tensors in (self._weights, self._others):
            for name in list(tensors):
                tensors[name] = tensors[name][index]
        self._update.keep(index)

    @torch.no_grad()
    def _held_out(self, row: int) -> tuple[float | None, float | None]:
        test = self._job.data.test
        if test is None or self.progress[self.places[row]].diverged:
            return None, None
        weights, others = (_of(row, named) for named in (self._weights, self._others))
        self._base.eval()
        output = self._output(weights, others, test[0])
        self._base.train()
        return scored(self._job.data, output)


def _named(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _of(row: int, named: _Named) -> _Named:
    return {name: tensor[row] for name, tensor in named.items()}
