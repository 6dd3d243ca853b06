# ruff: noqa: FBT001, FBT002 - the signatures are torch's
"""Linear and bilinear layers."""

import torch
from torch import nn

from fanin.initializers import InitializerLike
from fanin.nn._start import describe, has_shapes, require_owned, reset, starts

__all__ = ["Bilinear", "LazyLinear", "Linear"]


class Linear(nn.Linear):
    """torch.nn.Linear, weight [out, in], with initializers for ``weight`` and ``bias``.

    >>> from fanin.nn import Linear
    >>> layer = Linear(784, 128, weight_initializer="xavier_uniform", bias_initializer="zeros")
    >>> print(f"bound {(6 / (784 + 128)) ** 0.5:.4f}, largest {layer.weight.abs().max():.4f}")
    bound 0.0811, largest 0.0811
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
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
        super().__init__(in_features, out_features, bias, device, dtype)

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class Bilinear(nn.Bilinear):
    """torch.nn.Bilinear, weight [out, in1, in2], with initializers.

    ``fan_in`` is ``in1 * in2``: an output sums every pair of inputs.

    >>> from fanin.nn import Bilinear
    >>> layer = Bilinear(20, 30, 40, weight_initializer="lecun_uniform")
    >>> print(f"bound {(3 / (20 * 30)) ** 0.5:.2f}, largest {layer.weight.abs().max():.2f}")
    bound 0.07, largest 0.07
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
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
        super().__init__(in1_features, in2_features, out_features, bias, device, dtype)

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class LazyLinear(nn.LazyLinear):
    """torch.nn.LazyLinear: a Linear whose ``in_features`` the first batch tells.

    The initializers draw then, and the layer becomes a `fanin.nn.Linear` that keeps them.

    >>> import torch
    >>> from fanin.nn import LazyLinear
    >>> layer = LazyLinear(5, weight_initializer=0.5, bias_initializer=0)
    >>> layer(torch.ones(1, 4)).tolist(), type(layer).__name__
    ([[2.0, 2.0, 2.0, 2.0, 2.0]], 'Linear')
    """

    cls_to_become = Linear

    def __init__(
        self,
        out_features: int,
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
        super().__init__(out_features, bias, device, dtype)
        require_owned(self, self.initializers)

    def reset_parameters(self) -> None:
        """Draw the parameters as the initializers say, once their shapes are known."""
        if self.in_features and has_shapes(self):
            reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)
