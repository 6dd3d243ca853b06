"""The heat map of a sweep of scales: norm × factor."""

from math import log, nan
from typing import TYPE_CHECKING, Any, Final

from fanin import _plot
from fanin._compare._scale_result import Band, Cell, ScaleSweep, factor_name
from fanin._compare._scale_text import cell_text, norm_label, subtitle, title
from fanin._text import paragraph

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot", "share_of"]

_FAILS: Final = "#ECEDEF"
_ABOVE, _ROW, _LINE = 0.85, 0.62, 0.175
"""Inches: the titles, one norm, one line of the sentence."""


def plot(sweep: ScaleSweep, figure: "Figure | None" = None) -> "Figure":
    """Steps in colour and number, failures in grey, the band of each norm framed.

    Raises:
        FaninError: where matplotlib is not installed.
    """
    _plot.require_for("sweep.plot")
    wide = figure.get_figwidth() if figure is not None else 2.4 + 0.85 * max(6, len(sweep.factors))
    said = paragraph(sweep.sentence, width=int(13 * wide))
    below = 0.55 + _LINE * (1 + said.count("\n"))
    if figure is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(wide, _ABOVE + _ROW * len(sweep.norms) + below), facecolor="white")
    height = figure.get_figheight()
    _write(figure, sweep, said)
    room = max(0.2, 1 - (_ABOVE + below) / height)
    _draw(figure.add_axes((0.08, 1 - _ABOVE / height - room, 0.89, room)), sweep)
    return figure


def _write(figure: "Figure", sweep: ScaleSweep, said: str) -> None:
    height = figure.get_figheight()
    style: dict[str, Any] = {"color": _plot.INK, "parse_math": False}
    figure.text(0.03, 1 - 0.2 / height, title(sweep), fontsize=14, va="top", **style)
    figure.text(0.03, 1 - 0.5 / height, subtitle(sweep), fontsize=9.5, va="top", **style)
    figure.text(0.03, 0.1 / height, said, fontsize=9, va="bottom", linespacing=1.35, **style)


def _draw(axes: "Axes", sweep: ScaleSweep) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    rows = [sweep.cells(norm) for norm in sweep.norms]
    shares = [[share_of(cell, rows) for cell in row] for row in rows]
    # The light end of the map is the fast one; its dark half would hide the numbers.
    colours = colormaps["YlGnBu"].with_extremes(bad=_FAILS)
    axes.imshow(shares, cmap=colours, norm=Normalize(-0.2, 2.2), aspect="auto")
    for height, row in enumerate(rows):
        for place, cell in enumerate(row):
            colour = _plot.TROUBLE if cell.diverged else _plot.INK if cell.trains else _plot.SOFT
            axes.text(place, height, cell_text(cell), ha="center", va="center", color=colour)
    for height, norm in enumerate(sweep.norms):
        band = sweep.band(norm)
        if band is not None:
            _frame(axes, sweep, band, height)
    axes.set_xticks(range(len(sweep.factors)), [factor_name(one) for one in sweep.factors])
    axes.set_yticks(range(len(sweep.norms)), [norm_label(sweep, norm) for norm in sweep.norms])
    axes.tick_params(length=0, labelcolor=_plot.INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _frame(axes: "Axes", sweep: ScaleSweep, band: Band, height: int) -> None:
    from matplotlib.patches import Rectangle

    low, high = sweep.factors.index(band.low), sweep.factors.index(band.high)
    axes.add_patch(
        Rectangle(
            (low - 0.47, height - 0.44), high - low + 0.94, 0.88, fill=False, linewidth=1.4,
            edgecolor=_plot.INK,
        )
    )  # fmt: skip


def share_of(cell: Cell, rows: list[tuple[Cell, ...]]) -> float:
    """From 0, the fewest steps of the sweep, to 1, the most, in ratio; NaN where it fails."""
    steps = [one.score.median for row in rows for one in row if one.trains]
    if not cell.trains:
        return nan
    if min(steps) == max(steps):
        return 0.0
    return log(cell.score.median / min(steps)) / log(max(steps) / min(steps))
