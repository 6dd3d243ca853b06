"""What is drawn of a report: which places, how far across, and their values."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isfinite, sqrt
from typing import TypeAlias

from fanin._audit._page.axis import Point
from fanin._audit._records import Growth, Place
from fanin._audit._report import Report

__all__ = [
    "MEASURES",
    "Measure",
    "across",
    "adopted",
    "bands",
    "drawn",
    "parts",
    "points",
    "predicted_gradient",
    "predicted_std",
    "spine",
]

Measure: TypeAlias = Callable[[Place], float | None]


def _root(square: float | None) -> float | None:
    return None if square is None else sqrt(square)


def _gradient(place: Place) -> float | None:
    """The length of the gradient of one input."""
    square = place.signal.gradient
    return None if square is None else sqrt(square * place.signal.size)


MEASURES: dict[str, Measure] = {
    "std": lambda place: _root(place.signal.second_moment if place.signal.finite else None),
    "batch_std": lambda place: _root(place.signal.variance),
    "gradient": _gradient,
    "correlation": lambda place: place.signal.correlation,
    "positions": lambda place: place.signal.position_correlation,
    "dead": lambda place: place.dead,
    "saturated": lambda place: place.saturated,
    "entropy": lambda place: place.entropy,
}
"""``measures`` of ``report.js`` is the same table for a report that is opened in the page."""


def adopted(report: Report) -> Report:
    """The report in which a layer has the shares measured of the activation behind it."""
    found: list[Place] = []
    layer: int | None = None
    for place in report.places:
        found.append(place)
        if place.weight:
            layer = len(found) - 1
        elif layer is not None:
            found[layer] = _with_shares(found[layer], place)
    return replace(report, places=tuple(found))


def _with_shares(layer: Place, behind: Place) -> Place:
    return replace(
        layer,
        dead=behind.dead if layer.dead is None else layer.dead,
        saturated=behind.saturated if layer.saturated is None else layer.saturated,
        entropy=behind.entropy if layer.entropy is None else layer.entropy,
    )


def drawn(report: Report) -> tuple[Place, ...]:
    """The places that are steps of the charts: the layers and the sums of residual streams."""
    return tuple(place for place in report.places if place.weight or place.stream is not None)


def across(steps: Sequence[Place], index: int) -> float:
    """Where the place of this number is drawn: on its step, or half a step behind the last one."""
    numbers = [place.index for place in steps]
    before = bisect_right(numbers, index)
    on_step = before > 0 and numbers[before - 1] == index
    return before if on_step else before + 0.5


def points(steps: Sequence[Place], places: Sequence[Place], measure: str) -> list[Point]:
    """The values of ``measure`` at ``places``, without those that were not measured."""
    value_of = MEASURES[measure]
    found = ((place.index, value_of(place)) for place in places)
    return [
        (across(steps, index), value)
        for index, value in found
        if value is not None and isfinite(value)
    ]


def parts(steps: Sequence[Place]) -> dict[str, list[Place]]:
    """The steps that are layers, and those that are sums of a residual stream."""
    return {
        "layers": [place for place in steps if place.weight],
        "stream": [place for place in steps if not place.weight],
    }


def spine(steps: Sequence[Place]) -> list[Place]:
    """The steps whose course tells most: the sums of the residual stream, or else the layers."""
    grouped = parts(steps)
    return grouped["stream"] or grouped["layers"]


def predicted_std(report: Report, steps: Sequence[Place]) -> list[Point]:
    """The predicted std, at the places for which there is one."""
    return [(across(steps, one.index), sqrt(one.second_moment)) for one in report.predictions]


def predicted_gradient(report: Report, steps: Sequence[Place]) -> list[Point]:
    """The predicted gradient: its shape is predicted, its size is that of the last measured one."""
    told = [one for one in report.predictions if one.gradient is not None]
    measured = {place.index: MEASURES["gradient"](place) for place in report.places}
    last = measured.get(told[-1].index) if told else None
    end = told[-1].gradient if told else None
    if not last or not end or not isfinite(last):
        return []
    return [(across(steps, one.index), last * sqrt((one.gradient or 0.0) / end)) for one in told]


def bands(
    report: Report, steps: Sequence[Place], direction: str
) -> list[tuple[list[Point], list[Point]]]:
    """Between which values one draw of a start with the factor 1 stays: lower and upper lines.

    Forward they open from the first layer of a run, backward from the last.
    """
    return [
        (_bound(growth, steps, growth.interval[0]), _bound(growth, steps, growth.interval[1]))
        for growth in report.growths
        if growth.direction == direction
    ]


def _bound(growth: Growth, steps: Sequence[Place], factor: float) -> list[Point]:
    value_of = MEASURES["std" if growth.direction == "forward" else "gradient"]
    names = set(growth.names)
    places = [place for place in steps if place.name in names]
    if growth.direction == "backward":
        places.reverse()
    start = value_of(places[0]) if places else None
    if start is None or not isfinite(start):
        return []
    line = [
        (across(steps, place.index), start * sqrt(factor) ** order)
        for order, place in enumerate(places)
    ]
    return sorted(line)
