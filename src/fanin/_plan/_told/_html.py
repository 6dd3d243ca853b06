"""A plan as a piece of a web page: no script, no style outside it, colours of the page around."""

from collections.abc import Sequence
from html import escape

from fanin._plan._entry import Entry
from fanin._plan._told._rows import Rows, rows_of

__all__ = ["plan_html"]

# Half-transparent grey and red are read on light and dark pages alike.
_CELL = "padding:2px 10px 2px 0;text-align:left;vertical-align:top;background:none"
_CODE = f"{_CELL};font-family:monospace;white-space:nowrap"
_LINE = "border-top:1px solid rgba(128,128,128,.35)"
_LOUD = "border-left:4px solid #d9534f;padding:4px 10px;margin:6px 0;background:rgba(217,83,79,.12)"


def plan_html(title: str, entries: Sequence[Entry]) -> str:
    """The text of `plan_text` as HTML, every name and reason escaped."""
    rows = rows_of(entries)
    pieces = [_block("div", title, "white-space:pre-line"), *_unclaimed(rows)]
    pieces.append(_table(("filled", "n", "shape", "std", "start", "why"), _filled(rows)))
    if rows.kept:
        kept = _table(("kept", "n", "why"), [list(map(str, row)) for row in rows.kept])
        total = sum(count for _, count, _ in rows.kept)
        pieces.append(f"<details><summary>{total} kept</summary>{kept}</details>")
    inside = "".join(pieces)
    return f'<div style="color:inherit;font-size:90%;overflow-x:auto">{inside}</div>'


def _filled(rows: Rows) -> list[list[str]]:
    return [
        [row.names, str(row.count), row.shape, row.std, row.start, row.why] for row in rows.filled
    ]


def _unclaimed(rows: Rows) -> list[str]:
    if not rows.unclaimed:
        return []
    lines = [f"{count} {names}: {why}" for names, count, why in rows.unclaimed]
    text = "\n".join(["UNCLAIMED: nobody says how these start", *lines])
    return [_block("div", text, f"{_LOUD};white-space:pre-line")]


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(_block("th", header, _CELL) for header in headers)
    body = "".join(f'<tr style="{_LINE};background:none">{_cells(row)}</tr>' for row in rows)
    return (
        f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _cells(row: Sequence[str]) -> str:
    *facts, why = row
    return "".join(_block("td", fact, _CODE) for fact in facts) + _block("td", why, _CELL)


def _block(tag: str, text: str, style: str) -> str:
    return f'<{tag} style="{style}">{escape(text)}</{tag}>'
