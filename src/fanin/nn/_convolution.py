# ruff: noqa: FBT001, FBT002 - the signatures are torch's
"""Convolutions."""

from typing import Literal

import torch
from torch import nn
from torch.nn.common_types import _size_1_t, _size_2_t, _size_3_t

from fanin.initializers import InitializerLike
from fanin.nn._start import describe, reset, starts

__all__ = ["Conv1d", "Conv2d", "Conv3d"]


class Conv1d(nn.Conv1d):
    """torch.nn.Conv1d, weight [out, in / groups, kernel], with initializers.

    Fans count the groups: an output sums ``in / groups * kernel`` products.

    >>> import fanin
    >>> from fanin.initializers import kaiming_uniform
    >>> layer = fanin.nn.Conv1d(64, 128, 3, groups=4, weight_initializer=kaiming_uniform("relu"))
    >>> bound = (6 / (64 / 4 * 3)) ** 0.5
    >>> print(f"bound {bound:.2f}, largest {layer.weight.abs().max():.2f}")
    bound 0.35, largest 0.35
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_1_t,
        stride: _size_1_t = 1,
        padding: str | _size_1_t = 0,
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
            in_channels,
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

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class Conv2d(nn.Conv2d):
    """torch.nn.Conv2d, weight [out, in / groups, kernel, kernel], with initializers.

    Fans count the groups: an output sums ``in / groups * kernel`` products.

    >>> import fanin
    >>> from fanin.initializers import kaiming_uniform
    >>> layer = fanin.nn.Conv2d(64, 128, 3, groups=4, weight_initializer=kaiming_uniform("relu"))
    >>> bound = (6 / (64 / 4 * 9)) ** 0.5
    >>> print(f"bound {bound:.2f}, largest {layer.weight.abs().max():.2f}")
    bound 0.20, largest 0.20
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_2_t,
        stride: _size_2_t = 1,
        padding: str | _size_2_t = 0,
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
            in_channels,
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

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class Conv3d(nn.Conv3d):
    """torch.nn.Conv3d, weight [out, in / groups, kernel, kernel, kernel], with initializers.

    Fans count the groups: an output sums ``in / groups * kernel`` products.

    >>> import fanin
    >>> from fanin.initializers import kaiming_uniform
    >>> layer = fanin.nn.Conv3d(64, 128, 3, groups=4, weight_initializer=kaiming_uniform("relu"))
    >>> bound = (6 / (64 / 4 * 27)) ** 0.5
    >>> print(f"bound {bound:.2f}, largest {layer.weight.abs().max():.2f}")
    bound 0.12, largest 0.12
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_3_t,
        stride: _size_3_t = 1,
        padding: str | _size_3_t = 0,
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
            in_channels,
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

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)
