# ruff: noqa: FBT001, FBT002 - the signatures are torch's
"""Convolutions that learn their input channels from the first batch."""

from typing import Literal

import torch
from torch import nn
from torch.nn.common_types import _size_1_t, _size_2_t, _size_3_t

from fanin.initializers import InitializerLike
from fanin.nn._convolution import Conv1d, Conv2d, Conv3d
from fanin.nn._start import describe, has_shapes, require_owned, reset, starts

__all__ = ["LazyConv1d", "LazyConv2d", "LazyConv3d"]


class LazyConv1d(nn.LazyConv1d):
    """torch.nn.LazyConv1d: a Conv1d whose ``in_channels`` the first batch tells.

    The initializers draw then, and the layer becomes a `fanin.nn.Conv1d` that keeps them.

    >>> import torch
    >>> from fanin.nn import LazyConv1d
    >>> layer = LazyConv1d(5, 3, weight_initializer=0.5, bias_initializer=0)
    >>> _ = layer(torch.ones(1, 3, 8))
    >>> type(layer).__name__, tuple(layer.weight.shape), layer.weight.mean().item()
    ('Conv1d', (5, 3, 3), 0.5)
    """

    cls_to_become = Conv1d

    def __init__(
        self,
        out_channels: int,
        kernel_size: _size_1_t,
        stride: _size_1_t = 1,
        padding: _size_1_t = 0,
        dilation: _size_1_t = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        weight_initializer: InitializerLike | None = None,
        bias_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(
            weight_initializer=weight_initializer, bias_initializer=bias_initializer
        )
        super().__init__(
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        require_owned(self, self.initializers)

    def reset_parameters(self) -> None:
        """Draw the parameters as the initializers say, once their shapes are known."""
        if self.in_channels and has_shapes(self):
            reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class LazyConv2d(nn.LazyConv2d):
    """torch.nn.LazyConv2d: a Conv2d whose ``in_channels`` the first batch tells.

    The initializers draw then, and the layer becomes a `fanin.nn.Conv2d` that keeps them.

    >>> import torch
    >>> from fanin.nn import LazyConv2d
    >>> layer = LazyConv2d(5, 3, weight_initializer=0.5, bias_initializer=0)
    >>> _ = layer(torch.ones(1, 3, 8, 8))
    >>> type(layer).__name__, tuple(layer.weight.shape), layer.weight.mean().item()
    ('Conv2d', (5, 3, 3, 3), 0.5)
    """

    cls_to_become = Conv2d

    def __init__(
        self,
        out_channels: int,
        kernel_size: _size_2_t,
        stride: _size_2_t = 1,
        padding: _size_2_t = 0,
        dilation: _size_2_t = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        weight_initializer: InitializerLike | None = None,
        bias_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(
            weight_initializer=weight_initializer, bias_initializer=bias_initializer
        )
        super().__init__(
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        require_owned(self, self.initializers)

    def reset_parameters(self) -> None:
        """Draw the parameters as the initializers say, once their shapes are known."""
        if self.in_channels and has_shapes(self):
            reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class LazyConv3d(nn.LazyConv3d):
    """torch.nn.LazyConv3d: a Conv3d whose ``in_channels`` the first batch tells.

    The initializers draw then, and the layer becomes a `fanin.nn.Conv3d` that keeps them.

    >>> import torch
    >>> from fanin.nn import LazyConv3d
    >>> layer = LazyConv3d(5, 3, weight_initializer=0.5, bias_initializer=0)
    >>> _ = layer(torch.ones(1, 3, 8, 8, 8))
    >>> type(layer).__name__, tuple(layer.weight.shape), layer.weight.mean().item()
    ('Conv3d', (5, 3, 3, 3, 3), 0.5)
    """

    cls_to_become = Conv3d

    def __init__(
        self,
        out_channels: int,
        kernel_size: _size_3_t,
        stride: _size_3_t = 1,
        padding: _size_3_t = 0,
        dilation: _size_3_t = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        weight_initializer: InitializerLike | None = None,
        bias_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(
            weight_initializer=weight_initializer, bias_initializer=bias_initializer
        )
        super().__init__(
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        require_owned(self, self.initializers)

    def reset_parameters(self) -> None:
        """Draw the parameters as the initializers say, once their shapes are known."""
        if self.in_channels and has_shapes(self):
            reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)
