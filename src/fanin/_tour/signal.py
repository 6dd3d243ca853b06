"""What each layer does to the signal on its way forward, and to the gradient on its way back."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import median
from typing import final

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

from fanin._layout import layout
from fanin._tour.data import Digits, a_few
from fanin._tour.nets import HIDDEN_UNITS, Start, build, deep_net
from fanin._tour.numbers import short

__all__ = [
    "DepthProfile",
    "Passes",
    "gradient_left",
    "measure_depth",
    "middle",
    "one_pass",
    "per_layer",
    "signal_left",
]


@final
@dataclass(frozen=True, slots=True)
class DepthProfile:
    """One start at one depth, layer by layer [hidden layers], for each seed.

    ``signal`` is the root mean square of a layer's output before its ReLU; ``apart`` the part of
    it that differs from image to image (std over images); ``gradient`` the root mean square of the
    loss's gradient there, for one image. The factors are what one more layer multiplies them by
    (geometric mean over layers and seeds); ``factor_by_formula`` is that of the signal in a wide
    net without biases, std sqrt(fan_in / 2).
    """

    start: str
    hidden_layers: int
    signal: list[list[float]]
    apart: list[list[float]]
    gradient: list[list[float]]
    factor_by_formula: float
    apart_factor: float
    gradient_factor: float


@final
@dataclass(frozen=True, slots=True)
class Passes:
    """For each Linear before the readout: its output [batch, units], and the loss's gradient."""

    outputs: list[Tensor]
    gradients: list[Tensor]


def one_pass(net: nn.Sequential, images: Tensor, labels: Tensor) -> Passes:
    """One forward and one backward pass of the cross-entropy, summed over images.

    Summed, the gradient at an image's row is that of the image's own loss.
    """
    outputs: list[Tensor] = []
    hidden = images
    for module in net:
        hidden = module(hidden)
        if isinstance(module, nn.Linear):
            outputs.append(hidden)
    loss = F.cross_entropy(hidden, labels, reduction="sum")
    gradients = torch.autograd.grad(loss, outputs[:-1])
    return Passes([output.detach() for output in outputs[:-1]], list(gradients))


def measure_depth(
    start: Start, hidden_layers: int, seeds: Sequence[int], digits: Digits
) -> DepthProfile:
    """Signal and gradient of a plain ReLU net of this depth, on real digits.

    In float64: where the images' outputs have become all but equal, float32 would show the
    rounding of the last digit instead of their difference.
    """
    images, labels = a_few(digits)
    signal, apart, gradient = [], [], []
    for seed in seeds:
        net = build(deep_net(hidden_layers), start, seed).double()
        passes = one_pass(net, images.double(), labels)
        signal.append([short(_rms(output)) for output in passes.outputs])
        apart.append([short(_rms(output - output.mean(0))) for output in passes.outputs])
        gradient.append([short(_rms(row)) for row in passes.gradients])
    return DepthProfile(
        start.name,
        hidden_layers,
        signal,
        apart,
        gradient,
        factor_by_formula=short(_factor_by_formula(start)),
        apart_factor=short(per_layer(apart)),
        gradient_factor=short(per_layer([row[::-1] for row in gradient])),
    )


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def _factor_by_formula(start: Start) -> float:
    """sqrt(fan_in Var(w) / 2): a ReLU passes on half of the mean square."""
    own = layout(nn.Linear(HIDDEN_UNITS, HIDDEN_UNITS, device="meta"), "weight")
    std = start.initializer.std(own) if start.initializer else 1 / sqrt(3 * own.fan_in)
    return std * sqrt(own.fan_in / 2)


def middle(rows: Sequence[Sequence[float]]) -> list[float]:
    """The median over the rows, column by column.

    >>> middle([[1.0, 5.0], [2.0, 6.0], [9.0, 7.0]])
    [2.0, 6.0]
    """
    return [median(column) for column in zip(*rows, strict=True)]


def signal_left(profile: DepthProfile) -> float:
    """What the last layer's output still differs by from image to image, over the first's."""
    apart = middle(profile.apart)
    return _ratio(apart[-1], apart[0])


def gradient_left(profile: DepthProfile) -> float:
    """The gradient at the first layer over that at the last."""
    gradient = middle(profile.gradient)
    return _ratio(gradient[0], gradient[-1])


def _ratio(left: float, first: float) -> float:
    """Of nothing, nothing is left."""
    return left / first if first else 0.0


def per_layer(profiles: Sequence[Sequence[float]]) -> float:
    """The factor by which these grow from one entry to the next, a geometric mean over all.

    >>> round(per_layer([[8.0, 4.0, 2.0], [2.0, 1.0, 0.5]]), 6)
    0.5
    """
    steps = [
        (log(row[-1]) - log(row[0])) / (len(row) - 1) for row in profiles if row[0] * row[-1] > 0
    ]
    return exp(sum(steps) / len(steps)) if len(steps) == len(profiles) else 0.0
