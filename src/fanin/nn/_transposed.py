# ruff: noqa: FBT001, FBT002 - the signatures are torch's
"""Transposed convolutions."""

from typing import Literal

import torch
from torch import nn
from torch.nn.common_types import _size_1_t, _size_2_t, _size_3_t

from fanin.initializers import InitializerLike
from fanin.nn._start import describe, reset, starts

__all__ = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class ConvTranspose1d(nn.ConvTranspose1d):
    """torch.nn.ConvTranspose1d, weight [in, out / groups, kernel].

    Fans count the stride: away from the borders an output sums ``in / groups * kernel / stride``
    products, which torch.nn.init does not know.

    >>> import fanin
    >>> layer = fanin.nn.ConvTranspose1d(64, 32, 4, stride=2, weight_initializer="lecun_uniform")
    >>> bound = (3 / (64 * 4 / 2)) ** 0.5
    >>> print(f"bound {bound:.2f}, largest {layer.weight.abs().max():.2f}")
    bound 0.15, largest 0.15
    """

    def __init__(
        self,
        in_channels: int,
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
            in_channels,
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

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class ConvTranspose2d(nn.ConvTranspose2d):
    """torch.nn.ConvTranspose2d, weight [in, out / groups, kernel, kernel].

    Fans count the stride: away from the borders an output sums ``in / groups * kernel / stride``
    products, which torch.nn.init does not know.

    >>> import fanin
    >>> layer = fanin.nn.ConvTranspose2d(64, 32, 4, stride=2, weight_initializer="lecun_uniform")
    >>> bound = (3 / (64 * 16 / 4)) ** 0.5
    >>> print(f"bound {bound:.2f}, largest {layer.weight.abs().max():.2f}")
    bound 0.11, largest 0.11
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_2_t,
        stride: _size_2_t = 1,
        padding: _size_2_t = 0,
        output_padding: _size_2_t = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: _size_2_t = 1,
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
            in_channels,
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

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class ConvTranspose3d(nn.ConvTranspose3d):
    """torch.nn.ConvTranspose3d, weight [in, out / groups, kernel, kernel, kernel].

    Fans count the stride: away from the borders an output sums ``in / groups * kernel / stride``
    products, which torch.nn.init does not know.

    >>> import fanin
    >>> layer = fanin.nn.ConvTranspose3d(64, 32, 4, stride=2, weight_initializer="lecun_uniform")
    >>> bound = (3 / (64 * 64 / 8)) ** 0.5
    >>> print(f"bound {bound:.2f}, largest {layer.weight.abs().max():.2f}")
    bound 0.08, largest 0.08
    """

    def __init__(
        self,
        in_channels: int,
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
            in_channels,
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

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)
