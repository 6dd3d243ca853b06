# ruff: noqa: FBT001, FBT002 - the signatures are torch's
"""Attention."""

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from fanin.initializers import InitializerLike
from fanin.nn._start import describe, is_complete, reset, starts

__all__ = ["MultiheadAttention"]


class MultiheadAttention(nn.MultiheadAttention):
    """torch.nn.MultiheadAttention, in_proj_weight [3 embed, embed], with initializers.

    ``in_proj_weight_initializer`` draws query, key and value each as a matrix of its own, packed
    or not (``kdim``, ``vdim``). out_proj_weight is [embed, embed]. bias_k and bias_v exist only
    with ``add_bias_kv`` and have no fans.

    >>> from fanin.nn import MultiheadAttention
    >>> layer = MultiheadAttention(64, 4, in_proj_weight_initializer="xavier_uniform")
    >>> bound = (6 / (64 + 64)) ** 0.5
    >>> print(f"bound {bound:.2f}, largest {layer.in_proj_weight.abs().max():.2f}")
    bound 0.22, largest 0.22
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        in_proj_weight_initializer: InitializerLike | None = None,
        in_proj_bias_initializer: InitializerLike | None = None,
        out_proj_weight_initializer: InitializerLike | None = None,
        out_proj_bias_initializer: InitializerLike | None = None,
        bias_k_initializer: InitializerLike | None = None,
        bias_v_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(
            in_proj_weight_initializer=in_proj_weight_initializer,
            in_proj_bias_initializer=in_proj_bias_initializer,
            out_proj_weight_initializer=out_proj_weight_initializer,
            out_proj_bias_initializer=out_proj_bias_initializer,
            bias_k_initializer=bias_k_initializer,
            bias_v_initializer=bias_v_initializer,
        )
        # torch draws out_proj where it is made, whatever is asked here: on meta that costs nothing.
        super().__init__(
            embed_dim,
            num_heads,
            dropout,
            bias,
            add_bias_kv,
            add_zero_attn,
            kdim,
            vdim,
            batch_first,
            "meta" if self.initializers else device,
            dtype,
        )
        if self.initializers:
            self.out_proj = OutputProjection(
                embed_dim,
                bias,
                dtype,
                weight_initializer=out_proj_weight_initializer,
                bias_initializer=out_proj_bias_initializer,
            )
            # torch.get_default_device() does not see `with torch.device(...)` in every release.
            self.to_empty(device=torch.empty(0).device if device is None else device)
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say; torch's layer has only `_reset`."""
        if not is_complete(self, self.initializers):
            nn.Linear.reset_parameters(self.out_proj)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        reset(self, self.initializers, super()._reset_parameters)

    def extra_repr(self) -> str:
        """The initializers."""
        return describe(super().extra_repr, self.initializers)


class OutputProjection(NonDynamicallyQuantizableLinear):
    """The ``out_proj`` of an attention layer, which obeys also when it is reset by itself.

    Loops that call every module's ``reset_parameters`` reach it after its attention layer.
    """

    def __init__(
        self,
        embed_dim: int,
        bias: bool,
        dtype: torch.dtype | None,
        *,
        weight_initializer: InitializerLike | None,
        bias_initializer: InitializerLike | None,
    ) -> None:
        self.initializers = starts(
            weight_initializer=weight_initializer, bias_initializer=bias_initializer
        )
        super().__init__(embed_dim, embed_dim, bias, "meta", dtype)

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the attention layer's initializers say."""
        reset(self, self.initializers, super().reset_parameters)
