"""Residual branches that start at nothing: by a zero weight, or by a zero scalar."""

from collections.abc import Sequence
from typing import Final

from fanin._site import Site
from fanin.initializers import Zeros
from fanin.recipes._common import NO_RULE, is_matrix, writers
from fanin.recipes._gpt2 import no_stream
from fanin.recipes._recipe import Choice, Decision, Recipe
from fanin.recipes._variance import kaiming

__all__ = ["closed_branch", "skip_init", "zero_residual"]

_GOYAL: Final = (
    "Goyal et al. 2017, Accurate, large minibatch SGD, there for the last normalization of a "
    "branch; for weights Zhang et al. 2019, Fixup initialization, rule 1"
)
_DE: Final = (
    "De & Smith 2020, Batch normalization biases residual blocks towards the identity function in "
    "deep networks"
)


def closed_branch(sites: Sequence[Site]) -> str | None:
    """Why a zero writer would never learn, or None: its gradient is multiplied by another zero."""
    for site in sites:
        if site.role == "branch_scale" and site.built == "zeros":
            return f"{site.name} starts its branch at 0 already; two zeros in a row never learn"
    for site in writers(sites):
        if site.normalized_output:
            return (
                f"a normalization follows {site.name}, and divides by the std of its zeros; "
                "start the normalization's scale at 0 instead"
            )
    return None


def _choose(site: Site) -> Decision:
    if site.role == "residual_out" and is_matrix(site.layout):
        return Choice(Zeros, "The branch adds nothing at the start: a layer is its skip.", _GOYAL)
    return kaiming(site)


zero_residual: Final = Recipe(
    "zero_residual",
    _choose,
    "W = 0 for residual writers; the rest as kaiming",
    _GOYAL,
    refuse=lambda sites: no_stream(sites) or closed_branch(sites),
    no_rule=NO_RULE,
)


def _skip(site: Site) -> Decision:
    if site.role == "branch_scale":
        return Choice(Zeros, "The branch adds nothing at the start: a layer is its skip.", _DE)
    return kaiming(site)


def _refuse(sites: Sequence[Site]) -> str | None:
    if all(site.role != "branch_scale" for site in sites):
        return "no learned scalar multiplies a residual branch, and the scheme sets that scalar"
    for site in writers(sites):
        if site.built == "zeros":
            return f"{site.name} starts its branch at 0 already; two zeros in a row never learn"
    return None


skip_init: Final = Recipe(
    "skip_init",
    _skip,
    "alpha = 0 in x + alpha f(x); the rest as kaiming",
    _DE,
    refuse=_refuse,
    overrides=frozenset({"branch_scale"}),
    no_rule=NO_RULE,
)
