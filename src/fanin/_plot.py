"""Pictures of lines with bands, from plain strings and numbers; needs matplotlib when drawing."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "TROUBLE", "Line", "Mark", "Panel", "draw", "is_available", "save"]

# Okabe & Ito's colours, told apart by colour-blind readers; their red is kept for trouble.
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8C6D31", "#444444")
TROUBLE: Final = "#D1260F"

_INK: Final = "#22262B"
_FAINT: Final = "#8A9099"
_STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "svg.hashsalt": "fanin",
    "svg.fonttype": "path",
}


@final
@dataclass(frozen=True, slots=True)
class Line:
    """A line ``middle`` over ``x`` inside its band ``low`` to ``high``; NaN breaks it."""

    label: str
    x: Sequence[float]
    middle: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    colour: str


@final
@dataclass(frozen=True, slots=True)
class Mark:
    """A named horizontal line; its name stands above it, at the right or the left."""

    height: float
    name: str
    at_left: bool = False


@final
@dataclass(frozen=True, slots=True)
class Panel:
    """Lines on one pair of axes, labelled at their ends."""

    title: str
    x_label: str
    lines: Sequence[Line]
    y_range: tuple[float, float]
    log: bool = False
    percent: bool = False
    marks: Sequence[Mark] = ()


def is_available() -> bool:
    """Whether matplotlib can be imported."""
    return find_spec("matplotlib") is not None


def draw(title: str, subtitle: str, panels: Sequence[Panel]) -> "Figure":
    """A figure of the panels side by side, under a title and a smaller line of text."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(6.0 * len(panels), 5.0), facecolor="white")
        figure.text(0.035, 0.935, title, fontsize=16, fontweight="bold", va="center")
        figure.text(0.035, 0.872, subtitle, fontsize=10.5, color="#555B63", va="center")
        for place, panel in enumerate(panels, start=1):
            _draw_panel(figure.add_subplot(1, len(panels), place), panel)
        figure.subplots_adjust(left=0.05, right=0.825, top=0.755, bottom=0.125, wspace=0.55)
    return figure


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    axes.set_title(panel.title, loc="left", fontsize=11.5, fontweight="bold", pad=10)
    axes.set_xlabel(panel.x_label)
    if panel.log:
        axes.set_yscale("log")
    axes.set_ylim(*panel.y_range)
    axes.set_xlim(panel.lines[0].x[0], panel.lines[0].x[-1])
    axes.grid(axis="y", color="#E6E8EB", linewidth=0.8)
    axes.spines["left"].set_visible(False)
    for line in panel.lines:
        axes.fill_between(line.x, line.low, line.high, color=line.colour, alpha=0.18, linewidth=0)
        axes.plot(line.x, line.middle, color=line.colour, linewidth=2.4, solid_capstyle="round")
    for mark in panel.marks:
        _draw_mark(axes, mark)
    _few_ticks(axes, panel)
    _label_ends(axes, panel.lines)


def _draw_mark(axes: "Axes", mark: Mark) -> None:
    axes.axhline(mark.height, color=_FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        mark.name,
        (0 if mark.at_left else 1, mark.height),
        xycoords=("axes fraction", "data"),
        xytext=(4 if mark.at_left else -4, 3),
        textcoords="offset points",
        ha="left" if mark.at_left else "right",
        fontsize=9,
        color="#6A7079",
    )


def _few_ticks(axes: "Axes", panel: Panel) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

    if panel.log:
        axes.yaxis.set_major_locator(LogLocator(numticks=7))
        axes.yaxis.set_minor_locator(NullLocator())
    if panel.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def _label_ends(axes: "Axes", lines: Sequence[Line]) -> None:
    """Each line's name at its right end, in its colour, moved apart where they would meet."""
    to_fraction = axes.transData + axes.transAxes.inverted()
    wanted = []
    for line in lines:
        ends = [y for y in line.middle if y == y]  # noqa: PLR0124 - NaN
        height = to_fraction.transform((0, ends[-1]))[1] if ends else 1.0
        wanted.append(min(1.0, max(0.0, float(height))))
    for line, height in zip(lines, spread(wanted, gap=0.062), strict=True):
        axes.annotate(
            line.label,
            (1, height),
            xycoords="axes fraction",
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=line.colour,
            fontweight="bold",
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights near these in [0, 1], in the same order, at least ``gap`` apart.

    >>> [round(height, 6) for height in spread([0.5, 0.5, 0.9, 1.0], gap=0.1)]
    [0.45, 0.55, 0.85, 0.95]
    """
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    # Runs of labels that touch: each is centred on the mean of what its members wanted.
    runs: list[list[int]] = []
    for index in order:
        runs.append([index])
        while len(runs) > 1 and _overlap(runs[-2], runs[-1], heights, gap):
            last = runs.pop()
            runs[-1] += last
    placed = [0.0] * len(heights)
    for run in runs:
        for rank, index in enumerate(run):
            placed[index] = _bottom(run, heights, gap) + gap * (rank + 0.5)
    return placed


def _bottom(run: Sequence[int], heights: Sequence[float], gap: float) -> float:
    size = gap * len(run)
    middle = sum(heights[index] for index in run) / len(run)
    return max(0.0, min(middle - size / 2, 1.0 - size))


def _overlap(
    below: Sequence[int], above: Sequence[int], heights: Sequence[float], gap: float
) -> bool:
    return _bottom(below, heights, gap) + gap * len(below) > _bottom(above, heights, gap)


def save(figure: "Figure", path: Path) -> None:
    """Write the figure as its suffix says, .png or .svg; equal figures give equal bytes."""
    from matplotlib import rc_context

    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with rc_context(_STYLE):
        figure.savefig(path, dpi=144, metadata=metadata)
