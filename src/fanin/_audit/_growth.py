"""Growth per layer: a robust fit over each run, beside what one draw of a fair start gives."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import exp, log
from statistics import median
from typing import Final, Literal

from fanin._audit._evidence import Evidence
from fanin._audit._findings.law import interval
from fanin._audit._findings.net import Layer, Net
from fanin._audit._findings.runs import runs, streams
from fanin._audit._records import Growth, Place

__all__ = ["growths_of"]

_FEWEST: Final = 3
"""A trend needs so many layers."""
_LARGEST: Final = 700.0
"""Beyond e^this a float has no place."""


def growths_of(evidence: Evidence) -> tuple[Growth, ...]:
    """The growth over each run of at least three layers, and over the sums of each stream.

    The fit is the median of the factors from layer to layer, which a single odd layer does not
    move. Backward, a run goes on across norms.
    """
    net = Net(evidence)
    return tuple(_growths(net))


def _growths(net: Net) -> Iterator[Growth]:
    for run in runs(net, across_norms=False):
        if len(run) >= _FEWEST:
            yield from _forward(net, run)
    for run in runs(net, across_norms=True):
        if len(run) >= _FEWEST:
            yield from _backward(net, run)
    for sums in streams(net).values():
        if len(sums) >= _FEWEST:
            yield from _stream(net, sums)


def _forward(net: Net, run: Sequence[Layer]) -> Iterator[Growth]:
    # The first layer's own factor may be a guess, and the last one's is the readout's.
    factors = [layer.factor for layer in run[1:]]
    names = tuple(layer.place.name for layer in run)
    ends = interval(run[1:], net.limits.by_chance)
    yield from _growth("forward", "plain", names, factors, ends)


def _backward(net: Net, run: Sequence[Layer]) -> Iterator[Growth]:
    gradients = [layer.gradient for layer in run]
    names = tuple(layer.place.name for layer in run)
    ends = interval(run[:-1], net.limits.by_chance)
    yield from _growth("backward", "plain", names, _ratios(gradients[::-1])[::-1], ends)


def _stream(net: Net, sums: Sequence[Place]) -> Iterator[Growth]:
    names = tuple(place.name for place in sums)
    layers = [layer for place in sums[1:] for layer in _writers(net, place)[:1]]
    ends = interval(layers, net.limits.by_chance) if layers else (0.0, 0.0)
    powers = [place.signal.second_moment for place in sums]
    yield from _growth("forward", "residual", names, _ratios(powers), ends)
    gradients = [
        None if one.signal.gradient is None else one.signal.gradient * one.signal.size
        for one in sums
    ]
    yield from _growth("backward", "residual", names, _ratios(gradients[::-1])[::-1], ends)


def _growth(
    direction: Literal["forward", "backward"],
    kind: Literal["plain", "residual"],
    names: tuple[str, ...],
    factors: Sequence[float | None],
    ends: tuple[float, float],
) -> Iterator[Growth]:
    """Nothing where a number is missing, zero or not finite: there is no factor then."""
    known = [log(factor) for factor in factors if factor and 0 < factor < float("inf")]
    if len(known) < len(factors) or not known:
        return
    yield Growth(
        direction=direction,
        kind=kind,
        names=names,
        per_layer=exp(median(known)),
        interval=(exp(ends[0]), exp(ends[1])),
        total=exp(max(-_LARGEST, min(_LARGEST, sum(known)))),
    )


def _ratios(values: Sequence[float | None]) -> list[float | None]:
    """Each over the one before."""
    return [after / before if before and after else None for before, after in pairwise(values)]


def _writers(net: Net, place: Place) -> list[Layer]:
    """The layers whose outputs a sum takes, straight or behind a factor."""
    found = (net.weight_before(net.places[index]) for index in place.inputs)
    return [layer for layer in found if layer is not None]
