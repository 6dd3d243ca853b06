"""Ratios of two ways of doing one thing, measured in turn in one run."""

import resource
import statistics
import sys
import time
from collections.abc import Callable

__all__ = ["Row", "interleaved", "peak_memory", "table"]

Row = dict[str, object]


def interleaved(
    ours: Callable[[], object], theirs: Callable[[], object], repeats: int
) -> tuple[float, float, float]:
    """Median seconds of each, and the median of the ratios theirs / ours, pair by pair."""
    ours()
    theirs()
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(b / a for a, b in pairs),
    )


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_memory() -> float:
    """The most that this process has had, in MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def table(title: str, rows: list[Row]) -> str:
    """The rows as a Markdown table under a heading."""
    columns = list(rows[0])
    lines = [f"## {title}", "", _line(columns), _line(["---"] * len(columns))]
    lines += [_line([_shown(row[column]) for column in columns]) for row in rows]
    return "\n".join([*lines, ""])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
