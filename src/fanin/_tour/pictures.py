"""The tour's pictures, from its results."""

from collections.abc import Callable, Sequence
from functools import partial
from math import floor, isnan, log10, nan
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, TypeAlias

from fanin import _plot
from fanin._plot import Line, Mark, Panel
from fanin._tour.files import write_whole
from fanin._tour.nets import HIDDEN_UNITS, TORCH_DEFAULT
from fanin._tour.results import Results
from fanin._tour.scores import Cell, Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_pictures"]

NAMES = {"kaiming": "Kaiming", "xavier": "Xavier", "lecun": "LeCun", "relu": "ReLU"}
Rows: TypeAlias = Sequence[Sequence[float | None]]
"""One row for each seed."""

GUESSING = 0.1
UNINFORMED = 2.302585
"""The loss of a net that knows nothing of ten equally frequent classes: ln 10."""


def write_pictures(results: Results, directory: Path) -> list[str]:
    """Write each picture as PNG and SVG; returns the names of the files.

    ``training`` and ``batch_norm`` show the deep net's trainings, ``signal`` the deepest profile.
    """
    figures = {_name(cell): _training(results, cell) for cell in _deep_cells(results)}
    figures["signal"] = _signal(results)
    names = []
    for name, figure in figures.items():
        for suffix in (".png", ".svg"):
            write_whole(directory / f"{name}{suffix}", partial(_plot.save, figure))
            names.append(f"{name}{suffix}")
    return names


def _deep_cells(results: Results) -> list[Cell]:
    depth = max(cell.network.hidden_layers for cell in results.cells)
    return [cell for cell in results.cells if cell.network.hidden_layers == depth]


def _name(cell: Cell) -> str:
    return "batch_norm" if cell.network.batch_norm else "training"


def _training(results: Results, cell: Cell) -> "Figure":
    network, seeds = cell.network, len(results.conditions.scoring_seeds)
    title = "With batch norm: s" if network.batch_norm else "S"
    norm = "with batch norm" if network.batch_norm else "no batch norm"
    return _plot.draw(
        f"{title}ame net, same digits, same order, only the starting weights differ",
        f"{network.hidden_layers} hidden ReLU layers, {norm}, plain SGD, each start at its own "
        f"best learning rate; line: mean of {seeds} seeds, band: all of them",
        [_loss_panel(results, cell), _accuracy_panel(results, cell)],
    )


def _loss_panel(results: Results, cell: Cell) -> Panel:
    window, target = results.conditions.window, results.conditions.target
    return Panel(
        f"Training loss (mean of the last {window} steps)",
        "training step",
        [_line(cell, score, accuracy=False) for score in cell.scores],
        y_range=(0, 2.6),
        marks=[
            Mark(UNINFORMED, "knows nothing: ln 10"),
            Mark(target, f"target {target:g}", at_left=True),
        ],
    )


def _accuracy_panel(results: Results, cell: Cell) -> Panel:
    return Panel(
        f"Right answers on {results.conditions.held_out_images:,} held-out digits",
        "training step",
        [_line(cell, score, accuracy=True) for score in cell.scores],
        y_range=(0, 1),
        percent=True,
        marks=[Mark(GUESSING, "guessing")],
    )


def _line(cell: Cell, score: Score, *, accuracy: bool) -> Line:
    colour = _colours([score.start for score in cell.scores], _failed(cell))[score.start]
    if not accuracy:
        return _band(_shown(score.start), cell.loss_curve_steps, score.loss_curve, fmean, colour)
    label = f"{_shown(score.start)}  {fmean(score.accuracy):.0%}"
    return _band(label, cell.accuracy_curve_steps, score.accuracy_curve, fmean, colour)


def _signal(results: Results) -> "Figure":
    depth = max(profile.hidden_layers for profile in results.depth)
    profiles = [profile for profile in results.depth if profile.hidden_layers == depth]
    failed = next(map(_failed, _deep_cells(results)))
    colours = _colours([profile.start for profile in profiles], failed)
    seeds = len(results.conditions.scoring_seeds)
    return _plot.draw(
        "What is left after each layer, before any training",
        f"A ReLU net of {depth} hidden layers of {HIDDEN_UNITS} units, real digits; "
        f"line: median of {seeds} seeds, band: all of them",
        [
            _depth_panel(
                "Forward: how far apart two images still are",
                "hidden layer",
                [(profile.start, profile.apart) for profile in profiles],
                colours,
            ),
            _depth_panel(
                "Backward: the gradient that arrives",
                "layers back from the readout",
                [(profile.start, [row[::-1] for row in profile.gradient]) for profile in profiles],
                colours,
            ),
        ],
    )


def _depth_panel(
    title: str,
    x_label: str,
    shown: Sequence[tuple[str, Rows]],
    colours: dict[str, str],
) -> Panel:
    lines = [
        _band(_shown(start), range(1, len(rows[0]) + 1), rows, median, colours[start])
        for start, rows in shown
    ]
    seen = [value for line in lines for value in (*line.low, *line.high) if value > 0]
    lowest, highest = min(seen, default=1.0), max(seen, default=1.0)
    y_range = (10.0 ** floor(log10(lowest)), 10.0 ** (floor(log10(highest)) + 1))
    return Panel(title, x_label, lines, y_range, log=True)


def _band(
    label: str, x: Sequence[int], rows: Rows, centre: Callable[[list[float]], float], colour: str
) -> Line:
    """The centre of the rows, and the band from the smallest to the largest."""
    by_step = zip(*rows, strict=True)
    columns = [[nan if value is None else value for value in step] for step in by_step]
    middle, low, high = (_of_each(columns, pick) for pick in (centre, min, max))
    return Line(label, list(x), middle, low, high, colour)


def _of_each(columns: Sequence[list[float]], pick: Callable[[list[float]], float]) -> list[float]:
    """NaN, which breaks the line, where any seed has diverged."""
    return [nan if any(map(isnan, column)) else pick(column) for column in columns]


def _shown(start: str) -> str:
    return " ".join(NAMES.get(word, word) for word in start.split("_"))


def _failed(cell: Cell) -> set[str]:
    """The starts that reached the target on no seed."""
    return {score.start for score in cell.scores if all(step is None for step in score.steps)}


def _colours(starts: Sequence[str], failed: set[str]) -> dict[str, str]:
    """One colour for each start, torch's own being grey; red for those that failed."""
    *palette, grey = _plot.COLOURS
    others = [start for start in starts if start != TORCH_DEFAULT]
    colours = {start: palette[place % len(palette)] for place, start in enumerate(others)}
    return {TORCH_DEFAULT: grey} | colours | dict.fromkeys(failed, _plot.TROUBLE)
