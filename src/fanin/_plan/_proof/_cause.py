"""A guess at why a tensor is not its draw, from a few thousand of its numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from fanin._plan._draw._part import Part
from fanin._plan._draw._slices import costs_its_size
from fanin._plan._proof._held import Held
from fanin._plan._proof._verification import Comparison
from fanin._text import number

__all__ = ["cause_of"]

_SAMPLE: Final = 1 << 12
_SEEDS: Final = (*range(10), 42, 123, 1234, 1337)
"""Those that people use."""
_DTYPES: Final = (torch.bfloat16, torch.float16, torch.float32)
_FEW: Final = 16
"""So many are a few, or one in a hundred."""


def cause_of(different: Sequence[tuple[Held, Comparison]], held: Sequence[Held], seed: int) -> str:
    """What is likely to have happened, or an empty text."""
    differing = sum(result.differing for _, result in different)
    elements = sum(result.elements for _, result in different)
    if differing <= max(_FEW, elements // 100):
        return (
            f"only {differing:,} of {elements:,} numbers in these tensors differ: they were "
            "changed after the draw, or damaged"
        )
    random = [
        one
        for one, result in different
        if costs_its_size(one.initializer, one.entry) and one.entry.std > 0 and result.elements
    ]
    if not random:
        return (
            "their starts are constants or matrices, and were changed after the draw, or drawn "
            "by another recipe"
        )
    return next(_guesses(random[0], held, seed), "")


def _guesses(one: Held, held: Sequence[Held], seed: int) -> Iterator[str]:
    """The surest first."""
    part, found = _sample(one, seed)
    if found.isnan().all():
        yield "it is full of NaN: memory that nobody filled"
    for dtype in _DTYPES:
        if dtype != found.dtype and torch.equal(_drawn(part, found, seed, dtype), found):
            yield f"it is the draw as {_name(dtype)} holds it: the model was cast and cast back"
    for other_seed in _SEEDS:
        if other_seed != seed and torch.equal(_drawn(part, found, other_seed), found):
            yield f"seed {other_seed} gives these numbers"
    for other in held:
        if other.local.shape == one.local.shape and other.entry is not one.entry:
            swapped = replace(part, draw=other.part.draw, axes=other.part.axes)
            same = costs_its_size(other.initializer, other.entry)
            if same and torch.equal(_drawn(swapped, found, seed), found):
                yield f"{one.name} holds the start of {other.name}: they were swapped or renamed"
    yield _by_numbers(one, found, _drawn(part, found, seed))


def _sample(one: Held, seed: int) -> tuple[Part, Tensor]:
    """A small piece that differs, and what it holds."""
    pieces = ((part, local.detach().cpu().contiguous()) for part, local, _ in one.pieces(_SAMPLE))
    return next(
        (part, found) for part, found in pieces if not torch.equal(_drawn(part, found, seed), found)
    )


def _by_numbers(one: Held, found: Tensor, planned: Tensor) -> str:
    """From how the numbers go together."""
    a, b = (_real(tensor).double().flatten() for tensor in (found, planned))
    moved = float((a - b).norm() / b.norm())
    factor = float((a @ b) / (b @ b))
    std, wanted = float(a.std(correction=0)), one.entry.std
    step = 2 * torch.finfo(one.local.dtype).eps
    if abs(factor - 1) > step and float((a - factor * b).norm()) < step * float(a.norm()):
        return (
            f"{one.name} is {factor:.4g} times the planned start: another recipe, or scaled after "
            "the draw"
        )
    if a.numel() > _FEW and bool((a[b.argsort()].diff() >= 0).all()):
        return f"{one.name} has the numbers of this seed under another law: another recipe"
    if moved < 0.5:
        return (
            f"{one.name} is near the planned start, {moved:.2g} of its size away: trained, or "
            "changed after the draw"
        )
    if abs(std - wanted) < 0.1 * wanted:
        return (
            f"{one.name} has the planned std {number(wanted)} and other numbers: another seed, or "
            "drawn by other code"
        )
    return (
        f"{one.name} has std {number(std)}, planned {number(wanted)}: another recipe, or drawn by "
        "other code"
    )


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _drawn(part: Part, like: Tensor, seed: int, dtype: torch.dtype | None = None) -> Tensor:
    drawn = part.draw_into(torch.empty(like.shape, dtype=dtype or like.dtype), seed)
    return drawn.to(like.dtype)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
