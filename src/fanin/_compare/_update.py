"""One step of an optimizer for a whole stack of members, each with a rate of its own."""

import math
from collections.abc import Iterable, Mapping
from typing import final

import torch
from torch import Tensor

from fanin._compare._records import Optimizer

__all__ = ["Update"]

_MOMENTUM, _FIRST, _SECOND, _EPSILON = 0.9, 0.9, 0.999, 1e-8


@final
class Update:
    """torch.optim's SGD, SGD with momentum, or Adam, on weights with an axis of members in front.

    ``rates`` [members]. What the optimizer keeps of each weight has the weight's shape.
    """

    def __init__(self, optimizer: Optimizer, rates: Tensor, weights: Mapping[str, Tensor]) -> None:
        self._optimizer, self._rates, self._steps = optimizer, rates, 0
        kept = () if optimizer == "sgd" else weights.items()
        self._first = {name: torch.zeros_like(weight) for name, weight in kept}
        kept = weights.items() if optimizer == "adam" else ()
        self._second = {name: torch.zeros_like(weight) for name, weight in kept}

    @torch.no_grad()
    def step(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
        """Change the weights in place."""
        self._steps += 1
        for name, gradient in gradients.items():
            weight = weights[name]
            rate = self._rates.to(weight.dtype).view(-1, *[1] * (weight.dim() - 1))
            weight.sub_(self._direction(name, gradient) * rate)

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        if self._optimizer == "sgd":
            return gradient
        first = self._first[name]
        if self._optimizer == "momentum":
            return first.mul_(_MOMENTUM).add_(gradient)
        first.lerp_(gradient, 1 - _FIRST)
        second = self._second[name].mul_(_SECOND).addcmul_(gradient, gradient, value=1 - _SECOND)
        root = second.sqrt().div_(math.sqrt(1 - _SECOND**self._steps)).add_(_EPSILON)
        return first / root / (1 - _FIRST**self._steps)

    def keep(self, places: Tensor) -> None:
        """Only the members at these places stay."""
        self._rates = self._rates[places]
        for tensors in (self._first, self._second):
            for name in list(tensors):
                tensors[name] = tensors[name][places]


def stacked(each: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of several models of one architecture, with an axis of members in front."""
    own = list(each)
    return {name: torch.stack([one[name].detach() for one in own]) for name in own[0]}
