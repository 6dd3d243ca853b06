"""Panels of curves over depth, drawn with matplotlib from plain numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isfinite, log10
from typing import TYPE_CHECKING, Any, Final, Literal, final

from fanin._plot import COLOURS, FAINT, INK, SOFT, TROUBLE, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Band", "Course", "Mark", "Panel", "draw"]

_LONGEST: Final = 110
"""Characters of a line below the panels."""
_MANY: Final = 40
"""With more points than this a line shows no dots."""
_BINS: Final = 24


@final
@dataclass(frozen=True, slots=True)
class Course:
    """One curve over the depth; NaN breaks it."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    style: Literal["line", "thin", "dashes", "dots"] = "line"


@final
@dataclass(frozen=True, slots=True)
class Band:
    """Where a healthy start would be."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@final
@dataclass(frozen=True, slots=True)
class Mark:
    """The findings of one place, by their numbers; notes are less loud."""

    x: float
    y: float
    numbers: str
    quiet: bool = False


@final
@dataclass(frozen=True, slots=True)
class Panel:
    """Curves over depth, or with ``spectrum`` the values of one."""

    title: str
    courses: Sequence[Course]
    y_range: tuple[float, float]
    log: bool = False
    bands: Sequence[Band] = ()
    marks: Sequence[Mark] = ()
    spectrum: Sequence[float] = ()
    behind: Sequence[float] = ()
    all_of_them: bool = True
    root_mean_square: float = 0.0
    zero: int = 0
    """So many more values are zero up to rounding, and not drawn."""


def draw(
    figure: "Figure | None",
    title: str,
    subtitle: str,
    panels: Sequence[Panel],
    lines: Sequence[str],
) -> "Figure":
    """The panels in two columns under a title, and the lines of the findings below."""
    rows = max(1, ceil(len(panels) / 2))
    height = 1.1 + 3.3 * rows + 0.24 * len(lines)
    if figure is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(11.0, height), facecolor="white")
    _write(figure, title, subtitle, lines, height)
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, 2, place)
        _style(axes, panel)
        if panel.spectrum:
            _draw_spectrum(axes, panel)
        else:
            _draw_courses(axes, panel)
    figure.subplots_adjust(
        left=0.06,
        right=0.89,
        top=1 - 1.15 / height,
        bottom=(0.62 + 0.24 * len(lines)) / height,
        wspace=0.46,
        hspace=0.5,
    )
    return figure


def _write(
    figure: "Figure", title: str, subtitle: str, lines: Sequence[str], height: float
) -> None:
    heading: dict[str, Any] = {"color": INK, "va": "center", "parse_math": False}
    figure.text(0.03, 1 - 0.3 / height, _cut(title, 90), fontsize=15, fontweight="bold", **heading)
    figure.text(0.03, 1 - 0.58 / height, subtitle, fontsize=10, **(heading | {"color": SOFT}))
    for place, line in enumerate(reversed(lines)):
        figure.text(
            0.03, (0.16 + 0.24 * place) / height, _cut(line, _LONGEST), fontsize=9.5, **heading
        )


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _style(axes: "Axes", panel: Panel) -> None:
    axes.set_title(
        _cut(panel.title, 56),
        loc="left",
        fontsize=11,
        fontweight="bold",
        color=INK,
        pad=9,
        parse_math=False,
    )
    axes.grid(axis="y", color="#E6E8EB", linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT)
    axes.tick_params(labelsize=9, labelcolor=INK, color=FAINT)
    axes.tick_params(axis="y", which="both", length=0)


def _draw_courses(axes: "Axes", panel: Panel) -> None:
    if panel.log:
        axes.set_yscale("log")
    axes.set_ylim(*panel.y_range)
    axes.set_xlabel("depth: weights passed", fontsize=9, color=SOFT)
    for band in panel.bands:
        axes.fill_between(band.x, band.low, band.high, color=COLOURS[2], alpha=0.13, linewidth=0)
    for course in panel.courses:
        _draw_course(axes, course)
    for mark in panel.marks:
        _draw_mark(axes, mark)
    _few_ticks(axes, log=panel.log)
    _label_ends(axes, panel)


def _draw_course(axes: "Axes", course: Course) -> None:
    if course.style == "dots":
        axes.plot(course.x, course.y, "o", color=course.colour, markersize=3)
        return
    # A point alone is no line.
    dots = "o" if course.style == "line" and len(course.x) <= _MANY else ""
    axes.plot(
        course.x,
        course.y,
        color=course.colour,
        linewidth=1.3 if course.style == "thin" else 2.0,
        linestyle=(0, (4, 2)) if course.style == "dashes" else "-",
        marker=dots,
        markersize=4,
        solid_capstyle="round",
    )


def _draw_mark(axes: "Axes", mark: Mark) -> None:
    colour = SOFT if mark.quiet else TROUBLE
    axes.plot(
        [mark.x], [mark.y], "o", markersize=11, markerfacecolor="none", color=colour, zorder=5
    )
    axes.annotate(
        mark.numbers,
        (mark.x, mark.y),
        xytext=(0, 9),
        textcoords="offset points",
        ha="center",
        fontsize=10,
        fontweight="bold",
        color=colour,
        zorder=6,
    )


def _few_ticks(axes: "Axes", *, log: bool) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    left, right = axes.get_xlim()
    if right - left < 1:
        # One depth alone would be shown in hundredths.
        axes.set_xlim(left - 1, right + 1)

    if log:
        axes.yaxis.set_major_locator(LogLocator(numticks=7))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def _label_ends(axes: "Axes", panel: Panel) -> None:
    """Each curve's name at its right end, in its colour, moved apart where they would meet."""
    wanted = [_height(course, panel) for course in panel.courses]
    for course, height in zip(panel.courses, spread(wanted, gap=0.085), strict=True):
        axes.annotate(
            course.label,
            (1, height),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
            fontweight="bold",
            color=course.colour,
        )


def _height(course: Course, panel: Panel) -> float:
    """Where the curve ends, as a share of the axis."""
    known = [y for y in course.y if isfinite(y)]
    low, high = panel.y_range
    last = known[-1] if known else high
    if panel.log:
        last, low, high = (log10(value) if value > 0 else -400.0 for value in (last, low, high))
    return min(1.0, max(0.0, (last - low) / (high - low)))


def _draw_spectrum(axes: "Axes", panel: Panel) -> None:
    """A histogram where all values are known, else a stroke for each that was found."""
    seen = [*panel.spectrum, *panel.behind]
    # At least a decade on each side of 1, so that what is near 1 looks so.
    low, high = min(log10(min(seen)), -1.0), max(log10(max(seen)), 1.0)
    step = (high - low) / _BINS
    edges = [10 ** (low + step * place) for place in range(_BINS + 1)]
    axes.set_xscale("log")
    axes.set_xlim(edges[0] / 10**step, edges[-1] * 10**step)
    if panel.all_of_them:
        axes.hist(panel.behind, bins=edges, color=FAINT, histtype="step")
        axes.hist(panel.spectrum, bins=edges, color=COLOURS[0], alpha=0.75)
        axes.set_ylabel("how many", fontsize=9, color=SOFT)
    else:
        axes.vlines(panel.behind, 0, 1, color=FAINT, linewidth=1)
        axes.vlines(panel.spectrum, 0, 1, color=COLOURS[0], linewidth=2)
        axes.set_yticks([])
    _few_decades(axes)
    _upright(axes, 1.0, "1", SOFT, drop=2)
    if panel.root_mean_square > 0:
        _upright(axes, panel.root_mean_square, "rms", COLOURS[1], drop=15)
    name = "singular value" if panel.all_of_them else "singular value: the extremes found"
    zero = f"; {panel.zero} more are zero to rounding" if panel.zero else ""
    axes.set_xlabel(name + zero, fontsize=9, color=SOFT)


def _few_decades(axes: "Axes") -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.xaxis.set_major_locator(LogLocator(numticks=7))
    axes.xaxis.set_minor_locator(NullLocator())


def _upright(axes: "Axes", x: float, label: str, colour: str, *, drop: int) -> None:
    axes.axvline(x, color=colour, linewidth=1.4, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        label,
        (x, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -drop),
        textcoords="offset points",
        va="top",
        fontsize=9,
        color=colour,
    )
