"""What steady takes from other sites: a bias's weight, a weight's branch, a table's tied one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from fanin._site import Site
from fanin.recipes._branches import branches
from fanin.recipes._common import is_matrix, writers

__all__ = ["ALONE", "Around", "around"]


@final
@dataclass(frozen=True, slots=True)
class Around:
    """A bias's ``weight``; a ``branch`` weight's ``factor``, L^(-1 / 2m).

    ``beside_tied``: a table, and one of the same width is the readout too. ``scores``: a table
    whose rows are added to attention's scores.
    """

    weight: Site | None
    factor: float
    branch: bool = False
    beside_tied: bool = False
    scores: bool = False


ALONE: Final = Around(None, 1.0)
"""What is known of a site without the others."""


def around(sites: Sequence[Site]) -> Mapping[str, Around]:
    """For the names of biases, of the weights in branches without norm, and of tables."""
    known = {site.name: site for site in sites}
    found = {name: Around(None, factor, branch=True) for name, factor in _factors(sites).items()}
    tied = {_width(site) for site in sites if "readout" in site.other_roles}
    widths = {site.layout.fan_in for site in sites if _reads(site) and is_matrix(site.layout)}
    for site in sites:
        if site.role == "bias":
            found[site.name] = Around(known.get(_weight_name(site.name)), 1.0)
        elif site.role == "embedding":
            # Rows that no weight is as wide as are added to something else than a signal.
            scores = "elementwise" in site.other_roles and _width(site) not in widths
            found[site.name] = Around(None, 1.0, beside_tied=_width(site) in tied, scores=scores)
    return found


def _reads(site: Site) -> bool:
    return site.role not in ("embedding", "bias")


def _width(table: Site) -> float:
    """The length of a row; 0 where the axes are not known."""
    return table.layout.fan_out if is_matrix(table.layout) else 0.0


def _weight_name(bias: str) -> str:
    path, dot, local = bias.rpartition(".")
    return path + dot + local.replace("bias", "weight")


def _factors(sites: Sequence[Site]) -> dict[str, float]:
    """L^(-1 / 2m) for each of the m weights of one of L branches: together 1 / sqrt(L)."""
    before = {name: _plain(inside) for name, inside in branches(sites).items()}
    lengths = {
        site.name: 1 + len({one.depth for one in before[site.name]}) for site in writers(sites)
    }
    found: dict[str, float] = {}
    for site in writers(sites):
        place = site.residual
        if place is None or place.norm != "none" or site.normalized_output:
            continue
        length = lengths[site.name]
        if place.index == 1:
            # What made the stream is not told from its first branch; the others say how long.
            later = [one for one in writers(sites) if _follows(one, site)]
            length = min((lengths[one.name] for one in later), default=length)
        for one in before[site.name]:
            if site.depth - one.depth < length:
                found[one.name] = place.count ** (-1 / (2 * length))
        found[site.name] = place.count ** (-1 / (2 * length))
    return found


def _plain(inside: Sequence[Site]) -> list[Site]:
    """The weights of a branch on which its size depends."""
    return [one for one in inside if one.role == "weight" and not one.normalized_output]


def _follows(one: Site, first: Site) -> bool:
    """Whether ``one`` writes into the same stream as ``first``, and later."""
    here, there = one.residual, first.residual
    return (
        here is not None
        and there is not None
        and (here.stream == there.stream and here.index > there.index)
    )
