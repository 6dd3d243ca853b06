"""Many members of one task trained at once, as one stack; steps to a target are what counts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

__all__ = ["Outcome", "train"]

SMOOTH: Final = 20
"""The loss is the mean over so many batches."""
CHECK: Final = 20
"""After so many steps members that have arrived, or diverged, leave the stack."""
DIVERGED: Final = 1e3


@dataclass(frozen=True)
class Outcome:
    """Steps until the mean loss of the last SMOOTH batches was at most the target; None: never."""

    steps: int | None
    loss: float


def train(
    nets: Sequence[nn.Module],
    rates: Sequence[float],
    optimizer: str,
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    target: float,
) -> list[Outcome]:
    """All members on the same batches, each with its own weights and rate."""
    stack = _Stack(nets, rates, optimizer, loss)
    outcomes: list[Outcome] = [Outcome(None, math.nan)] * len(nets)
    for step in range(1, steps + 1):
        stack.step(step, *batches(step))
        if step % CHECK and step < steps:
            continue
        arrived = stack.outcomes(step, target, last=step == steps)
        for place, outcome in arrived.items():
            outcomes[stack.members[place]] = outcome
        stack.drop(arrived)
        if not stack.members:
            break
    return outcomes


class _Stack:
    """Weights with a leading axis of members, and what their optimizer keeps."""

    def __init__(
        self,
        nets: Sequence[nn.Module],
        rates: Sequence[float],
        optimizer: str,
        loss: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        base = nets[0]
        each = [dict(net.named_parameters()) for net in nets]
        self.weights = {n: torch.stack([own[n].detach() for own in each]) for n in each[0]}
        self.first = {n: torch.zeros_like(w) for n, w in self.weights.items()}
        self.second = {n: torch.zeros_like(w) for n, w in self.weights.items()}
        self.rates = torch.tensor(rates)
        self.members = list(range(len(nets)))
        self.history: list[Tensor] = []
        self.optimizer = optimizer

        def member_loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return loss(functional_call(base, weights, (x,)), y)

        self._slopes = vmap(grad_and_value(member_loss), in_dims=(0, None, None))

    def step(self, number: int, x: Tensor, y: Tensor) -> None:
        """One step of every member."""
        slopes, losses = self._slopes(self.weights, x, y)
        self.history.append(losses.detach())
        with torch.no_grad():
            for name, slope in slopes.items():
                self._update(name, slope, number)

    def _update(self, name: str, slope: Tensor, number: int) -> None:
        """torch.optim's SGD, SGD of momentum 0.9, or Adam, with a rate for each member."""
        weight, first, second = self.weights[name], self.first[name], self.second[name]
        rate = self.rates.view(-1, *[1] * (weight.dim() - 1))
        if self.optimizer == "sgd":
            weight.sub_(slope * rate)
        elif self.optimizer == "momentum":
            first.mul_(0.9).add_(slope)
            weight.sub_(first * rate)
        else:
            first.mul_(0.9).add_(slope, alpha=0.1)
            second.mul_(0.999).addcmul_(slope, slope, value=0.001)
            root = second.sqrt().div_(math.sqrt(1 - 0.999**number)).add_(1e-8)
            weight.sub_(first / root * (rate / (1 - 0.9**number)))

    def outcomes(self, step: int, target: float, *, last: bool) -> dict[int, Outcome]:
        """By place in the stack: who has arrived or diverged, or everyone at the last step."""
        recent = torch.stack(self.history[-(CHECK + SMOOTH - 1) :])
        means = recent.unfold(0, min(SMOOTH, len(recent)), 1).mean(-1)
        found = {}
        for place, column in enumerate(means.T.tolist()):
            hits = [i for i, mean in enumerate(column) if mean <= target]
            if hits:
                found[place] = Outcome(step - len(column) + 1 + hits[0], column[hits[0]])
            elif not column[-1] <= DIVERGED:
                found[place] = Outcome(None, math.inf)
            elif last:
                found[place] = Outcome(None, column[-1])
        return found

    def drop(self, places: dict[int, Outcome]) -> None:
        """Leave these out from now on."""
        stay = [place for place in range(len(self.members)) if place not in places]
        if len(stay) == len(self.members):
            return
        self.members = [self.members[place] for place in stay]
        index = torch.tensor(stay, dtype=torch.int64)
        for tensors in (self.weights, self.first, self.second):
            for name, tensor in tensors.items():
                tensors[name] = tensor[index]
        self.rates = self.rates[index]
        self.history = [losses[index] for losses in self.history[-(SMOOTH + CHECK) :]]
