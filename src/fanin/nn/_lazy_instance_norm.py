# ruff: noqa: FBT001, FBT002 - the signatures are torch's
"""Instance normalization that learns its features from the first batch."""

import torch
from torch import nn

from fanin.initializers import InitializerLike
from fanin.nn._instance_norm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from fanin.nn._start import describe, has_shapes, require_owned, reset, starts, without_bias

__all__ = ["LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d"]


class LazyInstanceNorm1d(nn.LazyInstanceNorm1d):
    """torch.nn.LazyInstanceNorm1d: an InstanceNorm1d whose ``num_features`` the first batch tells.

    The initializers are written then; the layer becomes a `fanin.nn.InstanceNorm1d` with them.

    >>> import torch
    >>> from fanin.nn import LazyInstanceNorm1d
    >>> layer = LazyInstanceNorm1d(weight_initializer=0.5)
    >>> _ = layer(torch.ones(2, 3, 5))
    >>> type(layer).__name__, layer.weight.tolist()
    ('InstanceNorm1d', [0.5, 0.5, 0.5])
    """

    cls_to_become = InstanceNorm1d

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


class LazyInstanceNorm2d(nn.LazyInstanceNorm2d):
    """torch.nn.LazyInstanceNorm2d: an InstanceNorm2d whose ``num_features`` the first batch tells.

    The initializers are written then; the layer becomes a `fanin.nn.InstanceNorm2d` with them.

    >>> import torch
    >>> from fanin.nn import LazyInstanceNorm2d
    >>> layer = LazyInstanceNorm2d(weight_initializer=0.5)
    >>> _ = layer(torch.ones(2, 3, 5, 5))
    >>> type(layer).__name__, layer.weight.tolist()
    ('InstanceNorm2d', [0.5, 0.5, 0.5])
    """

    cls_to_become = InstanceNorm2d

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


class LazyInstanceNorm3d(nn.LazyInstanceNorm3d):
    """torch.nn.LazyInstanceNorm3d: an InstanceNorm3d whose ``num_features`` the first batch tells.

    The initializers are written then; the layer becomes a `fanin.nn.InstanceNorm3d` with them.

    >>> import torch
    >>> from fanin.nn import LazyInstanceNorm3d
    >>> layer = LazyInstanceNorm3d(weight_initializer=0.5)
    >>> _ = layer(torch.ones(2, 3, 5, 5, 5))
    >>> type(layer).__name__, layer.weight.tolist()
    ('InstanceNorm3d', [0.5, 0.5, 0.5])
    """

    cls_to_become = InstanceNorm3d

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
