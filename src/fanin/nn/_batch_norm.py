# ruff: noqa: ANN401, FBT001, FBT002 - the signatures are torch's
"""Batch normalization."""

from typing import Any

import torch
from torch import nn

from fanin.initializers import InitializerLike
from fanin.nn._start import describe, reset, starts, without_bias

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"]


class BatchNorm1d(nn.BatchNorm1d):
    """torch.nn.BatchNorm1d, weight and bias [features], with initializers.

    >>> from fanin.nn import BatchNorm1d
    >>> BatchNorm1d(3, weight_initializer="zeros").weight.tolist()
    [0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
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


class BatchNorm2d(nn.BatchNorm2d):
    """torch.nn.BatchNorm2d, weight and bias [features], with initializers.

    >>> from fanin.nn import BatchNorm2d
    >>> BatchNorm2d(3, weight_initializer="zeros").weight.tolist()
    [0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
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


class BatchNorm3d(nn.BatchNorm3d):
    """torch.nn.BatchNorm3d, weight and bias [features], with initializers.

    >>> from fanin.nn import BatchNorm3d
    >>> BatchNorm3d(3, weight_initializer="zeros").weight.tolist()
    [0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
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


class SyncBatchNorm(nn.SyncBatchNorm):
    """torch.nn.SyncBatchNorm, weight and bias [features], with initializers.

    ``convert_sync_batchnorm`` gives torch's own layers, which keep the values they find.

    >>> from fanin.nn import SyncBatchNorm
    >>> SyncBatchNorm(3, weight_initializer="zeros").weight.tolist()
    [0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any | None = None,
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
            process_group,
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
