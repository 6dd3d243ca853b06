"""Models written as one function, and their sites by name."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fanin import Site, trace

__all__ = ["Model", "parameter", "roles", "rows", "sites", "tokens", "uses", "writers"]


class Model(nn.Module):
    """Named parts, and what is done with them: ``run(model, *batch)``."""

    def __init__(self, run: Callable[..., object], **parts: object):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, *batch, **named):
        return self.run(self, *batch, **named)


def parameter(*shape: int, value: float | None = None) -> nn.Parameter:
    """Of ordinary values, so that no start is declared; or of one value."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(shape, generator=generator) if value is None else torch.full(shape, value)
    return nn.Parameter(drawn)


def rows(*shape: int) -> Tensor:
    """An input of real numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def tokens(*shape: int, size: int = 10) -> Tensor:
    """An input of indices."""
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(0))


def sites(model: nn.Module, batch: object, *, training: bool | None = None) -> dict[str, Site]:
    """The sites of a model by name."""
    return {site.name: site for site in trace(model, batch, training=training)}


def roles(model: nn.Module, batch: object) -> dict[str, str]:
    """What each parameter does."""
    return {name: site.role for name, site in sites(model, batch).items()}


def writers(model: nn.Module, batch: object, *, training: bool | None = None) -> list[str]:
    """The weights that write into a residual stream."""
    found = sites(model, batch, training=training)
    return [name for name, site in found.items() if site.role == "residual_out"]


def uses(model: nn.Module, batch: object) -> dict[str, int]:
    """How often each parameter ran."""
    return {name: site.uses for name, site in sites(model, batch).items()}
