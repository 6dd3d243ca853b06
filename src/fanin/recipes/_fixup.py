"""fixup: residual nets without normalization, after Zhang, Dauphin & Ma."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from fanin._site import Site
from fanin.initializers import VarianceScaling, Zeros
from fanin.recipes._branches import branches, streams
from fanin.recipes._common import NO_RULE, is_matrix, writers
from fanin.recipes._gpt2 import no_stream
from fanin.recipes._recipe import Choice, Decision, Recipe
from fanin.recipes._variance import kaiming
from fanin.recipes._zero_branches import closed_branch

__all__ = ["fixup"]

_PAPER: Final = (
    "Zhang, Dauphin & Ma 2019, Fixup initialization: residual learning without normalization, "
    "rules 1 and 2"
)
_ATTENTION: Final = frozenset({"query", "key", "value", "query_key_value", "key_value"})


def _refuse(sites: Sequence[Site]) -> str | None:
    places = [(site, site.residual) for site in writers(sites) if site.residual is not None]
    for site, place in places:
        if place.norm != "none":
            return f"{site.name} has a {place.norm}-norm, and the scheme replaces normalization"
        if place.level > 0:
            return f"{site.name} writes inside another branch, whose weights are then not counted"
    if any(site.role in _ATTENTION for site in sites):
        return "there is attention, whose weights in a branch the paper's rule does not count"
    return no_stream(sites) or closed_branch(sites) or _uneven(sites)


def _uneven(sites: Sequence[Site]) -> str | None:
    lengths = sorted(_lengths(sites))
    if len(lengths) == 1:
        return None
    if not lengths:
        return "there is one branch, and how many weights it has is read from the second"
    return f"the formula has one m for all branches, and here they have {lengths} weights"


def _lengths(sites: Sequence[Site]) -> set[int]:
    """How many weights a branch has, on its longest way, for every branch but a stream's first."""
    found = branches(sites)
    return {
        site.depth - min((one.depth for one in found[site.name]), default=site.depth) + 1
        for site in writers(sites)
        if site.residual is not None and site.residual.index > 1
    }


def _read(sites: Sequence[Site]) -> Callable[[Site], Decision]:
    """The factor L^(-1 / (2m - 2)) and the weights that have it."""
    (length,) = _lengths(sites)
    found = branches(sites)
    # What lies further back than m weights is the stem: see `branches`.
    inside = {
        one.name
        for site in writers(sites)
        for one in found[site.name]
        if site.depth - one.depth < length
    }
    blocks = sum(streams(sites).values())
    factor = blocks ** (-1 / (2 * length - 2)) if length > 1 else 1.0
    return partial(_choose, factor=factor, inside=frozenset(inside))


def _choose(
    site: Site, *, factor: float | None = None, inside: frozenset[str] = frozenset()
) -> Decision:
    if site.role in ("residual_out", "readout") and is_matrix(site.layout):
        what = "branch" if site.role == "residual_out" else "net"
        return Choice(Zeros, f"The last layer of a {what} starts at 0.", _PAPER)
    found = kaiming(site)
    if not isinstance(found, Choice) or not isinstance(found.initializer, VarianceScaling):
        return found
    if factor is None:
        return None
    if site.name not in inside:
        return Choice(found.initializer, f"{found.why} It is in no branch.", _PAPER)
    why = f"{found.why} L^(-1 / (2m - 2)) makes the update of the net independent of its depth."
    return Choice(found.initializer * factor, why, _PAPER)


fixup: Final = Recipe(
    "fixup",
    _choose,
    "W = 0 for residual writers and readout; L^(-1 / (2m - 2)) kaiming in a branch of m weights, "
    "of L branches; b = 0",
    _PAPER,
    refuse=_refuse,
    read=_read,
    no_rule=f"{NO_RULE} The branches are read from the whole model, not from one parameter.",
)
