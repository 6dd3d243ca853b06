"""Many nets of one shape trained at once, as one stack of weights with a member axis.

Each member is exactly the net that a plain loop over ``torch.optim.SGD`` would train: every
member has its own weights and learning rate, and all see the same batches in the same order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

from fanin._tour.data import Digits
from fanin._tour.nets import Network, Start, build

__all__ = ["Member", "Stack", "Trained", "Training", "batches", "train"]

REPORT_EVERY: Final = 20
ORDER: Final = 1 << 40


@final
@dataclass(frozen=True, slots=True)
class Member:
    """One net of a stack: what it starts from, and its learning rate."""

    start: Start
    rate: float


@final
@dataclass(frozen=True, slots=True)
class Training:
    """A stack to train: one network, one seed, many members.

    The seed gives each member's weights and the order of the data. Held-out accuracy is measured
    every ``check_every`` steps; 0 means never.
    """

    network: Network
    members: tuple[Member, ...]
    seed: int
    steps: int
    batch: int
    check_every: int = 0

    @property
    def size(self) -> int:
        """Members times steps: the amount of work."""
        return len(self.members) * self.steps


@final
@dataclass(frozen=True, slots=True)
class Trained:
    """Training loss [members][steps] of each batch before its step; accuracy [members][checks]."""

    losses: list[list[float]]
    accuracies: list[list[float]]


@final
class Stack:
    """Nets of one shape as one: each parameter has a leading axis, one entry for each member."""

    def __init__(self, nets: Sequence[nn.Sequential]) -> None:
        self.members = len(nets)
        linears = [_of_kind(net, nn.Linear) for net in nets]
        norms = [_of_kind(net, nn.BatchNorm1d) for net in nets]
        self.weights = _stacked(linears, "weight")
        self.biases = _stacked(linears, "bias")
        self.scales = _stacked(norms, "weight")
        self.shifts = _stacked(norms, "bias")
        self.means = _stacked(norms, "running_mean")
        self.variances = _stacked(norms, "running_var")

    def parameters(self) -> list[Tensor]:
        """What is trained."""
        return [*self.weights, *self.biases, *self.scales, *self.shifts]

    def logits(self, images: Tensor, *, training: bool) -> Tensor:
        """Logits [members, batch, classes] of images [batch, pixels], the same for every member."""
        hidden = self._first(images)
        for layer in range(1, len(self.weights)):
            if self.scales:
                hidden = self._normed(layer - 1, hidden, training=training)
            weight, bias = self.weights[layer], self.biases[layer]
            hidden = torch.baddbmm(bias[:, None], hidden.relu(), weight.transpose(1, 2))
        return hidden

    def _first(self, images: Tensor) -> Tensor:
        # All members see the same images, so their first layers are one wide layer.
        wide = F.linear(images, self.weights[0].flatten(0, 1), self.biases[0].flatten())
        return wide.view(len(images), self.members, -1).transpose(0, 1)

    def _normed(self, layer: int, hidden: Tensor, *, training: bool) -> Tensor:
        # torch's batch norm, each unit of each member being a channel of its own.
        channels = hidden.transpose(0, 1).flatten(1, 2)
        normed = F.batch_norm(
            channels,
            self.means[layer].view(-1),
            self.variances[layer].view(-1),
            self.scales[layer].flatten(),
            self.shifts[layer].flatten(),
            training=training,
        )
        return normed.view(len(normed), self.members, -1).transpose(0, 1)


def _of_kind(net: nn.Sequential, kind: type[nn.Module]) -> list[nn.Module]:
    return [layer for layer in net if isinstance(layer, kind)]


def _stacked(nets: Sequence[Sequence[nn.Module]], name: str) -> list[Tensor]:
    """For each layer, the tensors of this name of all nets, stacked."""
    stacks = []
    for layers in zip(*nets, strict=True):
        tensors: list[Tensor] = [getattr(layer, name) for layer in layers]
        trained = isinstance(tensors[0], nn.Parameter)
        stacks.append(torch.stack(tensors).detach().requires_grad_(trained))
    return stacks


def batches(seed: int, examples: int, steps: int, batch: int) -> Tensor:
    """Indices [steps, batch]: a new shuffle for each epoch, whole batches only.

    >>> batches(0, examples=7, steps=3, batch=3).shape
    torch.Size([3, 3])
    """
    generator = torch.Generator().manual_seed(seed + ORDER)
    in_epoch = examples // batch
    epochs = -(-steps // in_epoch)
    shuffles = [torch.randperm(examples, generator=generator) for _ in range(epochs)]
    whole = torch.cat([shuffle[: in_epoch * batch] for shuffle in shuffles])
    return whole.view(-1, batch)[:steps]


def train(training: Training, digits: Digits, advance: Callable[[int], None]) -> Trained:
    """Plain SGD on the cross-entropy, for every member; ``advance`` is told of work done."""
    nets = [build(training.network, member.start, training.seed) for member in training.members]
    stack = Stack(nets)
    rates = torch.tensor([member.rate for member in training.members])
    order = batches(training.seed, len(digits.train_labels), training.steps, training.batch)
    losses, accuracies = [], []
    for step, chosen in enumerate(order, start=1):
        images, labels = digits.train_images[chosen], digits.train_labels[chosen]
        losses.append(_sgd_step(stack, images, labels, rates))
        if training.check_every and step % training.check_every == 0:
            accuracies.append(_accuracy(stack, digits))
        if step % REPORT_EVERY == 0:
            advance(REPORT_EVERY * stack.members)
    checked = torch.stack(accuracies, 1) if accuracies else torch.empty(stack.members, 0)
    return Trained(torch.stack(losses, 1).tolist(), checked.tolist())


def _sgd_step(stack: Stack, images: Tensor, labels: Tensor, rates: Tensor) -> Tensor:
    """One step; returns each member's loss before it.

    The gradient of the sum of the losses is, for each member, that of its own loss.
    """
    logits = stack.logits(images, training=True)
    each = F.cross_entropy(logits.flatten(0, 1), labels.repeat(stack.members), reduction="none")
    losses = each.view(stack.members, -1).mean(1)
    parameters = stack.parameters()
    gradients = torch.autograd.grad(losses.sum(), parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            own_rate = rates.view(-1, *[1] * (parameter.dim() - 1))
            parameter.addcmul_(gradient, own_rate, value=-1)
    return losses.detach()


@torch.no_grad()
def _accuracy(stack: Stack, digits: Digits) -> Tensor:
    """The share of held-out digits that each member gets right."""
    logits = stack.logits(digits.test_images, training=False)
    right = (logits.argmax(-1) == digits.test_labels) & logits.isfinite().all(-1)
    return right.float().mean(1)
