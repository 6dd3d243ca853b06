"""Proofs of a start: `Plan.verify` against drawing it anew."""

import torch
from torch import nn

import fanin
from timing import Row, interleaved

__all__ = ["proofs"]

WIDTH = 4096


def proofs(*, quick: bool) -> list[Row]:
    """One proof that a model holds its planned start, in turn with one apply of the plan."""
    cases = (
        ("float32, Kaiming", torch.float32, fanin.recipes.kaiming, 2 if quick else 16),
        ("bfloat16, Kaiming", torch.bfloat16, fanin.recipes.kaiming, 2 if quick else 16),
        ("float32, orthogonal", torch.float32, fanin.recipes.orthogonal, 1 if quick else 4),
    )
    return [_row(*case) for case in cases]


def _row(name: str, dtype: torch.dtype, recipe: fanin.recipes.Recipe, layers: int) -> Row:
    model = nn.Sequential(
        *(nn.Linear(WIDTH, WIDTH, bias=False, device="meta") for _ in range(layers))
    )
    plan = fanin.plan(model, torch.empty(1, WIDTH, device="meta"), recipe=recipe)
    plan.materialize(model, seed=0, dtype=dtype)

    def prove() -> None:
        plan.verify(model, seed=0).raise_if_different()

    draw, proof, ratio = interleaved(lambda: plan.apply(model, seed=0), prove, repeats=5)
    return {
        "start": name,
        "numbers": f"{layers * WIDTH * WIDTH / 1e6:.0f}M",
        "apply, s": draw,
        "verify, s": proof,
        "verify / apply": ratio,
    }
