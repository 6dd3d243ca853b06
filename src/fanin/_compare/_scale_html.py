"""A sweep of scales as a page, and as a piece of a notebook: no script, every text escaped."""

from html import escape
from math import isnan
from typing import Final

from fanin._compare._norms import Norm
from fanin._compare._scale_plot import share_of
from fanin._compare._scale_result import Cell, ScaleSweep, factor_name
from fanin._compare._scale_text import cell_text, norm_label, subtitle, title, why_not

__all__ = ["page_html", "sweep_html"]

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>:root{{color-scheme:light dark}}
body{{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}</style>
</head><body>{body}</body></html>
"""
_CELL: Final = "padding:6px 10px;text-align:center;border:2px solid transparent"


def page_html(sweep: ScaleSweep) -> str:
    """The sweep as one page that needs nothing else."""
    return _PAGE.format(title=escape(title(sweep)), body=sweep_html(sweep))


def sweep_html(sweep: ScaleSweep) -> str:
    """Title, sentence and heat map; what is behind a cell is its tool tip."""
    head = "".join(_tag("th", factor_name(factor), _CELL) for factor in sweep.factors)
    rows = "".join(_row(sweep, norm) for norm in sweep.norms)
    soft = "opacity:.75;font-size:90%"
    pieces = [
        _tag("h1", title(sweep), "font-size:130%;margin:0"),
        _tag("p", subtitle(sweep), soft),
        _tag("p", sweep.sentence, ""),
        _table(head, rows),
        _tag(
            "p",
            "In a cell: the median of the steps to the target, or how many seeds arrive; div: all "
            "diverge. Framed: the band around 1 that trains. Below it: the best learning rate.",
            soft,
        ),
        *(_tag("p", note, soft) for note in sweep.notes),
    ]
    return f'<div style="line-height:1.45">{"".join(pieces)}</div>'


def _table(head: str, rows: str) -> str:
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:separate;'
        f'font-variant-numeric:tabular-nums"><tr><th scope="col">norm</th>{head}</tr>{rows}'
        "</table></div>"
    )


def _row(sweep: ScaleSweep, norm: Norm) -> str:
    cells = "".join(_cell(sweep, norm, cell) for cell in sweep.cells(norm))
    return f'<tr><th scope="row">{escape(norm_label(sweep, norm))}</th>{cells}</tr>'


def _cell(sweep: ScaleSweep, norm: Norm, cell: Cell) -> str:
    share = share_of(cell, [sweep.cells(one) for one in sweep.norms])
    band = sweep.band(norm)
    colour = "rgba(128,128,128,.16)"
    if not isnan(share):
        # One hue, stronger with more steps, over the page's own light or dark.
        colour = f"rgba(0,114,178,{0.16 + 0.5 * share:.2f})"
    framed = band is not None and band.low <= cell.factor <= band.high
    frame = ";border-color:#0072B2" * framed
    rate = f'<br><small style="opacity:.7">{cell.score.start.rate:g}</small>'
    said = "trains" if cell.trains else f"fails: {why_not(cell)}"
    return (
        f'<td title="{escape(said)}" style="{_CELL};background:{colour}{frame}">'
        f"{escape(cell_text(cell))}{rate}</td>"
    )


def _tag(name: str, text: str, style: str) -> str:
    return f'<{name} style="{style}">{escape(text)}</{name}>'
