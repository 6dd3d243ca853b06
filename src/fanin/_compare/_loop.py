"""Members one by one, as a plain training loop would."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fanin._compare._records import Member, Outcome
from fanin._compare._train import Advance, Job, Progress, built
from fanin._compare._update import Update
from fanin._observe import run

__all__ = ["train_one_by_one"]

_EVERY = 20
"""Steps between two reports of progress."""


def train_one_by_one(job: Job, advance: Advance) -> list[Outcome]:
    """Each member by itself; what a model draws as it runs depends on the member's seed alone."""
    return [_trained(job, member, advance) for member in job.members]


def _trained(job: Job, member: Member, advance: Advance) -> Outcome:
    model = built(job, member)
    batches = job.data.batches(member.seed)
    weights = {name: one for name, one in model.named_parameters() if one.requires_grad}
    # An axis for the one member, as the update has one: views of the weights.
    views = {name: weight.detach().unsqueeze(0) for name, weight in weights.items()}
    rate = torch.tensor(
        [member.rate], dtype=torch.float64, device=next(iter(weights.values())).device
    )
    update = Update(job.settings.optimizer, rate, views)
    progress = Progress(member, job.settings, stops=job.stops)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(member.seed)
        for step in range(1, job.settings.steps + 1):
            progress.see(_step(model, weights, views, update, batches(step), job))
            if step % _EVERY == 0 or progress.is_done:
                advance((step - 1) % _EVERY + 1)
            if progress.is_done:
                break
        return progress.outcome(*_held_out(model, job, diverged=progress.diverged))


def _step(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    views: Mapping[str, Tensor],
    update: Update,
    batch: tuple[Any, Any],
    job: Job,
) -> float:
    """One step; returns the loss before it."""
    inputs, targets = batch
    loss = job.data.loss(run(model, inputs), targets)
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    gradients = {
        name: gradient.unsqueeze(0)
        for name, gradient in zip(weights, found, strict=True)
        if gradient is not None
    }
    update.step(views, gradients)
    return float(loss.detach())


@torch.no_grad()
def _held_out(model: nn.Module, job: Job, *, diverged: bool) -> tuple[float | None, float | None]:
    """Loss on the held-out data, and the share that is right for whole-number targets."""
    if job.data.test is None or diverged:
        return None, None
    inputs, targets = job.data.test
    model.eval()
    output = run(model, inputs)
    loss = float(job.data.loss(output, targets))
    return loss, accuracy(output, targets)


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
