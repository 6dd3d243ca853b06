# ruff: noqa: FBT001, FBT002 - the signatures are torch's
"""Recurrent cells, one step at a time."""

import torch
from torch import nn

from fanin.initializers import InitializerLike
from fanin.nn._start import describe, reset, starts

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]


class RNNCell(nn.RNNCell):
    """torch.nn.RNNCell, weight_ih [hidden, in], weight_hh [hidden, hidden], with initializers.

    >>> from fanin.nn import RNNCell
    >>> RNNCell(4, 2, weight_hh_initializer="identity").weight_hh.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        weight_ih_initializer: InitializerLike | None = None,
        weight_hh_initializer: InitializerLike | None = None,
        bias_ih_initializer: InitializerLike | None = None,
        bias_hh_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(
            weight_ih_initializer=weight_ih_initializer,
            weight_hh_initializer=weight_hh_initializer,
            bias_ih_initializer=bias_ih_initializer,
            bias_hh_initializer=bias_hh_initializer,
        )
        super().__init__(input_size, hidden_size, bias, nonlinearity, device, dtype)

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class LSTMCell(nn.LSTMCell):
    """torch.nn.LSTMCell, weight_ih [4 hidden, in], weight_hh [4 hidden, hidden], with initializers.

    Fans and matrices are those of one gate, in the order input, forget, cell, output.

    >>> from fanin.nn import LSTMCell
    >>> LSTMCell(2, 1, bias_ih_initializer="forget_gate", bias_hh_initializer=0).bias_ih.tolist()
    [0.0, 1.0, 0.0, 0.0]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        weight_ih_initializer: InitializerLike | None = None,
        weight_hh_initializer: InitializerLike | None = None,
        bias_ih_initializer: InitializerLike | None = None,
        bias_hh_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(
            weight_ih_initializer=weight_ih_initializer,
            weight_hh_initializer=weight_hh_initializer,
            bias_ih_initializer=bias_ih_initializer,
            bias_hh_initializer=bias_hh_initializer,
        )
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class GRUCell(nn.GRUCell):
    """torch.nn.GRUCell, weight_ih [3 hidden, in], weight_hh [3 hidden, hidden], with initializers.

    Fans and matrices are those of one gate, in the order reset, update, new.

    >>> from fanin.nn import GRUCell
    >>> GRUCell(2, 1, bias_ih_initializer="forget_gate", bias_hh_initializer=0).bias_ih.tolist()
    [0.0, 1.0, 0.0]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        weight_ih_initializer: InitializerLike | None = None,
        weight_hh_initializer: InitializerLike | None = None,
        bias_ih_initializer: InitializerLike | None = None,
        bias_hh_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(
            weight_ih_initializer=weight_ih_initializer,
            weight_hh_initializer=weight_hh_initializer,
            bias_ih_initializer=bias_ih_initializer,
            bias_hh_initializer=bias_hh_initializer,
        )
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)
