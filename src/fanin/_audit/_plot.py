"""The picture of a report: what is on each panel. How it is drawn is in ``_axes``."""

from collections.abc import Callable, Iterable, Sequence
from math import inf, isfinite, log10, nan
from typing import TYPE_CHECKING, Final, TypeAlias

from fanin import _plot
from fanin._audit._axes import Band, Course, Mark, Panel, draw
from fanin._audit._folded import spine_of
from fanin._audit._print import verdict
from fanin._audit._records import Finding, Growth, Place
from fanin._audit._report import Report
from fanin._audit._resolved import resolved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot"]

_SIGNAL, _APART, _, _POSITIONS, _LAYERS, _ENTROPY, _THEORY = _plot.COLOURS
_GREY: Final = "#9AA1A9"
_LISTED: Final = 6
"""Findings that are numbered on the panels and named below them."""
_DECADES: Final = 2.0
"""A log axis spans at least so many powers of ten, so that noise looks as small as it is."""
_Value: TypeAlias = Callable[[Place], float | None]


def plot(report: Report, figure: "Figure | None" = None, before: Report | None = None) -> "Figure":
    """The panels of a report on ``figure``, or on a new one; ``before`` in grey behind them.

    Raises:
        FaninError: where matplotlib is not installed.
    """
    _plot.require_for("report.plot")
    shown = [_forward(report, before), _backward(report, before), _likeness(report, before)]
    panels = [panel for panel in [*shown, _spectrum(report, before)] if panel is not None]
    return draw(figure, _title(report), _subtitle(report), panels, _listed(report))


def _title(report: Report) -> str:
    return f"{report.model}: {verdict(report)}"


def _subtitle(report: Report) -> str:
    drawn = report.recipe and f"drawn by {report.recipe}"
    draws = f"medians of {report.draws} draws" if report.draws > 1 else ""
    mode = report.mode and f"{report.mode} mode"
    band = "green: 99 % of fair starts" if report.growths else ""
    return ", ".join(part for part in (drawn, report.batch, mode, draws, band) if part)


def _listed(report: Report) -> list[str]:
    """A line for each finding: those that are numbered, and how many more."""
    lines = [
        f"{number} {finding.code} at {finding.where}: {finding.measured}"
        for number, finding in enumerate(report.findings[:_LISTED], start=1)
    ]
    more = len(report.findings) - _LISTED
    return [*lines, f"and {more} more"] if more > 0 else lines


def _std(place: Place) -> float | None:
    return place.signal.std if place.signal.finite else None


def _apart(place: Place) -> float | None:
    return None if place.signal.variance is None else place.signal.variance**0.5


def _gradient(place: Place) -> float | None:
    """The length of the gradient of one input."""
    gradient = place.signal.gradient
    return None if gradient is None else (gradient * place.signal.size) ** 0.5


def _forward(report: Report, before: Report | None) -> Panel | None:
    courses = [
        *_behind(before, _std),
        *_dots(report, _std),
        *_course(report, "batch std", _apart, _APART),
        *_course(report, "std", _std, _SIGNAL),
    ]
    predicted = {one.index: one.second_moment**0.5 for one in report.predictions}
    courses += _predicted(report, predicted)
    bands = [_band(report, one, _std) for one in report.growths if one.direction == "forward"]
    return _panel("Forward: the signal", courses, bands, _marks(report, _std, backward=False))


def _backward(report: Report, before: Report | None) -> Panel | None:
    courses = [
        *_behind(before, _gradient),
        *_dots(report, _gradient),
        *_course(report, "gradient", _gradient, _SIGNAL),
    ]
    courses += _predicted(report, _predicted_gradients(report))
    bands = [_band(report, one, _gradient) for one in report.growths if one.direction == "backward"]
    title = "Backward: the gradient of one input"
    return _panel(title, courses, bands, _marks(report, _gradient, backward=True))


def _predicted_gradients(report: Report) -> dict[int, float]:
    """By place; theory gives the ratio to the last, whose length is taken as it was measured."""
    known = [one for one in report.predictions if one.gradient is not None]
    if not known:
        return {}
    last = _gradient(report.places[known[-1].index])
    return {} if last is None else {one.index: last * (one.gradient or 0) ** 0.5 for one in known}


def _panel(
    title: str,
    courses: Sequence[Course],
    bands: Sequence[Band | None],
    marks: Sequence[Mark],
) -> Panel | None:
    """A panel on a log scale; None where there is nothing positive to show."""
    values = [value for course in courses for value in course.y if 0 < value < inf]
    if not values:
        return None
    known = [band for band in bands if band is not None]
    return Panel(title, courses, _limits(values), log=True, bands=known, marks=marks)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = log10(min(values)), log10(max(values))
    middle, half = (low + high) / 2, max(high - low, _DECADES) / 2
    return 10 ** (middle - 1.12 * half), 10 ** (middle + 1.12 * half)


def _course(report: Report, label: str, value: _Value, colour: str) -> list[Course]:
    """The course over the spine of the net; nothing where it was not measured."""
    return _over(spine_of(report.places), label, value, colour)


def _over(places: Iterable[Place], label: str, value: _Value, colour: str) -> list[Course]:
    pairs = [(place.depth, value(place)) for place in places]
    known = [(x, y if isfinite(y) else nan) for x, y in pairs if y is not None]
    if not any(y == y for _, y in known):  # noqa: PLR0124 - NaN
        return []
    return [Course(label, [x for x, _ in known], [y for _, y in known], colour)]


def _dots(report: Report, value: _Value) -> list[Course]:
    """The layers, as points, where the line is of the residual stream."""
    spine = spine_of(report.places)
    if not any(place.stream is not None for place in spine):
        return []
    found = _over(report.layers, "layers", value, _LAYERS)
    return [Course(one.label, one.x, one.y, one.colour, style="dots") for one in found]


def _behind(before: Report | None, value: _Value) -> list[Course]:
    if before is None:
        return []
    found = _course(before, "before", value, _GREY)
    return [Course(one.label, one.x, one.y, one.colour, style="thin") for one in found]


def _predicted(report: Report, values: dict[int, float]) -> list[Course]:
    found = _over(
        (report.places[index] for index in values),
        "theory",
        lambda place: values[place.index],
        _THEORY,
    )
    return [Course(one.label, one.x, one.y, one.colour, style="dashes") for one in found]


def _band(report: Report, growth: Growth, value: _Value) -> Band | None:
    """Where 99 of 100 fair draws stay, from the place on where the signal comes in."""
    by_name = {place.name: place for place in reversed(report.places)}
    places = [by_name[name] for name in growth.names if name in by_name]
    if growth.direction == "backward":
        places = places[::-1]
    start = value(places[0]) if places else None
    if start is None or not 0 < start < inf:
        return None
    low, high = (
        [start * factor ** (steps / 2) for steps in range(len(places))]
        for factor in growth.interval
    )
    return Band([place.depth for place in places], low, high)


def _marks(report: Report, value: _Value, *, backward: bool) -> list[Mark]:
    """The findings that this panel shows: those of gradients backward, all others forward."""
    by_place: dict[int, list[tuple[int, Finding]]] = {}
    for number, finding in enumerate(report.findings[:_LISTED], start=1):
        if finding.place is not None and ("gradient" in finding.code) is backward:
            by_place.setdefault(finding.place, []).append((number, finding))
    marks = []
    for index, found in by_place.items():
        place = report.places[index]
        height = value(place)
        if height is not None and 0 < height < inf:
            numbers = ", ".join(str(number) for number, _ in found)
            quiet = all(finding.severity == "note" for _, finding in found)
            marks.append(Mark(place.depth, height, numbers, quiet))
    return marks


def _likeness(report: Report, before: Report | None) -> Panel | None:
    """Cosines and entropies, all between 0 and 1."""
    attention = [place for place in report.places if place.entropy is not None]
    courses = [
        *_behind(before, _cosine),
        *_course(report, "inputs", _cosine, _SIGNAL),
        *_course(report, "positions", _cosine_of_positions, _POSITIONS),
        *_over(attention, "entropy", lambda place: place.entropy, _ENTROPY),
    ]
    if not courses:
        return None
    title = "Cosine of two inputs"
    title += " or positions" * any(one.label == "positions" for one in courses)
    title += ", entropy of attention" * bool(attention)
    lowest = min((y for one in courses for y in one.y if isfinite(y)), default=0.0)
    return Panel(title, courses, (-0.04 if lowest > -0.04 else -1.04, 1.04))


def _cosine(place: Place) -> float | None:
    return place.signal.correlation


def _cosine_of_positions(place: Place) -> float | None:
    return place.signal.position_correlation


def _spectrum(report: Report, before: Report | None) -> Panel | None:
    found = report.spectrum
    values, zero = resolved(report)
    if found is None or not values:
        return None
    return Panel(
        f"Singular values of the Jacobian, {found.first} to {found.last}",
        [],
        (0.0, 1.0),
        spectrum=values,
        behind=resolved(before)[0] if before is not None else [],
        all_of_them=found.exact,
        root_mean_square=found.mean_square**0.5,
        zero=zero,
    )
