"""The charts of the page as paths and texts, ready for the template."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import final

from fanin._audit._page.axis import Axis, Point, area_path, line_path, linear_axis, log_axis
from fanin._audit._page.series import (
    MEASURES,
    across,
    bands,
    drawn,
    parts,
    points,
    predicted_gradient,
    predicted_std,
    spine,
)
from fanin._audit._records import Finding, Growth, Place
from fanin._audit._report import Report
from fanin._audit._resolved import resolved
from fanin._text import number

__all__ = ["Chart", "Dot", "Line", "charts_of"]

_WORDS = {
    "gradient": ("gradient",),
    "correlation": ("correlat", "collapse", "rank"),
    "units": ("dead", "saturat", "attention", "entropy"),
}
"""Parts of the codes of the findings that are marked in a chart."""

MOST_DOTS = 150
"""Of more places only the line is drawn: the page must open quickly."""


@final
@dataclass(frozen=True, slots=True)
class Dot:
    """One point that can be pointed at, with what it says."""

    path: str
    title: str
    kind: str


@final
@dataclass(frozen=True, slots=True)
class Line:
    """One line, with its name in the legend; ``kind`` is its style."""

    label: str
    kind: str
    path: str


@final
@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: ``measure`` names what a report that is opened in the page is asked for."""

    measure: str
    title: str
    caption: str
    axis: Axis
    steps: int
    ends: tuple[str, str]
    lines: tuple[Line, ...]
    band: str = ""
    dots: tuple[Dot, ...] = ()
    marks: tuple[Dot, ...] = ()


def charts_of(report: Report) -> list[Chart]:
    """Forward, backward, correlation, units, spectrum: those of which anything was measured."""
    steps = drawn(report)
    if not steps:
        return []
    charts = [
        _forward(report, steps),
        _backward(report, steps),
        _correlation(report, steps),
        _units(report, steps),
        _spectrum(report),
    ]
    return [chart for chart in charts if chart is not None and chart.lines]


def _forward(report: Report, steps: Sequence[Place]) -> Chart:
    found = _measured(steps, "std", {"layers": "layers", "stream": "residual stream"})
    found["over the batch", "batch"] = points(steps, spine(steps), "batch_std")
    found["predicted", "predicted"] = predicted_std(report, steps)
    axis = log_axis(_values(found))
    caption = f"std of every output, √(E x²). {_growth(report, 'forward')}"
    return _by_depth(report, steps, "std", "Forward", caption, axis, found)


def _backward(report: Report, steps: Sequence[Place]) -> Chart:
    found = _measured(steps, "gradient", {"layers": "layers", "stream": "residual stream"})
    found["predicted", "predicted"] = predicted_gradient(report, steps)
    axis = log_axis(_values(found))
    caption = f"Length of the loss's gradient of one input. {_growth(report, 'backward')}"
    return _by_depth(report, steps, "gradient", "Backward", caption, axis, found)


def _correlation(report: Report, steps: Sequence[Place]) -> Chart:
    found = _measured(steps, "correlation", {"layers": "layers", "stream": "residual stream"})
    found["positions of one input", "positions"] = points(steps, spine(steps), "positions")
    caption = "Mean cosine of two different inputs: at 1 the model cannot tell them apart."
    axis = linear_axis(_values(found))
    return _by_depth(report, steps, "correlation", "Correlation of inputs", caption, axis, found)


def _units(report: Report, steps: Sequence[Place]) -> Chart:
    said = {
        "dead": "dead units",
        "saturated": "saturated entries",
        "entropy": "attention entropy (uniform: 1)",
    }
    found = {(label, name): points(steps, steps, name) for name, label in said.items()}
    shown = [label for (label, _), line in found.items() if line]
    caption = f"{', '.join(shown).capitalize()}, of what is behind each layer."
    axis = linear_axis(_values(found))
    return _by_depth(report, steps, "units", "Units and attention", caption, axis, found)


def _by_depth(
    report: Report,
    steps: Sequence[Place],
    measure: str,
    title: str,
    caption: str,
    axis: Axis,
    found: dict[tuple[str, str], list[Point]],
) -> Chart:
    direction = {"std": "forward", "gradient": "backward"}.get(measure, "")
    return Chart(
        measure=measure,
        title=title,
        caption=caption,
        axis=axis,
        steps=len(steps),
        ends=(steps[0].name, steps[-1].name),
        lines=tuple(
            Line(label, kind, line_path(axis.unbounded() if kind == "predicted" else axis, line))
            for (label, kind), line in found.items()
            if line
        ),
        band="".join(
            area_path(axis.unbounded(), *lines) for lines in bands(report, steps, direction)
        ),
        dots=tuple(_dots(steps, measure, axis)),
        marks=tuple(_marks(report, steps, measure, axis)),
    )


def _measured(
    steps: Sequence[Place], measure: str, kinds: dict[str, str]
) -> dict[tuple[str, str], list[Point]]:
    grouped = parts(steps)
    return {(label, kind): points(steps, grouped[kind], measure) for kind, label in kinds.items()}


def _values(found: dict[tuple[str, str], list[Point]]) -> Iterable[float]:
    return [value for line in found.values() for _, value in line]


def _dots(steps: Sequence[Place], measure: str, axis: Axis) -> Iterable[Dot]:
    if measure not in MEASURES or len(steps) > MOST_DOTS:
        return
    for place in steps:
        value = MEASURES[measure](place)
        if value is not None and isfinite(value):
            kind = "layers" if place.weight else "stream"
            spot = (across(steps, place.index), value)
            yield Dot(f"{line_path(axis, [spot])}h0", f"{place.name}: {number(value)}", kind)


def _marks(report: Report, steps: Sequence[Place], measure: str, axis: Axis) -> Iterable[Dot]:
    known = {place.index: place for place in report.places}
    for finding in report.findings:
        if not _belongs(finding.code, measure):
            continue
        place = known.get(-1 if finding.place is None else finding.place)
        value = None if place is None else _value_for(measure, place)
        if place is not None and value is not None and isfinite(value):
            spot = (across(steps, place.index), value)
            yield Dot(f"{line_path(axis, [spot])}h0", _said(finding), finding.severity)


def _belongs(code: str, measure: str) -> bool:
    """Whether a finding is marked in a chart: each in that of its kind, and forward or backward."""
    if measure == "std":
        return "gradient" not in code
    return any(word in code for word in _WORDS.get(measure, ()))


def _value_for(measure: str, place: Place) -> float | None:
    if measure in MEASURES:
        return MEASURES[measure](place)
    values = (MEASURES[name](place) for name in ("dead", "saturated", "entropy"))
    return next((value for value in values if value is not None), None)


def _said(finding: Finding) -> str:
    return f"{finding.severity}: {finding.code} at {finding.where}, {finding.measured}"


def _growth(report: Report, direction: str) -> str:
    growth = next((one for one in report.growths if one.direction == direction), None)
    return "" if growth is None else _growth_text(growth)


def _growth_text(growth: Growth) -> str:
    what = "E x²" if growth.direction == "forward" else "The squared gradient"
    per = "sum" if growth.kind == "residual" else "layer"
    low, high = map(number, growth.interval)
    return (
        f"{what} is multiplied by {number(growth.per_layer)} at each {per}"
        f" (one healthy draw: {low} to {high}, the band)."
    )


def _spectrum(report: Report) -> Chart | None:
    spectrum = report.spectrum
    values, zero = resolved(report)
    if spectrum is None or not values:
        return None
    line = list(enumerate(values, start=1))
    axis = log_axis(values)
    rest = f" {zero} of them are zero to rounding and are not drawn." if zero else ""
    error = f" ± {number(spectrum.error)}" if spectrum.error else ""
    kind = "layers" if spectrum.exact else "extremes"
    return Chart(
        measure="spectrum",
        title="Jacobian spectrum",
        caption=(
            f"Singular values from {spectrum.first} to {spectrum.last},"
            f" {'all of them' if spectrum.exact else 'only the extremes that were found'};"
            f" mean square {number(spectrum.mean_square)}{error}.{rest}"
        ),
        axis=axis,
        steps=len(line) + zero,
        ends=("largest", "smallest"),
        lines=(Line("singular values", kind, line_path(axis, line)),),
        dots=()
        if spectrum.exact
        else tuple(
            Dot(f"{line_path(axis, [spot])}h0", f"singular value {number(spot[1])}", "layers")
            for spot in line[:MOST_DOTS]
        ),
    )
