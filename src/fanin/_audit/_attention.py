"""How even attention is: the entropy of its shares, also where a fused kernel hides them."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final

import torch
from torch import Tensor

from fanin._audit._measure import real

__all__ = ["entropy"]

_ROWS = 4096
"""Rows of a softmax of which the entropy is averaged, at most."""
_PAIRS, _QUERIES = 8, 64
"""Heads, and queries of each, whose scores are computed again for a fused kernel, at most."""
_MASKED = 5e3
"""Scores so far below the largest are a mask: -1e4, -1e9, the lowest number, -inf."""
_SOFTMAX: Final = ("_softmax", "_safe_softmax", "softmax")
_CAUSAL: Final = {
    "_scaled_dot_product_flash_attention_for_cpu": 4,
    "_scaled_dot_product_flash_attention": 4,
    "_scaled_dot_product_efficient_attention": 6,
    "_scaled_dot_product_cudnn_attention": 6,
}
"""Fused kernels, and the place of ``is_causal`` among their arguments."""


def entropy(operation: str, args: Sequence[Any], keywords: Mapping[str, Any]) -> float | None:
    """The mean entropy of attention's shares, as a part of log(number of allowed positions).

    None for what is no attention: other operations, and a softmax over fewer than three axes.

    >>> entropy("_softmax", [torch.zeros(1, 2, 4, 4), -1], {})
    1.0
    """
    if operation in _SOFTMAX:
        scores = args[0]
        is_last = len(args) < 2 or args[1] in (-1, scores.ndim - 1)
        return _entropy(real(scores)) if scores.ndim >= 3 and is_last else None
    return _entropy(_scores(operation, args, keywords)) if operation in _CAUSAL else None


def _entropy(scores: Tensor) -> float | None:
    rows = scores.flatten(0, -2)
    rows = rows[:: max(1, len(rows) // _ROWS)].double()
    # Masks are -inf, or so low that no share is left; a collapsed row has low scores, not masked.
    allowed = (rows > rows.amax(-1, keepdim=True) - _MASKED).sum(-1)
    rows, allowed = rows[allowed > 1], allowed[allowed > 1]
    if not len(rows) or not bool(rows.amax(-1).isfinite().all()):
        return None
    shares = torch.softmax(rows, -1)
    return float((torch.special.entr(shares).sum(-1) / allowed.double().log()).mean())


def _scores(operation: str, args: Sequence[Any], keywords: Mapping[str, Any]) -> Tensor:
    """Scores [heads, queries, keys] of some heads and queries, computed as the kernel does."""
    query, key = (real(one) for one in args[:2])
    heads, length, wide = prod(query.shape[:-2]), query.shape[-2], key.shape[-2]
    key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    few = torch.arange(0, heads, max(1, heads // _PAIRS), device=query.device)
    chosen = torch.arange(0, length, max(1, length // _QUERIES), device=query.device)
    some = query.flatten(0, -3)[few][:, chosen]
    scores = some @ key.flatten(0, -3)[few].transpose(1, 2)
    scores = scores * (keywords.get("scale") or query.shape[-1] ** -0.5)
    mask = _mask(args, keywords)
    if mask is not None:
        whole = mask.expand(*query.shape[:-2], length, wide)
        part = whole.flatten(0, -3)[few][:, chosen]
        scores = (
            scores.masked_fill(~part, -torch.inf) if part.dtype == torch.bool else scores + part
        )
    if _is_causal(operation, args, keywords):
        later = torch.arange(wide, device=query.device) > chosen[:, None]
        scores = scores.masked_fill(later, -torch.inf)
    found: Tensor = scores
    return found


def _mask(args: Sequence[Any], keywords: Mapping[str, Any]) -> Tensor | None:
    found = keywords.get("attn_mask", keywords.get("attn_bias"))
    if found is None and len(args) > 3:
        found = args[3]
    return found if isinstance(found, Tensor) else None


def _is_causal(operation: str, args: Sequence[Any], keywords: Mapping[str, Any]) -> bool:
    place = _CAUSAL[operation]
    return bool(keywords.get("is_causal", args[place] if len(args) > place else False))
