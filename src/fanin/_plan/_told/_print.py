"""A plan as text: a line for the parameters of one decision, and the decisions below."""

import textwrap
from collections.abc import Sequence

from fanin._plan._coverage import Coverage
from fanin._plan._entry import Entry
from fanin._plan._told._rows import Rows, rows_of
from fanin._text import table

__all__ = ["plan_text", "plan_title"]

_WIDTH = 100
_LINES = 2
"""Lines a reason may take."""


def plan_title(model: str, recipe: str, formula: str, seen: str, coverage: Coverage) -> str:
    """Of what it is, by which recipe, what it covers, and what the model was run on."""
    of, by = f" of {model}" if model else "", f" by {recipe}" if recipe else ""
    lines = [f"plan{of}{by}: {coverage}"]
    lines += [f"traced on {seen}"] if seen else []
    lines += [f"{recipe}: {formula}"] if formula else []
    return "\n".join(lines)


def plan_text(title: str, entries: Sequence[Entry]) -> str:
    """``title``, then what is unclaimed, what is filled and why, and what is kept."""
    rows = rows_of(entries)
    lines = [_wrapped(line) for line in title.splitlines()]
    pieces = ["\n".join(lines), *_unclaimed(rows), *_filled(rows), *_kept(rows)]
    return "\n\n".join(pieces)


def _unclaimed(rows: Rows) -> list[str]:
    if not rows.unclaimed:
        return []
    return [_listed("UNCLAIMED: nobody says how these start", rows.unclaimed)]


def _filled(rows: Rows) -> list[str]:
    if not rows.filled:
        return []
    said = list(dict.fromkeys(row.said for row in rows.filled))
    cells = [
        [row.names, str(row.count), row.shape, row.std, f"[{said.index(row.said) + 1}]"]
        for row in rows.filled
    ]
    headers = ["filled", "n", "shape", "std", "start"]
    lines = [_hanging(f"[{n}] ", text) for n, text in enumerate(said, start=1)]
    return [table(headers, cells, left=(0, 4), width=_WIDTH), "\n".join(lines)]


def _kept(rows: Rows) -> list[str]:
    if not rows.kept:
        return []
    return [_listed("kept", rows.kept)]


def _listed(title: str, lines: Sequence[tuple[str, int, str]]) -> str:
    width = max(len(str(count)) for _, count, _ in lines)
    hanging = [_hanging(f"  {count:>{width}}  ", f"{names}: {why}") for names, count, why in lines]
    return "\n".join([title, *hanging])


def _wrapped(line: str) -> str:
    return textwrap.fill(
        line, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _hanging(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        max_lines=_LINES,
        placeholder=" …",
        break_on_hyphens=False,
    )
