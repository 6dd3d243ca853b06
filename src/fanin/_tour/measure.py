"""What the tour does: one layer by hand, a deep net audited before and after, and trainings."""

from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from typing import Final, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

from fanin._audit import Report, audit
from fanin._compare import Comparison, compare
from fanin._compare._trainer import Progress
from fanin._layout import layout
from fanin._plan import Plan, initialize
from fanin._tour.data import Digits, a_few
from fanin._tour.nets import Network, SimpleNet, TenLayers
from fanin._tour.results import FirstLayer, Layer, Results, Training
from fanin._tour.settings import Settings
from fanin._tour.workers import Workers

__all__ = ["SHOWN", "Advance", "measure_starts", "train_networks"]

SHOWN: Final = slice(400, 404)
"""Pixels in the middle of the image, for the few weights and gradients that are printed."""

Advance: TypeAlias = Callable[[float, int], None]
"""Told of the trainings done, in comparisons, and of how many comparisons there are."""


def measure_starts(seed: int, digits: Digits) -> Results:
    """SimpleNet looked at by hand, and ten layers by the audit: as torch made them, and after."""
    images, labels = a_few(digits)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        simple, deep = SimpleNet(), TenLayers()
    own, weights = _first_layer(simple, images, labels), _weights(simple)
    plan = initialize(simple, images, seed=seed)
    before = _audited(deep, images, labels)
    cure = initialize(deep, images, seed=seed)
    return Results(
        seed=seed,
        own=own,
        initialized=_first_layer(simple, images, labels),
        layers=_layers(simple, weights, plan),
        before=before,
        plan=cure,
        after=_audited(deep, images, labels),
    )


def _first_layer(net: SimpleNet, images: Tensor, labels: Tensor) -> FirstLayer:
    """One forward and one backward pass; the gradient is taken away again."""
    before = repr(net.fc1.weight.grad)
    loss = F.cross_entropy(net(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    gradient = net.fc1.weight.grad
    assert gradient is not None  # noqa: S101 - backward has just made it
    net.zero_grad()
    return FirstLayer(
        weights=tuple(net.fc1.weight[0, SHOWN].tolist()),
        gradient_before=before,
        gradients=tuple(gradient[0, SHOWN].tolist()),
        gradient_rms=float(gradient.square().mean().sqrt()),
        loss=float(loss.detach()),
    )


def _weights(net: SimpleNet) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in net.named_parameters() if one.dim() == 2}


def _layers(net: SimpleNet, own: dict[str, Tensor], plan: Plan) -> tuple[Layer, ...]:
    return tuple(
        Layer(
            name=name,
            fan_in=_fan_in(net, name),
            own=_fan_in(net, name) * float(own[name].double().var()),
            # sqrt((k - 1) / n), k = 1.8 the fourth standardised moment of a uniform law.
            error=sqrt(0.8 / weight.numel()),
            initialized=_fan_in(net, name) * float(weight.double().var()),
            start=str(plan[name].initializer),
        )
        for name, weight in _weights(net).items()
    )


def _fan_in(net: nn.Module, name: str) -> float:
    return layout(net.get_submodule(name.removesuffix(".weight")), "weight").fan_in


def _audited(net: nn.Module, images: Tensor, labels: Tensor) -> Report:
    return audit(net, images, target=labels, optimizer="sgd", learning_rate=0.1)


def train_networks(
    results: Results, settings: Settings, digits: Digits, executor: Workers, advance: Advance
) -> Results:
    """The results with the trainings: every net from every start."""
    trainings = []
    for number, network in enumerate(settings.networks):
        told = _told(advance, number, len(settings.networks))
        comparison = _compared(network, settings, digits, executor, told)
        trainings.append(Training(network, comparison))
    return replace(results, trainings=tuple(trainings))


def _told(advance: Advance, number: int, count: int) -> Progress:
    """What one comparison of several is told to tell."""
    return lambda _phase, done, total: advance(number + done / max(total, 1), count)


def _compared(
    network: Network, settings: Settings, digits: Digits, executor: Workers, told: Progress
) -> Comparison:
    return compare(
        network.make,
        settings.recipes,
        ((digits.train_images, digits.train_labels), (digits.test_images, digits.test_labels)),
        optimizer="sgd",
        target=settings.target,
        steps=settings.steps,
        tuning_seeds=settings.tuning_seeds,
        scoring_seeds=settings.scoring_seeds,
        seed=settings.first_seed,
        executor=executor,
        way="one by one",
        progress=told,
    )
