"""deepnorm: the weights of post-norm transformers, after Wang et al. 2022."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from fanin._site import Site
from fanin.initializers import xavier_normal
from fanin.recipes._branches import before_writers, layers, streams
from fanin.recipes._common import NO_RULE, is_matrix, others, table, writers
from fanin.recipes._gpt2 import no_stream
from fanin.recipes._recipe import Choice, Decision, Recipe

__all__ = ["deepnorm"]

_PAPER: Final = "Wang et al. 2022, DeepNet: scaling transformers to 1,000 layers"
_PACKED: Final = frozenset({"query_key_value", "key_value"})
_UNSCALED: Final = frozenset({"query", "key", "router"})


def _refuse(sites: Sequence[Site]) -> str | None:
    for site in writers(sites):
        if site.residual is not None and site.residual.norm != "post":
            return f"{site.name} writes into a stream that no norm follows: it needs post-norm"
    number = len(streams(sites))
    if number > 1:
        return f"there are {number} residual streams; which is encoder, which decoder, is not told"
    for site in sites:
        if site.role in _PACKED:
            return f"{site.name} packs value with query and key, and only the value is scaled"
    return no_stream(sites)


def _read(sites: Sequence[Site]) -> Callable[[Site], Decision]:
    unscaled = {site.name for site in sites if site.role in _UNSCALED}
    scaled = before_writers(sites) - unscaled | {site.name for site in writers(sites)}
    return partial(_choose, beta=(8 * layers(sites)) ** -0.25, scaled=scaled)


def _choose(
    site: Site, *, beta: float | None = None, scaled: frozenset[str] = frozenset()
) -> Decision:
    if not is_matrix(site.layout):
        return others(site)
    if site.role == "embedding":
        return table(site)
    if beta is None:
        return None
    if site.name in scaled:
        why = "With beta = (8 N)^(-1/4) the update of a model of N layers is bounded."
        return Choice(xavier_normal() * beta, why, _PAPER)
    return Choice(xavier_normal(), "Only value, output and feed-forward are scaled.", _PAPER)


deepnorm: Final = Recipe(
    "deepnorm",
    _choose,
    "w ~ N(0, 2 beta² / (fan_in + fan_out)), beta = (8 N)^(-1/4) for value, output and "
    "feed-forward of N layers, 1 for the rest; b = 0",
    _PAPER,
    refuse=_refuse,
    read=_read,
    no_rule=f"{NO_RULE} The layers are counted over the whole model, not at one parameter.",
)
