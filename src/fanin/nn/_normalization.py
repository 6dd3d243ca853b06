# ruff: noqa: FBT001, FBT002 - the signatures are torch's
"""Normalization over channels of one example: group, layer and root mean square."""

from typing import TypeAlias

import torch
from torch import nn

from fanin.initializers import InitializerLike
from fanin.nn._start import describe, reset, starts, without_bias

__all__ = ["GroupNorm", "LayerNorm", "RMSNorm"]


Shape: TypeAlias = int | list[int] | torch.Size


class GroupNorm(nn.GroupNorm):
    """torch.nn.GroupNorm, weight and bias [channels], with initializers.

    >>> from fanin.nn import GroupNorm
    >>> GroupNorm(2, 4, weight_initializer="zeros").weight.tolist()
    [0.0, 0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
        weight_initializer: InitializerLike | None = None,
        bias_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(
            weight_initializer=weight_initializer, bias_initializer=bias_initializer
        )
        super().__init__(
            num_groups, num_channels, eps, affine, device, dtype, **without_bias(bias=bias)
        )

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class LayerNorm(nn.LayerNorm):
    """torch.nn.LayerNorm, weight and bias [*normalized_shape], with initializers.

    >>> from fanin.nn import LayerNorm
    >>> LayerNorm(3, weight_initializer=0.5).weight.tolist()
    [0.5, 0.5, 0.5]
    """

    def __init__(
        self,
        normalized_shape: Shape,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        weight_initializer: InitializerLike | None = None,
        bias_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(
            weight_initializer=weight_initializer, bias_initializer=bias_initializer
        )
        super().__init__(normalized_shape, eps, elementwise_affine, bias, device, dtype)

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class RMSNorm(nn.RMSNorm):
    """torch.nn.RMSNorm, weight [*normalized_shape], with an initializer.

    >>> from fanin.nn import RMSNorm
    >>> RMSNorm(3, weight_initializer=0.5).weight.tolist()
    [0.5, 0.5, 0.5]
    """

    def __init__(
        self,
        normalized_shape: Shape,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        weight_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(weight_initializer=weight_initializer)
        super().__init__(normalized_shape, eps, elementwise_affine, device, dtype)

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)
