"""SimpleNet's first layer: its weights against their formula, and its gradients on real digits."""

from dataclasses import dataclass
from math import isinf, sqrt
from typing import final

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor

from fanin._fill import fill
from fanin._layout import layout
from fanin._tour.data import Digits, a_few
from fanin._tour.nets import SimpleNet, Start
from fanin._tour.numbers import short
from fanin.initializers import VarianceScaling, Zeros

__all__ = ["FirstLayer", "measure_first_layer"]

SHOWN = slice(400, 404)
"""Pixels in the middle of the image, for the few weights and gradients that are printed."""


@final
@dataclass(frozen=True, slots=True)
class FirstLayer:
    """What one start gives fc1: variance and largest weight, by formula and as drawn.

    ``bound`` is None where there is none. ``sampling_error`` is one standard error of a sample
    variance of so many weights, relative; None where they are not drawn one by one.
    ``afterwards_is_equal`` tells whether drawing into a layer already built gives the same weights
    as drawing at construction (None for torch's own start).
    """

    start: str
    formula: str
    variance_by_formula: float
    variance: float
    sampling_error: float | None
    bound: float | None
    largest: float
    weights: list[float]
    gradients: list[float]
    gradient_rms: float
    gradient_before_backward: str
    loss: float
    afterwards_is_equal: bool | None


def measure_first_layer(start: Start, seed: int, digits: Digits) -> FirstLayer:
    """Build SimpleNet with this start, look at fc1, run one forward and one backward pass."""
    net = _at_construction(start, seed)
    weight = net.fc1.weight.detach()
    before = repr(net.fc1.weight.grad)
    loss, gradient = _one_pass(net, digits)
    variance_by_formula, bound = _by_formula(start, net)
    return FirstLayer(
        start.name,
        start.formula,
        short(variance_by_formula),
        short(float(weight.double().var())),
        _sampling_error(start, weight.numel()),
        bound,
        short(float(weight.abs().max())),
        [short(value) for value in weight[0, SHOWN].tolist()],
        [short(value) for value in gradient[0, SHOWN].tolist()],
        short(float(gradient.square().mean().sqrt())),
        before,
        short(loss),
        _afterwards_is_equal(start, seed, net),
    )


def _at_construction(start: Start, seed: int) -> SimpleNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if start.initializer is None:
            return SimpleNet()
        return SimpleNet(weight_initializer=start.initializer, bias_initializer=Zeros)


def _afterwards_is_equal(start: Start, seed: int, built: SimpleNet) -> bool | None:
    """Whether filling a net that torch has already started gives these same weights."""
    if start.initializer is None:
        return None
    with torch.random.fork_rng(devices=[]):
        net = SimpleNet()
        torch.manual_seed(seed)
        for layer in (net.fc1, net.fc2, net.fc3):
            fill(layer, weight_initializer=start.initializer, bias_initializer=Zeros)
    return all(map(torch.equal, net.parameters(), built.parameters()))


def _one_pass(net: SimpleNet, digits: Digits) -> tuple[float, Tensor]:
    images, labels = a_few(digits)
    loss = F.cross_entropy(net(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    gradient = net.fc1.weight.grad
    assert gradient is not None  # noqa: S101 - backward has just made it
    return float(loss.detach()), gradient


def _by_formula(start: Start, net: SimpleNet) -> tuple[float, float | None]:
    """Variance and bound (None if there is none) of the law of fc1.weight."""
    own = layout(net.fc1, "weight")
    if start.initializer is None:
        return 1 / (3 * own.fan_in), short(1 / sqrt(own.fan_in))
    std, bound = start.initializer.std(own), start.initializer.bound(own)
    return std**2, None if isinf(bound) else short(bound)


def _sampling_error(start: Start, weights: int) -> float | None:
    """sqrt((k - 1) / n), k the fourth standardised moment: 1.8 if uniform, 3 if normal."""
    if start.initializer is None:
        return short(sqrt(0.8 / weights))
    if not isinstance(start.initializer, VarianceScaling):
        return None
    return short(sqrt((0.8 if start.initializer.distribution == "uniform" else 2.0) / weights))
