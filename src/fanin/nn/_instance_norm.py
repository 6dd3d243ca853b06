# ruff: noqa: FBT001, FBT002 - the signatures are torch's
"""Instance normalization."""

import torch
from torch import nn

from fanin.initializers import InitializerLike
from fanin.nn._start import describe, reset, starts, without_bias

__all__ = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]


class InstanceNorm1d(nn.InstanceNorm1d):
    """torch.nn.InstanceNorm1d, weight and bias [features], with initializers.

    It has a weight only with ``affine=True``, which is not torch's default.

    >>> from fanin.nn import InstanceNorm1d
    >>> InstanceNorm1d(3, affine=True, weight_initializer=0.5).weight.tolist()
    [0.5, 0.5, 0.5]
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
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
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            device,
            dtype,
            **without_bias(bias=bias),
        )

    def reset_parameters(self) -> None:
        """Reset the running statistics, and write the parameters again by the initializers."""
        self.reset_running_stats()
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class InstanceNorm2d(nn.InstanceNorm2d):
    """torch.nn.InstanceNorm2d, weight and bias [features], with initializers.

    It has a weight only with ``affine=True``, which is not torch's default.

    >>> from fanin.nn import InstanceNorm2d
    >>> InstanceNorm2d(3, affine=True, weight_initializer=0.5).weight.tolist()
    [0.5, 0.5, 0.5]
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
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
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            device,
            dtype,
            **without_bias(bias=bias),
        )

    def reset_parameters(self) -> None:
        """Reset the running statistics, and write the parameters again by the initializers."""
        self.reset_running_stats()
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class InstanceNorm3d(nn.InstanceNorm3d):
    """torch.nn.InstanceNorm3d, weight and bias [features], with initializers.

    It has a weight only with ``affine=True``, which is not torch's default.

    >>> from fanin.nn import InstanceNorm3d
    >>> InstanceNorm3d(3, affine=True, weight_initializer=0.5).weight.tolist()
    [0.5, 0.5, 0.5]
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
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
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            device,
            dtype,
            **without_bias(bias=bias),
        )

    def reset_parameters(self) -> None:
        """Reset the running statistics, and write the parameters again by the initializers."""
        self.reset_running_stats()
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)
