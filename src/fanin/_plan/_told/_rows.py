"""The distinct decisions of a plan as rows of plain text, for the terminal and for a page alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import final

from fanin._plan._entry import Entry
from fanin._plan._told._folding import (
    fold_formulas,
    fold_names,
    fold_sentences,
    name_skeleton,
    skeleton,
)
from fanin._text import number

__all__ = ["Row", "Rows", "grouped", "rows_of", "std_text"]


@final
@dataclass(frozen=True, slots=True)
class Row:
    """Parameters of one decision."""

    names: str
    count: int
    shape: str
    std: str
    start: str
    why: str

    @property
    def said(self) -> str:
        """The start and its reason."""
        return f"{self.start}: {self.why}"


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """What a plan shows: filled ones by decision, kept and unclaimed ones by reason."""

    filled: tuple[Row, ...]
    kept: tuple[tuple[str, int, str], ...]
    """Names, how many, why."""
    unclaimed: tuple[tuple[str, int, str], ...]


def rows_of(entries: Sequence[Entry]) -> Rows:
    """The rows of ``entries``, in their order."""
    groups = grouped(entry for entry in entries if entry.state == "filled")
    filled = tuple(_row(group) for group in groups)
    return Rows(filled, _short(entries, "kept"), _short(entries, "unclaimed"))


def _row(group: Sequence[Entry]) -> Row:
    return Row(
        names=fold_names([entry.name for entry in group]),
        count=len(group),
        shape=shape_text(group),
        std=std_text(group),
        start=fold_formulas(str(entry.initializer) for entry in group),
        why=reason_text(group),
    )


def grouped(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Entries of one decision together: names, formulas and reasons equal but for their numbers."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        start, why = skeleton(str(entry.initializer)), skeleton(entry.why)
        groups.setdefault((name_skeleton(entry.name), start, why, entry.rule), []).append(entry)
    return list(groups.values())


def reason_text(group: Sequence[Entry]) -> str:
    """Why the entries of one group start so, and whose idea it is."""
    why = fold_sentences(entry.why for entry in group)
    first = group[0]
    if first.by == "rule" and first.rule not in why:
        why = f"By the rule {first.rule!r}: {why}"
    if first.awaits_calibration:
        why += " To be calibrated."
    elif "Measured with" not in why and any(entry.factor not in (None, 1) for entry in group):
        why += " Calibrated." if first.measured else " Scaled."
    return f"{why} ({first.paper})" if first.paper else why


def shape_text(group: Sequence[Entry]) -> str:
    """The shape, or between which sizes each axis lies; a question mark where it is not known."""
    shapes = {entry.axes.shape for entry in group if entry.site.layout is not None}
    if len({len(shape) for shape in shapes}) != 1:
        return "various" if shapes else "?"
    return "x".join(_span(min(axis), max(axis)) for axis in zip(*shapes, strict=True)) or "1"


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def std_text(group: Sequence[Entry]) -> str:
    """The std, or between which ends it lies; a dash where it is not a number."""
    stds = sorted({entry.std for entry in group if not isnan(entry.std)})
    if not stds:
        return number(None)
    low, high = number(stds[0]), number(stds[-1])
    return low if low == high else f"{low}-{high}"


def _short(entries: Sequence[Entry], state: str) -> tuple[tuple[str, int, str], ...]:
    """One line for each reason: which parameters, the first kind of name for the others."""
    by_reason: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.state == state:
            by_reason.setdefault(skeleton(entry.why), []).append(entry)
    lines = []
    for group in by_reason.values():
        kinds = grouped(group)
        names = fold_names([entry.name for entry in kinds[0]])
        more = f" and {len(kinds) - 1} more" if kinds[1:] else ""
        lines.append((names + more, len(group), fold_sentences(entry.why for entry in group)))
    return tuple(lines)
