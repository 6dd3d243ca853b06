"""gpt2, and its variant that counts the layers passed instead of all layers: N(0, 0.02²)."""

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Final

from fanin._site import Site
from fanin.initializers import Normal, VarianceScaling
from fanin.recipes._common import NO_RULE, is_matrix, others, table, writers
from fanin.recipes._recipe import Choice, Decision, Recipe

__all__ = ["depth_scaled", "gpt2", "no_stream"]

_STD: Final = 0.02
_RADFORD: Final = "Radford et al. 2019, Language models are unsupervised multitask learners"
_ZHANG: Final = (
    "Zhang, Titov & Sennrich 2019, Improving deep transformer with depth-scaled initialization; "
    "the numbers are those of OLMo-core's llama_depth"
)


def no_stream(sites: Sequence[Site]) -> str | None:
    """Why a scheme that scales residual writers does not apply, or None."""
    if writers(sites):
        return None
    return "no weight writes into a residual stream, and the scheme is about those that do"


def _choose(site: Site) -> Decision:
    if not is_matrix(site.layout):
        return others(site)
    if site.role == "residual_out":
        if site.residual is None:
            return None
        why = "All writers together add the variance that one of std 0.02 would add."
        return Choice(Normal(_STD / sqrt(site.residual.count)), why, _RADFORD)
    if site.role == "embedding":
        return Choice(Normal(_STD), "Tokens and positions are N(0, 0.02²) alike.", _RADFORD)
    return Choice(Normal(_STD), "Every matrix is N(0, 0.02²), of whatever width.", _RADFORD)


gpt2: Final = Recipe(
    "gpt2",
    _choose,
    "w ~ N(0, 0.02²), residual writers N(0, 0.02² / writers of their stream); b = 0",
    _RADFORD,
    refuse=no_stream,
    no_rule=NO_RULE,
)


def _by_depth(site: Site) -> Decision:
    if not is_matrix(site.layout):
        return others(site)
    if site.role == "residual_out":
        if site.residual is None:
            return None
        layer = ceil(site.residual.index / 2)
        why = "A writer is smaller the more layers have written before it."
        return Choice(Normal(_STD / sqrt(2 * layer), cut=3), why, _ZHANG)
    if site.role == "embedding":
        return table(site)
    if site.role == "readout":
        why = "A logit sums over the width, and starts with variance 1."
        return Choice(VarianceScaling(1.0, cut=3), why, _ZHANG)
    return Choice(Normal(_STD, cut=3), "Every other matrix is N(0, 0.02²).", _ZHANG)


depth_scaled: Final = Recipe(
    "depth_scaled",
    _by_depth,
    "w ~ N(0, 0.02²), writers of layer l = 1, 2, ... N(0, 0.02² / 2l), readout N(0, 1 / fan_in), "
    "tables N(0, 1); b = 0",
    _ZHANG,
    refuse=no_stream,
    no_rule=NO_RULE,
)
