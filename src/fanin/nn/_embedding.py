# ruff: noqa: FBT001, FBT002 - the signatures are torch's
"""Embeddings."""

import torch
from torch import Tensor, nn

from fanin._errors import FaninError
from fanin.initializers import InitializerLike
from fanin.nn._start import Starts, describe, reset, starts

__all__ = ["Embedding", "EmbeddingBag"]


class Embedding(nn.Embedding):
    """torch.nn.Embedding, weight [rows, dimensions], with an initializer.

    ``fan_in`` is 1, as an output is one row; ``fan_out`` is the dimensions. The row ``padding_idx``
    is zero after every draw, as in torch. ``from_pretrained`` draws nothing.

    >>> from fanin.nn import Embedding
    >>> Embedding(3, 2, padding_idx=0, weight_initializer=0.5).weight.tolist()
    [[0.0, 0.0], [0.5, 0.5], [0.5, 0.5]]
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        weight_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(weight_initializer=weight_initializer)
        _require_one_start(_weight, self.initializers)
        super().__init__(
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight,
            _freeze,
            device,
            dtype,
        )

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


class EmbeddingBag(nn.EmbeddingBag):
    """torch.nn.EmbeddingBag, weight [rows, dimensions], with an initializer.

    ``fan_in`` is 1, that of one row: the size of a bag is not known. The row ``padding_idx`` is
    zero after every draw, as in torch. ``from_pretrained`` draws nothing.

    >>> from fanin.nn import EmbeddingBag
    >>> EmbeddingBag(3, 2, padding_idx=0, weight_initializer=0.5).weight.tolist()
    [[0.0, 0.0], [0.5, 0.5], [0.5, 0.5]]
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        *,
        weight_initializer: InitializerLike | None = None,
    ) -> None:
        self.initializers = starts(weight_initializer=weight_initializer)
        _require_one_start(_weight, self.initializers)
        super().__init__(
            num_embeddings,
            embedding_dim,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            mode,
            sparse,
            _weight,
            include_last_offset,
            padding_idx,
            device,
            dtype,
        )

    def reset_parameters(self) -> None:
        """Draw the parameters again, as the initializers say."""
        reset(self, self.initializers, super().reset_parameters)

    def extra_repr(self) -> str:
        """torch's text, and the initializers."""
        return describe(super().extra_repr, self.initializers)


def _require_one_start(weight: Tensor | None, chosen: Starts) -> None:
    if weight is not None and chosen:
        raise FaninError(
            "two starts for one weight",
            where="fanin.nn, an embedding",
            found=f"_weight and weight_initializer={chosen['weight_initializer']!r}",
            fix="give one of them",
        )
