# ruff: noqa: FBT001, FBT002 - the signatures are torch's
"""Transposed convolutions that learn their input channels from the first batch."""

from typing import Literal

import torch
from torch import nn
from torch.nn.common_types import _size_1_t, _size_2_t, _size_3_t

from fanin.initializers import InitializerLike
from fanin.nn._start import describe, has_shapes, require_owned, reset, starts
from fanin.nn._transposed import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

__all__ = ["LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d"]


class LazyConvTranspose1d(nn.LazyConvTranspose1d):
    """torch.nn.LazyConvTranspose1d: a ConvTranspose1d whose ``in_channels`` the first batch tells.

    The initializers draw then, and the layer becomes a `fanin.nn.ConvTranspose1d` that keeps them.

    >>> import torch
    >>> from fanin.nn import LazyConvTranspose1d
    >>> layer = LazyConvTranspose1d(5, 3, weight_initializer=0.5, bias_initializer=0)
    >>> _ = layer(torch.ones(1, 3, 8))
    >>> type(layer).__name__, tuple(layer.weight.shape), layer.weight.mean().item()
    ('ConvTranspose1d', (3, 5, 3), 0.5)
    """

    cls_to_become = ConvTranspose1d

    def __init__(
        self,
        out_channels: int,
        kernel_size: _size_1_t,
        stride: _size_1_t = 1,
        padding: _size_1_t = 0,
        output_padding: _size_1_t = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: _size_1_t = 1,
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
            output_padding,
            groups,
            bias,
            dilation,
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


class LazyConvTranspose2d(nn.LazyConvTranspose2d):
    """torch.nn.LazyConvTranspose2d: a ConvTranspose2d whose ``in_channels`` the first batch tells.

    The initializers draw then, and the layer becomes a `fanin.nn.ConvTranspose2d` that keeps them.

    >>> import torch
    >>> from fanin.nn import LazyConvTranspose2d
    >>> layer = LazyConvTranspose2d(5, 3, weight_initializer=0.5, bias_initializer=0)
    >>> _ = layer(torch.ones(1, 3, 8, 8))
    >>> type(layer).__name__, tuple(layer.weight.shape), layer.weight.mean().item()
    ('ConvTranspose2d', (3, 5, 3, 3), 0.5)
    """

    cls_to_become = ConvTranspose2d

    def __init__(
        self,
        out_channels: int,
        kernel_size: _size_2_t,
        stride: _size_2_t = 1,
        padding: _size_2_t = 0,
        output_padding: _size_2_t = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int = 1,
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
            output_padding,
            groups,
            bias,
            dilation,
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


class LazyConvTranspose3d(nn.LazyConvTranspose3d):
    """torch.nn.LazyConvTranspose3d: a ConvTranspose3d whose ``in_channels`` the first batch tells.

    The initializers draw then, and the layer becomes a `fanin.nn.ConvTranspose3d` that keeps them.

    >>> import torch
    >>> from fanin.nn import LazyConvTranspose3d
    >>> layer = LazyConvTranspose3d(5, 3, weight_initializer=0.5, bias_initializer=0)
    >>> _ = layer(torch.ones(1, 3, 8, 8, 8))
    >>> type(layer).__name__, tuple(layer.weight.shape), layer.weight.mean().item()
    ('ConvTranspose3d', (3, 5, 3, 3, 3), 0.5)
    """

    cls_to_become = ConvTranspose3d

    def __init__(
        self,
        out_channels: int,
        kernel_size: _size_3_t,
        stride: _size_3_t = 1,
        padding: _size_3_t = 0,
        output_padding: _size_3_t = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: _size_3_t = 1,
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
            output_padding,
            groups,
            bias,
            dilation,
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
