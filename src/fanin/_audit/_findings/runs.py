"""Runs of layers one behind the other, and where in a run a trend begins."""

import re
from collections import defaultdict
from collections.abc import Sequence
from math import log
from statistics import median
from typing import Final

from fanin._audit._findings.net import Layer, Net, is_zero
from fanin._audit._records import Place
from fanin._site import Site
from fanin.initializers import Normal

__all__ = ["PEERS", "logs", "peers", "runs", "start_of_peers", "steepest", "streams"]

PEERS: Final = 4
"""So many blocks say what is usual among them."""
_NUMBER: Final = re.compile(r"\d+")
_FIRST: Final = frozenset({"weight", "gated"})
_ENDS: Final = frozenset({"residual_out", "readout"})
_NEXT: Final = frozenset({"weight", "residual_out", "readout", "gated"})


def runs(net: Net, *, across_norms: bool) -> list[tuple[Layer, ...]]:
    """The runs of at least two weights, each of which reads the one before and nothing else.

    Sums, gates and attentions end a run; norms do unless ``across_norms``.
    """
    readers: dict[str, set[str]] = defaultdict(set)
    for layer in net.first_use.values():
        for source in layer.site.sources:
            readers[source].add(layer.site.name)
    following: dict[str, str] = {}
    for name, layer in net.first_use.items():
        before = net.first_use.get(layer.site.sources[0]) if layer.site.sources else None
        if before is None or len(readers[before.site.name]) > 1:
            continue
        if is_zero(net.states.get(name)) and layer.site.role in _ENDS:
            continue  # It starts at nothing on purpose, whatever arrives.
        if _is_linked(before.site, layer.site) and (across_norms or not _is_cut(before, layer)):
            following[before.site.name] = name
    starts = [name for name in following if name not in set(following.values())]
    return [_walk(net, start, following) for start in starts]


def _is_linked(before: Site, after: Site) -> bool:
    same_branch = (before.branch is None) == (after.branch is None) and (
        before.branch is None
        or after.branch is None
        or (before.branch.stream, before.branch.index) == (after.branch.stream, after.branch.index)
    )
    alone = len(after.sources) == 1 and after.join == "none" and after.summands == 1
    once = before.uses == 1 and after.uses == 1 and before.summands == 1
    return same_branch and alone and once and before.role in _FIRST and after.role in _NEXT


def _is_cut(before: Layer, after: Layer) -> bool:
    return before.site.normalized_output or after.site.normalized_input


def _walk(net: Net, start: str, following: dict[str, str]) -> tuple[Layer, ...]:
    found, name = [net.first_use[start]], start
    while name in following:
        name = following[name]
        found.append(net.first_use[name])
    return tuple(found)


def peers(net: Net) -> list[list[Layer]]:
    """The layers that repeated blocks have alike: of one name but for numbers, and of one shape."""
    groups: dict[object, list[Layer]] = defaultdict(list)
    for layer in net.first_use.values():
        if layer.power and not layer.site.normalized_output:
            key = (_NUMBER.sub("#", layer.site.name), layer.site.layout and layer.site.layout.shape)
            groups[key].append(layer)
    return [group for group in groups.values() if len(group) >= PEERS]


def start_of_peers(net: Net, layer: Layer) -> Normal | None:
    """The start that a layer's peers have, where a plan's own would stand out among them."""
    group = next((group for group in peers(net) if layer in group), None)
    if group is None or layer.site.layout is None:
        return None
    middle = median(one.power or 0.0 for one in group)
    if 1 / net.limits.layer < middle / layer.usual < net.limits.layer:
        return None
    return Normal(float(f"{(middle / layer.site.layout.fan_in) ** 0.5:.3g}"))


def logs(values: Sequence[float | None]) -> list[float]:
    """Natural logarithms; 0 for what is not known or has none, so that a sum skips it."""
    return [log(value) if value else 0.0 for value in values]


def steepest(values: Sequence[float]) -> tuple[int, int, float]:
    """First, last (exclusive) and sum of the stretch whose sum is farthest from zero.

    >>> steepest([0.5, -1.0, -1.0, 0.1])
    (1, 3, -2.0)
    """
    best = (0, 0, 0.0)
    for sign in (1.0, -1.0):
        start, total = 0, 0.0
        for index, value in enumerate(values):
            if total <= 0:
                start, total = index, 0.0
            total += sign * value
            if total > abs(best[2]):
                best = (start, index + 1, sign * total)
    return best


def streams(net: Net) -> dict[int, list[Place]]:
    """The sums of each residual stream, in the order of the run."""
    found: dict[int, list[Place]] = defaultdict(list)
    for place in net.places:
        if place.stream is not None:
            found[place.stream].append(place)
    return dict(found)
