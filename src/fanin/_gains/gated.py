"""Product units: y = phi(a) b, of two inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

from torch import Tensor, nn

from fanin._gains.names import parse

__all__ = ["Activation", "Gated"]


@final
@dataclass(frozen=True, slots=True)
class Gated:
    """``y = activation(a) * b``: the gate ``a`` and the value ``b`` are two projections.

    The family of GLU (Dauphin et al. 2017; Shazeer 2020): ``Gated("silu")`` is ``"swiglu"``.
    Moments are those of independent a, b ~ N(0, variance), as two halves of a fresh layer give.

    Raises:
        FaninError: the name of the gate's activation is unknown, or is itself a product unit.

    >>> from fanin import Gated, gain
    >>> gain(Gated("silu")) == gain("swiglu") == gain("silu")
    True
    """

    activation: str | Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        if isinstance(self.activation, str):
            parse(self.activation)


# A module is a callable; it is written here because a reader looks for it.
Activation: TypeAlias = str | Callable[[Tensor], Tensor] | nn.Module | Gated
