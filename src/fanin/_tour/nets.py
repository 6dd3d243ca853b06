"""The nets of the tour: ordinary torch modules that know nothing of fanin."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final, final

from torch import Tensor, nn

from fanin._tour.data import CLASSES, PIXELS

__all__ = ["DEPTH", "SIMPLE_NET", "TEN_LAYERS", "UNITS", "Network", "SimpleNet", "TenLayers"]

DEPTH: Final = 10
UNITS: Final = 64


@final
class SimpleNet(nn.Module):
    """784-128-64-10 with ReLU, and batch norm before each ReLU where it is asked for."""

    def __init__(self, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.fc1 = nn.Linear(PIXELS, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, CLASSES)
        self.norm1 = nn.BatchNorm1d(128) if batch_norm else nn.Identity()
        self.norm2 = nn.BatchNorm1d(64) if batch_norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [batch, 10] of images [batch, 784]."""
        hidden = self.norm1(self.fc1(images)).relu()
        logits: Tensor = self.fc3(self.norm2(self.fc2(hidden)).relu())
        return logits


@final
class TenLayers(nn.Module):
    """Ten hidden layers of 64 units with ReLU, and nothing that would help: no norm, no sum.

    >>> len([one for one in TenLayers().modules() if isinstance(one, nn.Linear)])
    11
    """

    def __init__(self, *, batch_norm: bool = False) -> None:
        super().__init__()
        widths = [PIXELS, *[UNITS] * DEPTH]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers.append(nn.Linear(inputs, outputs))
            layers += [nn.BatchNorm1d(outputs)] if batch_norm else []
            layers.append(nn.ReLU())
        self.hidden = nn.Sequential(*layers)
        self.readout = nn.Linear(UNITS, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [batch, 10] of images [batch, 784]."""
        logits: Tensor = self.readout(self.hidden(images))
        return logits


@final
@dataclass(frozen=True, slots=True)
class Network:
    """A net of the tour by its name, with batch norm or without."""

    name: str
    batch_norm: bool = False

    @property
    def make(self) -> Callable[[], nn.Module]:
        """What makes it anew; it can be pickled."""
        kind = {one.__name__: one for one in (SimpleNet, TenLayers)}[self.name]
        return partial(kind, batch_norm=self.batch_norm)

    @property
    def title(self) -> str:
        """In words.

        >>> Network("TenLayers", batch_norm=True).title
        'TenLayers, with batch norm'
        """
        return f"{self.name}, {'with' if self.batch_norm else 'without'} batch norm"


SIMPLE_NET: Final = "SimpleNet"
TEN_LAYERS: Final = "TenLayers"
