# ruff: noqa: FBT001, FBT002 - the signatures are torch's
"""Recurrent layers."""

import torch
from torch import nn

from fanin.initializers import InitializerLike
from fanin.nn._start import describe, reset, starts

__all__ = ["GRU", "LSTM", "RNN"]


class RNN(nn.RNN):
    """torch.nn.RNN, weight_ih [hidden, in], weight_hh [hidden, hidden], with initializers.

    An argument is for its kind of weight in all layers and both directions, each drawn apart.

    >>> from fanin.nn import RNN
    >>> layer = RNN(4, 3, weight_hh_initializer="identity")
    >>> layer.weight_hh_l0.tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
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
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            nonlinearity,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class LSTM(nn.LSTM):
    """torch.nn.LSTM, weight_ih [4 hidden, in], weight_hh [4 hidden, hidden], with initializers.

    Fans and matrices are those of one gate, in the order input, forget, cell, output.
    An argument is for its kind of weight in all layers and both directions, each drawn apart.
    weight_hr [proj_size, hidden] exists only with ``proj_size``.

    >>> from fanin.initializers import ForgetGate
    >>> from fanin.nn import LSTM
    >>> layer = LSTM(2, 1, bias_ih_initializer=ForgetGate(1.0), bias_hh_initializer="zeros")
    >>> layer.bias_ih_l0.tolist()
    [0.0, 1.0, 0.0, 0.0]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        weight_ih_initializer: InitializerLike | None = None,
        weight_hh_initializer: InitializerLike | None = None,
        weight_hr_initializer: InitializerLike | None = None,
        bias_ih_initializer: InitializerLike | None = None,
        bias_hh_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(
            weight_ih_initializer=weight_ih_initializer,
            weight_hh_initializer=weight_hh_initializer,
            weight_hr_initializer=weight_hr_initializer,
            bias_ih_initializer=bias_ih_initializer,
            bias_hh_initializer=bias_hh_initializer,
        )
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device=device,
            dtype=dtype,
        )

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class GRU(nn.GRU):
    """torch.nn.GRU, weight_ih [3 hidden, in], weight_hh [3 hidden, hidden], with initializers.

    Fans and matrices are those of one gate, in the order reset, update, new.
    An argument is for its kind of weight in all layers and both directions, each drawn apart.

    >>> import torch
    >>> from fanin.nn import GRU
    >>> layer = GRU(2, 4, weight_hh_initializer="orthogonal")
    >>> _, update, _ = layer.weight_hh_l0.detach().chunk(3)
    >>> torch.allclose(update @ update.T, torch.eye(4), atol=1e-5)
    True
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
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
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)
