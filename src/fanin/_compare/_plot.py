"""The picture of a comparison: losses, the steps of every seed, and the steps at every rate."""

from collections.abc import Sequence
from math import inf, isfinite, nan
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal

from fanin import _plot
from fanin._compare._comparison import Comparison
from fanin._compare._curves import (
    Colour,
    Course,
    Reach,
    colours_of,
    course_of,
    headline,
    rates_of,
    reach_of,
    values_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot"]

_GRID: Final = "#E6E8EB"
_NEVER: Final = 1.09
"""Where a run that never arrives is drawn, in budgets."""
_NEVER_UP: Final = 1.16
_LONGEST: Final = 18
"""Characters of a name."""
_ROW: Final = 0.34
"""Inches for the seeds of one start."""
_DASHES: Final = (0, (5, 2))


def plot(comparison: Comparison, figure: "Figure | None" = None) -> "Figure":
    """The panels of a comparison on ``figure``, or on a new one.

    Raises:
        FaninError: where matplotlib is not installed.
    """
    _plot.require_for("comparison.plot")
    height = max(6.4, 4.2 + _ROW * len(comparison.starts))
    if figure is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12.6, height), facecolor="white")
    _write(figure, comparison, height)
    grid = figure.add_gridspec(
        2,
        2,
        width_ratios=(1.0, 0.92),
        height_ratios=(0.8 + _ROW * len(comparison.starts), 2.4),
        left=0.055,
        right=0.975,
        top=1 - 1.2 / height,
        bottom=0.62 / height,
        wspace=0.46,
        hspace=0.5,
    )
    colours = colours_of(comparison)
    _losses(figure.add_subplot(grid[:, 0]), comparison, colours)
    _seeds(figure.add_subplot(grid[0, 1]), comparison, colours)
    _rates(figure.add_subplot(grid[1, 1]), comparison, colours)
    return figure


def _write(figure: "Figure", comparison: Comparison, height: float) -> None:
    settings = comparison.settings
    subtitle = (
        f"{settings.optimizer}, each start at its own best rate; line: median of "
        f"{len(settings.scoring_seeds)} seeds, band: all of them"
        f"{', × diverged' * any(one.diverged for one in comparison.outcomes)}"
    )
    text: dict[str, Any] = {"color": _plot.INK, "va": "center", "parse_math": False}
    title = _cut(f"{comparison.model}, {headline(comparison)}", 90)
    figure.text(0.03, 1 - 0.3 / height, title, fontsize=15, fontweight="bold", **text)
    figure.text(0.03, 1 - 0.6 / height, subtitle, fontsize=10, **(text | {"color": _plot.SOFT}))


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _style(axes: "Axes", title: str, x_label: str, along: Literal["x", "y"]) -> None:
    style: dict[str, Any] = {"fontweight": "bold", "color": _plot.INK, "parse_math": False}
    axes.set_title(title, loc="left", fontsize=11, pad=9, **style)
    axes.set_xlabel(x_label, fontsize=9, color=_plot.SOFT)
    axes.grid(axis=along, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_plot.FAINT)
    axes.tick_params(labelsize=9, labelcolor=_plot.INK, color=_plot.FAINT)
    axes.tick_params(axis="y", which="both", length=0)


def _losses(axes: "Axes", comparison: Comparison, colours: dict[str, Colour]) -> None:
    settings = comparison.settings
    courses = {name: course_of(comparison.of(name), settings.steps) for name in colours}
    reach = reach_of(comparison, list(courses.values()))
    title = f"Training loss, mean of the last {settings.window} batches"
    _style(axes, title, "training step", "y")
    if reach.log:
        axes.set_yscale("log")
    axes.set_ylim(reach.low, reach.high)
    axes.set_xlim(1, max(2, settings.steps))
    for name, course in courses.items():
        _draw_course(axes, course, colours[name], reach)
    if settings.target is not None:
        _draw_target(axes, settings.target)
    _few_ticks(axes, log=reach.log)
    _label_ends(axes, courses, colours)


def _draw_course(axes: "Axes", course: Course, colour: Colour, reach: Reach) -> None:
    middle = [one if isfinite(one) else nan for one in course.middle]
    high = [one if isfinite(one) else nan for one in course.high]
    axes.fill_between(course.steps, course.low, high, color=colour.value, alpha=0.15, linewidth=0)
    axes.plot(
        course.steps,
        middle,
        color=colour.value,
        linewidth=2.2,
        linestyle=_DASHES if colour.again else "-",
    )
    for end in course.ends:
        axes.plot(end, reach.high, "x", color=colour.value, markersize=7, clip_on=False)


def _draw_target(axes: "Axes", target: float) -> None:
    axes.axhline(target, color=_plot.FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        f"target {target:.4g}",
        (0, target),
        xycoords=("axes fraction", "data"),
        xytext=(4, 3),
        textcoords="offset points",
        fontsize=9,
        color="#6A7079",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
    )


def _few_ticks(axes: "Axes", *, log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if log:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=9))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def _label_ends(axes: "Axes", courses: dict[str, Course], colours: dict[str, Colour]) -> None:
    """Each line's name at its right end, in its colour, moved apart where they would meet."""
    to_share = axes.transData + axes.transAxes.inverted()
    wanted = []
    for course in courses.values():
        ends = [one for one in course.middle if isfinite(one)]
        share = float(to_share.transform((1, ends[-1]))[1]) if ends else 1.0
        wanted.append(min(1.0, max(0.0, share)))
    for name, height in zip(courses, _plot.spread(wanted, gap=0.05), strict=True):
        axes.annotate(
            _cut(name, _LONGEST),
            (1, height),
            xycoords="axes fraction",
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
            fontweight="bold",
            color=colours[name].value,
            parse_math=False,
        )


def _seeds(axes: "Axes", comparison: Comparison, colours: dict[str, Colour]) -> None:
    """A row for each start, a dot for each seed, at the same height within every row."""
    settings = comparison.settings
    names = [start.name for start in comparison.starts]
    values = {name: values_of(comparison, name) for name in names}
    known = [one for own in values.values() for one in own if one is not None]
    first, last = min([0.0, *known]), max(known, default=1.0)
    failed = any(None in own for own in values.values())
    what, unit, word = "Last loss", "training loss", "diverged"
    if settings.target is not None:
        what, unit, word = "Steps to the target", "training step", "never"
        last = settings.steps if failed else last
    width = (last - first) or 1.0
    _style(axes, f"{what}, a dot for each seed", unit, "x")
    for row, name in enumerate(names):
        _draw_row(axes, row, values[name], colours[name], first + width * _NEVER)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.set_yticks(range(len(names)), [_cut(name, _LONGEST) for name in names])
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set(color=colours[name].value, fontweight="bold", parse_math=False)
    axes.set_xlim(first, first + width * (_NEVER + 0.05 if failed else 1.06))
    if failed:
        _upright(axes, first + 1.03 * width, first + _NEVER * width, word)


def _draw_row(
    axes: "Axes", row: int, values: Sequence[float | None], colour: Colour, beyond: float
) -> None:
    """Dots, hollow for what has no value, and a stroke at the median."""
    for place, one in enumerate(values):
        axes.plot(
            beyond if one is None else one,
            row + 0.56 * ((place + 0.5) / len(values) - 0.5),
            "o",
            color=colour.value,
            markerfacecolor="none" if one is None else colour.value,
            markersize=4.5,
            alpha=0.85,
        )
    middle = median(inf if one is None else one for one in values) if values else inf
    if isfinite(middle):
        axes.plot([middle, middle], [row - 0.38, row + 0.38], color=colour.value, linewidth=2.2)


def _upright(axes: "Axes", line: float, middle: float, word: str) -> None:
    axes.axvline(line, color=_plot.FAINT, linewidth=1)
    axes.annotate(
        word,
        (middle, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color=_plot.SOFT,
    )


def _rates(axes: "Axes", comparison: Comparison, colours: dict[str, Colour]) -> None:
    """The medians on the tuning seeds; the rate that was chosen is ringed."""
    settings = comparison.settings
    what = "Last loss" if settings.target is None else "Steps"
    title = f"{what} at each rate, on other seeds"
    _style(axes, title, "learning rate (ringed: chosen)", "y")
    axes.set_xscale("log")
    for start in comparison.starts:
        _draw_rates(axes, comparison, start.name, colours[start.name])
    _rate_ticks(axes, comparison)


def _draw_rates(axes: "Axes", comparison: Comparison, name: str, colour: Colour) -> None:
    """Dots; hollow above the budget where most seeds never arrive."""
    has_target = comparison.settings.target is not None
    beyond = comparison.settings.steps * _NEVER_UP if has_target else nan
    tried = rates_of(comparison, name)
    heights = [one.steps if has_target else one.loss for one in tried]
    known = [one if isfinite(one) else nan for one in heights]
    style = _DASHES if colour.again else "-"
    axes.plot([one.rate for one in tried], known, color=colour.value, linestyle=style)
    for one, height in zip(tried, heights, strict=True):
        spot = height if isfinite(height) else beyond
        fill = colour.value if isfinite(height) else "none"
        axes.plot(one.rate, spot, "o", color=colour.value, markerfacecolor=fill, markersize=5)
        if one.chosen:
            axes.plot(one.rate, spot, "o", color=_plot.INK, markerfacecolor="none", markersize=10)


def _rate_ticks(axes: "Axes", comparison: Comparison) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    rates = sorted({trial.rate for trial in comparison.trials})
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(rates))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{rate:g}" for rate in rates]))
    if comparison.settings.target is not None:
        budget = comparison.settings.steps
        ticks = [0, budget // 2, budget, round(budget * _NEVER_UP)]
        axes.set_yticks(ticks, ["0", f"{budget // 2}", f"{budget}", "never"])
        axes.set_ylim(0, budget * (_NEVER_UP + 0.07))
