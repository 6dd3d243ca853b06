"""Many members of one task trained at once, as one stack; steps to a target are what counts."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

__all__ = ["Outcome", "train"]

SMOOTH = 20
CHECK = 20


@dataclass(frozen=True)
class Outcome:
    """Steps until the mean loss of the last SMOOTH batches was at most the target; None: never."""

    steps: int | None
    loss: float


def train(
    nets: list[nn.Module],
    rates: list[float],
    optimizer: str,
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    target: float,
) -> list[Outcome]:
    """All members on the same batches, each with its own weights and rate."""
    base = nets[0]
    names = [name for name, _ in base.named_parameters()]
    stack = {n: torch.stack([dict(net.named_parameters())[n].detach() for net in nets]) for n in names}

    def member_loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss(functional_call(base, parameters, (x,)), y)

    step_all = vmap(grad_and_value(member_loss), in_dims=(0, None, None))
    rate = torch.tensor(rates)
    alive = list(range(len(nets)))
    outcomes: list[Outcome | None] = [None] * len(nets)
    history: list[Tensor] = []
    state = {n: (torch.zeros_like(t), torch.zeros_like(t)) for n, t in stack.items()}
    recent = torch.empty(0)
    for step in range(1, steps + 1):
        x, y = batches(step)
        grads, losses = step_all(stack, x, y)
        history.append(losses.detach())
        with torch.no_grad():
            for n in names:
                _update(optimizer, stack[n], grads[n], state[n], rate, step)
        if step % CHECK and step != steps:
            continue
        window = torch.stack(history[-(CHECK + SMOOTH - 1):])
        means = window.unfold(0, min(SMOOTH, len(window)), 1).mean(-1)
        keep = []
        for i, member in enumerate(alive):
            column = means[:, i]
            hit = (column <= target).nonzero()
            bad = not math.isfinite(column[-1]) or column[-1] > 1e3
            if len(window) >= SMOOTH and len(hit):
                first = step - len(column) + 1 + int(hit[0])
                outcomes[member] = Outcome(first, float(column[int(hit[0])]))
            elif bad:
                outcomes[member] = Outcome(None, math.inf)
            else:
                keep.append(i)
                if step == steps:
                    outcomes[member] = Outcome(None, float(column[-1]))
        if len(keep) < len(alive):
            if not keep or step == steps:
                break
            index = torch.tensor(keep)
            alive = [alive[i] for i in keep]
            stack = {n: t[index] for n, t in stack.items()}
            state = {n: (m[index], v[index]) for n, (m, v) in state.items()}
            rate = rate[index]
            history = [h[index] for h in history[-SMOOTH - CHECK:]]
    return [o if o is not None else Outcome(None, math.nan) for o in outcomes]


def _update(
    optimizer: str, weight: Tensor, grad: Tensor, state: tuple[Tensor, Tensor], rate: Tensor, step: int
) -> None:
    """torch.optim's SGD, SGD of momentum 0.9, or Adam, with a rate for each member."""
    own = rate.view(-1, *[1] * (weight.dim() - 1))
    first, second = state
    if optimizer == "sgd":
        weight.sub_(grad * own)
        return
    if optimizer == "momentum":
        first.mul_(0.9).add_(grad)
        weight.sub_(first * own)
        return
    first.mul_(0.9).add_(grad, alpha=0.1)
    second.mul_(0.999).addcmul_(grad, grad, value=0.001)
    scale = math.sqrt(1 - 0.999**step)
    denominator = second.sqrt().div_(scale).add_(1e-8)
    weight.sub_(first / denominator * (own / (1 - 0.9**step)))
