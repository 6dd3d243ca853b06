"""Residual streams: sums that grow without end, branches that drown, branches unlike the others."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import exp, log
from statistics import median
from typing import Final

from fanin._audit import _remedies
from fanin._audit._findings.anew import anew, anew_as
from fanin._audit._findings.net import Layer, Net
from fanin._audit._findings.runs import PEERS, peers, start_of_peers, streams
from fanin._audit._findings.signal import severity_of
from fanin._audit._records import Finding, Place
from fanin._text import number
from fanin.initializers import Normal

__all__ = ["dominant_branches", "drowned_branches", "growing_streams", "unlike_the_others"]

_DROWNED: Final = 1e-4
"""Of a stream of std 1, branches of std 0.01 together."""
_SMALL: Final = 0.02
"""The std of tables of positions in Vision Transformers."""
_FEWEST: Final = 3
_NUMBER: Final = re.compile(r"\d+")


def growing_streams(net: Net) -> Iterator[Finding]:
    """Streams whose sums multiply: each branch adds a part of what is there."""
    for number_of, sums in streams(net).items():
        norm = _norm(net, number_of)
        powers = [place.signal.second_moment for place in sums]
        if len(sums) < _FEWEST or norm == "post" or min(powers) <= 0:
            continue
        steps = [log(after / before) for before, after in pairwise(powers)]
        total = sum(steps) - max(steps)
        severity = severity_of(net, total)
        if total > 0 and severity is not None:
            # Behind a norm a branch does not know how large the stream is: sums grow by addition.
            yield _growing(net, sums, steps, "note" if norm == "pre" else severity)


def _norm(net: Net, stream: int) -> str:
    norms = [
        site.residual.norm
        for site in net.sites.values()
        if site.role == "residual_out"
        and site.residual is not None
        and site.residual.stream == stream
    ]
    return max(set(norms), key=norms.count) if norms else "none"


def _growing(net: Net, sums: Sequence[Place], steps: Sequence[float], severity: str) -> Finding:
    each, total = exp(median(steps)), exp(sum(steps))
    return Finding(
        code="exploding-stream",
        severity=severity,  # type: ignore[arg-type]
        where=sums[0].name,
        measured=f"E x² of the stream grows by {number(each)} at each of {len(sums)} sums, by "
        f"{number(total)} in all",
        expected=f"by under {number(net.limits.total, 2)} in all",
        reason="Every branch adds as much as a fixed part of the stream; branches that start "
        "smaller the more there are of them keep it.",
        remedy=_remedies.start(),
        place=sums[0].index,
        also=tuple(place.name for place in sums[1:]),
    )


def drowned_branches(net: Net) -> Iterator[Finding]:
    """Streams that start so large that all branches together are nothing beside them."""
    for stream, sums in streams(net).items():
        scaled = any(
            one.residual.scaled_by
            for one in net.sites.values()
            if one.residual is not None and one.residual.stream == stream
        )
        before, branches = _parts(net, sums)
        if scaled or before is None or len(sums) < 2 or _norm(net, stream) != "pre":
            continue
        own, added = before.signal.second_moment, sum(one.signal.second_moment for one in branches)
        if 0 < added < _DROWNED * own:
            yield _drowned(net, before, added / own, sums)


def _parts(net: Net, sums: Sequence[Place]) -> tuple[Place | None, list[Place]]:
    """What the first sum adds to, and what each sum adds."""
    own, branches, start = {place.index for place in sums}, [], None
    for place in sums:
        before = sorted(place.inputs)
        if len(before) != 2:
            return None, []
        skip = next((index for index in before if index in own), before[0])
        start = net.places[skip] if start is None else start
        branches += [net.places[index] for index in before if index != skip]
    return start, branches


def _drowned(net: Net, start: Place, share: float, sums: Sequence[Place]) -> Finding:
    layer, added = net.weight_before(start), _added(net, start)
    if added is not None:
        where, remedy = added, anew_as(net, [(added, Normal(_SMALL))])
    elif layer is not None:
        where, remedy = layer.place.name, anew(net, [layer.site.name])
    else:
        where, remedy = start.name, _remedies.start()
    return Finding(
        code="drowned-branches",
        severity="warning",
        where=where,
        measured=f"the stream starts at std {number(start.signal.std)}; its {len(sums)} branches "
        f"add {number(share)} of that square",
        expected=f"at least {number(_DROWNED)}",
        reason="The branches read the stream through a norm but cannot be seen beside it, so that "
        "the model is what its first layer says, and learns as slowly.",
        remedy=remedy,
        place=start.index if layer is None else layer.place.index,
    )


def _added(net: Net, start: Place) -> str | None:
    """The parameter, such as one of positions, that is most of what a stream starts with."""
    layer, size = net.weight_before(start), start.signal.second_moment
    if layer is not None and layer.place.signal.second_moment > size / 2:
        return None
    close = [
        one.name
        for one in net.states.values()
        if one.role != "buffer" and size / 2 < one.second_moment < 2 * size
    ]
    return close[0] if len(close) == 1 else None


def dominant_branches(net: Net) -> Iterator[Finding]:
    """One branch that makes a stream many times larger, where the others do not."""
    for stream, sums in streams(net).items():
        _, branches = _parts(net, sums)
        powers = [place.signal.second_moment for place in sums]
        if len(branches) < PEERS or _norm(net, stream) == "post" or min(powers) <= 0:
            continue
        middle = median(one.signal.second_moment for one in branches)
        pairs = zip(branches[1:], powers, powers[1:], strict=False)
        for branch, before, after in pairs:
            own = branch.signal.second_moment
            if after > net.limits.layer * before and own > net.limits.layer * middle > 0:
                yield _dominant(net, branch, after / before, own / middle)


def _dominant(net: Net, branch: Place, jump: float, ratio: float) -> Finding:
    layer = net.weight_before(branch)
    place = None if layer is None else layer.site.residual
    factors = place.scaled_by if place is not None else ()
    large = next((name for name in factors if net.states[name].second_moment > 1), None)
    if large is not None:
        where, remedy = large, _remedies.set_to(large, _usual_factor(net, large))
    elif layer is not None:
        where, remedy = layer.place.name, anew(net, [layer.site.name])
    else:
        where, remedy = branch.name, _remedies.start()
    return Finding(
        code="dominant-branch",
        severity="warning",
        where=where,
        measured=f"its branch makes E x² of the stream {number(jump)} times larger, and is "
        f"{number(ratio)} times the others'",
        expected=f"under {number(net.limits.layer, 2)} times",
        reason="What came before it can no longer be seen in the stream, and gets as little "
        "gradient.",
        remedy=remedy,
        place=branch.index if layer is None else layer.place.index,
    )


def _usual_factor(net: Net, name: str) -> float:
    """What the same factor is in other blocks."""
    kind = _NUMBER.sub("#", name)
    return median(one.mean for one in net.states.values() if _NUMBER.sub("#", one.name) == kind)


def unlike_the_others(net: Net) -> Iterator[Finding]:
    """A layer of a repeated block whose weights are far from those of the same layer elsewhere."""
    for group in peers(net):
        middle = median(layer.power or 0.0 for layer in group)
        for layer in group:
            ratio = (layer.power or 0.0) / middle
            if not 1 / net.limits.layer < ratio < net.limits.layer:
                yield _unlike(net, layer, ratio, len(group))


def _unlike(net: Net, layer: Layer, ratio: float, count: int) -> Finding:
    start = start_of_peers(net, layer)
    return Finding(
        code="outlier-layer",
        severity="warning" if ratio > 1 else "note",
        where=layer.place.name,
        measured=f"E w² is {number(ratio)} of that of the same layer in {count - 1} other blocks",
        expected=f"about 1; within a factor of {number(net.limits.layer, 2)}",
        reason="One block unlike the others outweighs them, or adds nothing."
        if ratio > 1
        else "This block adds next to nothing beside the others, at the start.",
        remedy=anew(net, [layer.site.name])
        if start is None
        else anew_as(net, [(layer.site.name, start)]),
        place=layer.place.index,
    )
