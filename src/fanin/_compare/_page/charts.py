"""The charts of the page as paths and texts, ready for the template."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isfinite, log, nan
from statistics import median
from typing import Final, final

from fanin._compare._comparison import Comparison
from fanin._compare._curves import Rate, course_of, rates_of, reach_of, values_of
from fanin._compare._page.spans import Span, Tick, area_path, dot_path, line_path
from fanin._text import number

__all__ = ["Chart", "Mark", "charts_of"]

_NEVER: Final = 1.1
"""Where a run that never arrives is drawn, in budgets."""
_WIDEST: Final = 16.0
"""A ratio beyond this is at the edge of its chart."""
_ALIKE: Final = (1 / 1.1, 1.1)


@final
@dataclass(frozen=True, slots=True)
class Mark:
    """One shape of the start with this number: ``kind`` is its style, ``title`` what it says."""

    start: int
    kind: str
    path: str
    title: str = ""


@final
@dataclass(frozen=True, slots=True)
class Chart:
    """One chart; with ``rows`` it has a row for each of these starts instead of an axis."""

    key: str
    title: str
    caption: str
    marks: tuple[Mark, ...]
    across: tuple[Tick, ...]
    below: str
    up: tuple[Tick, ...] = ()
    rows: tuple[int, ...] = ()
    lines: tuple[Tick, ...] = ()
    """Level lines with their names, in percent from above."""
    upright: float | None = None
    """A line that parts the runs that never arrive."""
    shaded: tuple[float, float] | None = None


def charts_of(comparison: Comparison) -> list[Chart]:
    """Losses, seeds, rates, and the ratios where there are verdicts."""
    charts = [_losses(comparison), _seeds(comparison), _rates(comparison)]
    return [chart for chart in [*charts, *_ratios(comparison)] if chart.marks]


def _losses(comparison: Comparison) -> Chart:
    settings = comparison.settings
    courses = [course_of(comparison.of(one.name), settings.steps) for one in comparison]
    reach = reach_of(comparison, courses)
    up, along = Span(reach.low, reach.high, reach.log), Span(1, max(2, settings.steps))
    marks: list[Mark] = []
    for place, course in enumerate(courses):
        lines = [
            [
                (along.share(step), 100 - up.share(one) if isfinite(one) else nan)
                for step, one in zip(course.steps, values, strict=True)
            ]
            for values in (course.low, course.high, course.middle)
        ]
        marks.append(Mark(place, "band", area_path(lines[0], lines[1])))
        marks.append(Mark(place, "line", line_path(lines[2])))
        marks += [
            Mark(place, "cross", _cross(along.share(end)), f"diverged after {end} steps")
            for end in course.ends
        ]
    target = () if settings.target is None else _level(settings.target, up)
    diverged = " ×: a seed diverged." if any(course.ends for course in courses) else ""
    return Chart(
        key="loss",
        title="Training loss",
        caption=f"Mean of the last {settings.window} batches. Line: median of "
        f"{len(settings.scoring_seeds)} seeds; band: all of them, until one diverges.{diverged}",
        marks=tuple(mark for mark in marks if mark.path),
        across=tuple(along.ticks()),
        below="training step",
        up=tuple(up.ticks()),
        lines=target,
    )


def _level(target: float, up: Span) -> tuple[Tick, ...]:
    return ((100 - up.share(target), f"target {target:.4g}"),)


def _cross(across: float) -> str:
    return f"M{across - 0.5:g},-2l1,4m0,-4l-1,4"


def _seeds(comparison: Comparison) -> Chart:
    settings = comparison.settings
    names = [one.name for one in comparison]
    values = {name: values_of(comparison, name) for name in names}
    known = [one for own in values.values() for one in own if one is not None]
    failed = any(None in own for own in values.values())
    by_steps = settings.target is not None
    first, last = min([0.0, *known]), max(known, default=1.0)
    if by_steps and failed:
        last = settings.steps
    width = (last - first) or 1.0
    beyond = first + _NEVER * width
    along = Span(first, first + width * (_NEVER + 0.05 if failed else 1.04))
    never = "never arrives" if by_steps else "diverges"
    what = "Steps to the target" if by_steps else "Last training loss"
    marks: list[Mark] = []
    for row, name in enumerate(names):
        marks += _row_of_dots(comparison, row, name, values[name], along, beyond, never)
    # On a phone a value nearer to the last word would run into it.
    room = along.share(beyond) - 15 if failed else 100
    ticks = [tick for tick in along.ticks() if tick[0] <= room]
    return Chart(
        key="seeds",
        title=what,
        caption=f"A dot for each seed, a stroke at the median{f'; hollow: {never}' * failed}.",
        marks=tuple(marks),
        across=(*ticks, *([(along.share(beyond), never.split(maxsplit=1)[0])] if failed else [])),
        below="training step" if by_steps else "training loss",
        rows=tuple(range(len(names))),
        upright=(along.share(last) + along.share(beyond)) / 2 if failed else None,
    )


def _row_of_dots(
    comparison: Comparison,
    row: int,
    name: str,
    values: list[float | None],
    along: Span,
    beyond: float,
    never: str,
) -> Iterator[Mark]:
    height = 100 / len(comparison.starts)
    middle = median(inf if one is None else one for one in values) if values else inf
    if isfinite(middle):
        top, across = (row + 0.14) * height, along.share(middle)
        yield Mark(row, "median", f"M{across:g},{top:g}v{0.72 * height:g}")
    seeds = [one.member.seed for one in comparison.of(name)]
    for place, (seed, one) in enumerate(zip(seeds, values, strict=True)):
        down = (row + 0.22 + 0.56 * (place + 0.5) / len(values)) * height
        path = dot_path(along.share(beyond if one is None else one), round(down, 2))
        said = f"{name}, seed {seed}: {never if one is None else number(one)}"
        yield Mark(row, "dot", path, said)
        if one is None:
            yield Mark(row, "hole", path, said)


def _rates(comparison: Comparison) -> Chart:
    settings = comparison.settings
    by_steps = settings.target is not None
    tried = {one.name: rates_of(comparison, one.name) for one in comparison}
    rates = sorted({one.rate for own in tried.values() for one in own})
    heights = [_height(one, by_steps) for own in tried.values() for one in own]
    known = [one for one in heights if isfinite(one)]
    highest = settings.steps if by_steps else max(known, default=1.0)
    up = Span(min([0.0, *known]), highest * 1.18 or 1.0)
    along = _around(rates)
    marks: list[Mark] = []
    for place, own in enumerate(tried.values()):
        marks += _rate_marks(place, own, by_steps, along, up, highest)
    ticks = [tick for tick in up.ticks() if tick[0] <= up.share(highest)]
    never = [(up.share(1.12 * highest), "never")] if by_steps else []
    return Chart(
        key="rates",
        title="Steps at each rate" if by_steps else "Last loss at each rate",
        caption=f"Median of {len(settings.tuning_seeds)} other seeds, which chose the rates"
        " (ringed).",
        marks=tuple(mark for mark in marks if mark.path),
        across=tuple((along.share(rate), f"{rate:g}") for rate in rates),
        below="learning rate",
        up=(*ticks, *never),
    )


def _around(rates: list[float]) -> Span:
    """All rates, and some room on both sides."""
    if not rates:
        return Span(0.1, 1.0, log=True)
    return Span(rates[0] / 1.3, rates[-1] * 1.3, log=True)


def _height(rate: Rate, by_steps: bool) -> float:  # noqa: FBT001 - one of two readings
    return rate.steps if by_steps else rate.loss


def _rate_marks(
    place: int,
    tried: list[Rate],
    by_steps: bool,  # noqa: FBT001 - one of two readings
    along: Span,
    up: Span,
    highest: float,
) -> Iterator[Mark]:
    points = []
    for one in tried:
        height = _height(one, by_steps)
        points.append((along.share(one.rate), 100 - up.share(height) if isfinite(height) else nan))
    yield Mark(place, "line", line_path(points))
    for one in tried:
        height = _height(one, by_steps)
        known = isfinite(height)
        if not known and not by_steps:
            continue
        down = round(100 - up.share(height if known else 1.12 * highest), 2)
        path = dot_path(along.share(one.rate), down)
        said = f"rate {one.rate:g}: {number(height) if known else 'most seeds never arrive'}"
        if one.chosen:
            yield Mark(place, "ring", path, said)
            yield Mark(place, "inside", path, said)
        yield Mark(place, "dot", path, said)
        if not known:
            yield Mark(place, "hole", path, said)


def _ratios(comparison: Comparison) -> Iterator[Chart]:
    """Each start's steps against the reference's, on one axis of powers around 1."""
    places = {one.name: place for place, one in enumerate(comparison)}
    found = [(places[one.start], one.speedup) for one in comparison.verdicts]
    known = [(place, ratio) for place, ratio in found if ratio is not None]
    if not known:
        return
    ends = [end for _, ratio in known for end in (ratio.low, ratio.high, ratio.mean)]
    widest = max([1.5, *(max(end, 1 / end) for end in ends if 0 < end < inf)])
    widest = min(_WIDEST, 1.15 * widest)
    along = Span(1 / widest, widest, log=True)
    height = 100 / len(known)
    marks = []
    for row, (place, ratio) in enumerate(known):
        middle = (row + 0.5) * height
        left, right = along.share(max(ratio.low, 1e-9)), along.share(ratio.high)
        said = f"{comparison.starts[place].name}: {ratio.bound} {number(ratio.mean)}".replace(
            ":  ", ": "
        )
        line = f"M{max(0.0, left):g},{middle:g}H{min(100.0, right):g}"
        marks.append(Mark(place, "interval", line, said))
        if not ratio.bound:
            marks.append(Mark(place, "dot large", dot_path(along.share(ratio.mean), middle), said))
    yield Chart(
        key="ratios",
        title=f"Times fewer steps than {comparison.reference}",
        caption="Line: 95 % interval over the seeds; one without a dot is a bound. Shaded: a tie. "
        "An interval that meets the line at 1 shows no difference.",
        marks=tuple(marks),
        across=tuple(_ratio_ticks(along, widest)),
        below="times fewer (right) or more (left)",
        rows=tuple(place for place, _ in known),
        upright=50.0,
        shaded=(along.share(_ALIKE[0]), along.share(_ALIKE[1])),
    )


def _ratio_ticks(along: Span, widest: float) -> Iterator[Tick]:
    """Powers of two, or of the root of two where the chart is narrow."""
    values = (1.0, 1.5, 2.0, 3.0) if log(widest) < log(4) else (1.0, 2.0, 4.0, 8.0, 16.0)
    for value in sorted({1 / one for one in values} | set(values)):
        if 1 / widest <= value <= widest:
            yield along.share(value), f"{value:.2g}"
