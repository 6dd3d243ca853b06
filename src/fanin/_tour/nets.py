"""The nets of the tour, and the starts they are given. All are ordinary torch modules."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, final

import torch
from torch import Tensor, nn

import fanin.nn
from fanin._errors import FaninError, nearest
from fanin._layout import Layout, layout
from fanin._tour.data import CLASSES, PIXELS
from fanin.initializers import Initializer, InitializerLike, Orthogonal, named, names

__all__ = [
    "DEFAULT_STARTS",
    "HIDDEN_UNITS",
    "TORCH_DEFAULT",
    "Network",
    "SimpleNet",
    "Start",
    "build",
    "deep_net",
    "find_start",
    "find_starts",
    "set_start",
    "simple_net",
]

TORCH_DEFAULT: Final = "torch_default"
# The name "orthogonal" alone means gain 1, for layers as here; this one has the gain for ReLU.
OWN_STARTS: Final = {TORCH_DEFAULT: None, "orthogonal_relu": Orthogonal("relu")}
HIDDEN_UNITS: Final = 64
DEFAULT_STARTS: Final = (TORCH_DEFAULT, "kaiming_normal", "xavier_uniform", "orthogonal_relu")


@final
@dataclass(frozen=True, slots=True)
class Start:
    """What every weight of a net is drawn from; biases are zero. None leaves torch's own start."""

    name: str
    initializer: Initializer | None

    @property
    def formula(self) -> str:
        """The law as text."""
        if self.initializer is None:
            return "w, bias ~ U(-b, b), b = 1 / sqrt(fan_in)"
        return str(self.initializer)


def find_start(name: str) -> Start:
    """The start of this name: ``torch_default``, ``orthogonal_relu``, or any initializer's name.

    Raises:
        FaninError: for an unknown name, with the nearest ones.

    >>> print(find_start("zeros").formula)
    w = 0
    """
    if name in OWN_STARTS:
        return Start(name, OWN_STARTS[name])
    try:
        start = Start(name, named(name))
    except FaninError as error:
        # `named` knows what the same start is called after its other author.
        is_other_spelling = name.startswith(("he_", "glorot_"))
        close = f"use one of: {nearest(name, (*OWN_STARTS, *names()))}"
        raise FaninError(
            "there is no start of this name",
            where="fanin tour --starts",
            found=repr(name),
            fix=error.fix if is_other_spelling else close,
        ) from None
    try:
        named(name).std(Layout((64, 64), "out in"))
    except FaninError as error:
        raise FaninError(
            "this start is not one for the weights of a layer",
            where="fanin tour --starts",
            found=repr(name),
            fix=error.fix,
        ) from None
    return start


def find_starts(given: Sequence[str]) -> tuple[Start, ...]:
    """The starts of these names, in this order.

    Raises:
        FaninError: for an unknown name, for one given twice, or for none.
    """
    if not given:
        raise FaninError(
            "no start is named",
            where="fanin tour --starts",
            found="nothing",
            fix="name one or more, such as torch_default,kaiming_normal",
        )
    twice = [name for name in given if given.count(name) > 1]
    if twice:
        raise FaninError(
            "a start is named twice",
            where="fanin tour --starts",
            found=twice[0],
            fix="name each start once",
        )
    return tuple(map(find_start, given))


class SimpleNet(nn.Module):
    """784-128-64-10 with ReLU; the arguments say what its layers start from.

    >>> SimpleNet(weight_initializer="kaiming_normal", bias_initializer=0).fc1.bias.sum().item()
    0.0
    """

    def __init__(
        self,
        weight_initializer: InitializerLike | None = None,
        bias_initializer: InitializerLike | None = None,
    ) -> None:
        super().__init__()
        linear = partial(
            fanin.nn.Linear,
            weight_initializer=weight_initializer,
            bias_initializer=bias_initializer,
        )
        self.fc1 = linear(PIXELS, 128)
        self.fc2 = linear(128, 64)
        self.fc3 = linear(64, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [batch, 10] of images [batch, 784]."""
        hidden = self.fc1(images).relu()
        logits: Tensor = self.fc3(self.fc2(hidden).relu())
        return logits


@final
@dataclass(frozen=True, slots=True)
class Network:
    """A fully connected ReLU net: its name, its widths from input to output, and its norm."""

    name: str
    widths: tuple[int, ...]
    batch_norm: bool = False

    @property
    def hidden_layers(self) -> int:
        """Layers of weights, the readout not counted."""
        return len(self.widths) - 2


def simple_net(*, batch_norm: bool = False) -> Network:
    """SimpleNet's widths."""
    return Network("SimpleNet", (PIXELS, 128, 64, CLASSES), batch_norm)


def deep_net(hidden_layers: int, *, batch_norm: bool = False) -> Network:
    """A net of this many hidden layers of `HIDDEN_UNITS`.

    >>> deep_net(3).widths
    (784, 64, 64, 64, 10)
    """
    widths = (PIXELS, *[HIDDEN_UNITS] * hidden_layers, CLASSES)
    return Network(f"{hidden_layers} hidden layers", widths, batch_norm)


def build(network: Network, start: Start, seed: int) -> nn.Sequential:
    """Linear, (BatchNorm1d,) ReLU and so on, Linear; weights drawn from ``start`` and ``seed``.

    torch's global generator is left as it was.

    >>> [type(layer).__name__ for layer in build(deep_net(1), find_start("kaiming_normal"), 0)]
    ['Linear', 'ReLU', 'Linear']
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs, outputs in zip(network.widths, network.widths[1:], strict=False):
            layers.append(nn.Linear(inputs, outputs))
            if network.batch_norm:
                layers.append(nn.BatchNorm1d(outputs))
            layers.append(nn.ReLU())
    after_readout = 2 if network.batch_norm else 1
    net = nn.Sequential(*layers[:-after_readout])
    set_start(net, start, seed)
    return net


def set_start(net: nn.Module, start: Start, seed: int) -> None:
    """Give every Linear of ``net`` this start: weights drawn, each by its own name, biases zero."""
    if start.initializer is None:
        return
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear):
            own = layout(module, "weight")
            start.initializer.fill_(module.weight, layout=own, seed=seed, name=f"{name}.weight")
            nn.init.zeros_(module.bias)
