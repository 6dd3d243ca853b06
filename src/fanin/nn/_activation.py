"""Activations with a parameter."""

import torch
from torch import nn

from fanin.initializers import InitializerLike
from fanin.nn._start import describe, reset, starts

__all__ = ["PReLU"]


class PReLU(nn.PReLU):
    """torch.nn.PReLU, weight [parameters], with an initializer.

    torch's ``init`` is the value without one.

    >>> from fanin.nn import PReLU
    >>> PReLU(2, weight_initializer="zeros").weight.tolist(), PReLU(2).weight.tolist()
    ([0.0, 0.0], [0.25, 0.25])
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        weight_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(weight_initializer=weight_initializer)
        super().__init__(num_parameters, init, device, dtype)

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)
