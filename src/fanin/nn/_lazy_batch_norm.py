# ruff: noqa: FBT001, FBT002 - the signatures are torch's
"""Batch normalization that learns its features from the first batch."""

import torch
from torch import nn

from fanin.initializers import InitializerLike
from fanin.nn._batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from fanin.nn._start import describe, has_shapes, require_owned, reset, starts, without_bias

__all__ = ["LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d"]


class LazyBatchNorm1d(nn.LazyBatchNorm1d):
    """torch.nn.LazyBatchNorm1d: a BatchNorm1d whose ``num_features`` the first batch tells.

    The initializers are written then; the layer becomes a `fanin.nn.BatchNorm1d` with them.

    >>> import torch
    >>> from fanin.nn import LazyBatchNorm1d
    >>> layer = LazyBatchNorm1d(weight_initializer=0.5)
    >>> _ = layer(torch.ones(2, 3, 5))
    >>> type(layer).__name__, layer.weight.tolist()
    ('BatchNorm1d', [0.5, 0.5, 0.5])
    """

    cls_to_become = BatchNorm1d

    def __init__(
        self,
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
            eps, momentum, affine, track_running_stats, device, dtype, **without_bias(bias=bias)
        )
        require_owned(self, self.initializers)

    def reset_parameters(self) -> None:
        """Reset the statistics and write the parameters, once their shapes are known."""
        if self.num_features and has_shapes(self):
            self.reset_running_stats()
            reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class LazyBatchNorm2d(nn.LazyBatchNorm2d):
    """torch.nn.LazyBatchNorm2d: a BatchNorm2d whose ``num_features`` the first batch tells.

    The initializers are written then; the layer becomes a `fanin.nn.BatchNorm2d` with them.

    >>> import torch
    >>> from fanin.nn import LazyBatchNorm2d
    >>> layer = LazyBatchNorm2d(weight_initializer=0.5)
    >>> _ = layer(torch.ones(2, 3, 5, 5))
    >>> type(layer).__name__, layer.weight.tolist()
    ('BatchNorm2d', [0.5, 0.5, 0.5])
    """

    cls_to_become = BatchNorm2d

    def __init__(
        self,
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
            eps, momentum, affine, track_running_stats, device, dtype, **without_bias(bias=bias)
        )
        require_owned(self, self.initializers)

    def reset_parameters(self) -> None:
        """Reset the statistics and write the parameters, once their shapes are known."""
        if self.num_features and has_shapes(self):
            self.reset_running_stats()
            reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class LazyBatchNorm3d(nn.LazyBatchNorm3d):
    """torch.nn.LazyBatchNorm3d: a BatchNorm3d whose ``num_features`` the first batch tells.

    The initializers are written then; the layer becomes a `fanin.nn.BatchNorm3d` with them.

    >>> import torch
    >>> from fanin.nn import LazyBatchNorm3d
    >>> layer = LazyBatchNorm3d(weight_initializer=0.5)
    >>> _ = layer(torch.ones(2, 3, 5, 5, 5))
    >>> type(layer).__name__, layer.weight.tolist()
    ('BatchNorm3d', [0.5, 0.5, 0.5])
    """

    cls_to_become = BatchNorm3d

    def __init__(
        self,
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
            eps, momentum, affine, track_running_stats, device, dtype, **without_bias(bias=bias)
        )
        require_owned(self, self.initializers)

    def reset_parameters(self) -> None:
        """Reset the statistics and write the parameters, once their shapes are known."""
        if self.num_features and has_shapes(self):
            self.reset_running_stats()
            reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)
