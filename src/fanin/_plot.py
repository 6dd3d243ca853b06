"""What all pictures share: colours, a style, places of labels, and how they are written."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fanin._errors import FaninError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS", "FAINT", "INK", "SOFT", "TROUBLE", "is_available", "require_for", "save", "spread",
]  # fmt: skip

# Okabe & Ito's colours, told apart by colour-blind readers; their red is kept for trouble.
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8C6D31", "#444444")
TROUBLE: Final = "#D1260F"

INK: Final = "#22262B"
SOFT: Final = "#555B63"
FAINT: Final = "#8A9099"

_STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "svg.hashsalt": "fanin",
    "svg.fonttype": "path",
}


def is_available() -> bool:
    """Whether matplotlib can be imported."""
    return find_spec("matplotlib") is not None


def require_for(call: str) -> None:
    """What draws says so before it begins.

    Raises:
        FaninError: where matplotlib is not installed.
    """
    if not is_available():
        raise FaninError(
            "a picture needs matplotlib",
            where=call,
            found="matplotlib cannot be imported",
            fix="pip install 'fanin[plot]'",
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
