"""A report as a piece of a notebook: no script, no style outside it, colours of the page around."""

from collections.abc import Iterable
from html import escape

from fanin._audit._page.charts import Chart, charts_of
from fanin._audit._page.series import adopted
from fanin._audit._page.summary import Card, Tile, about, cards_of, tiles_of, verdict
from fanin._audit._report import Report

__all__ = ["report_html"]

# Middle tones are read on light and dark pages alike.
_TROUBLE = {"error": "#d9534f", "warning": "#d98c00", "note": "#7d8b99"}
_GOOD = "#2e9e75"
_SOFT = "opacity:.7;font-size:85%"
_STROKES = {"layers": "#3b86c6", "stream": "#2e9e75"}
_MOST_CARDS = 8
_CHARTS = 3


def report_html(report: Report) -> str:
    """Verdict, head numbers, findings and three small charts as HTML, every name escaped."""
    colour = _GOOD if report.ok else _TROUBLE[report.worst or "note"]
    head = f"{_span(verdict(report), f'color:{colour};font-weight:bold')} {escape(report.model)}"
    facts = ", ".join(f"{name} {value}" for name, value in about(report))
    cards = list(cards_of(report))
    pieces = [
        f'<div style="font-size:115%">{head}</div>',
        _block("div", facts, _SOFT),
        _row(map(_tile, tiles_of(report))),
        *map(_card, cards[:_MOST_CARDS]),
        _more(len(cards) - _MOST_CARDS),
        _row(map(_chart, charts_of(adopted(report))[:_CHARTS])),
    ]
    style = "color:inherit;line-height:1.45;max-width:60em;font-variant-numeric:tabular-nums"
    return f'<div style="{style}">{"".join(pieces)}</div>'


def _tile(tile: Tile) -> str:
    value = _block("div", tile.value, "font-size:130%;font-weight:600")
    return (
        f"<div>{_block('div', tile.label, _SOFT)}{value}{_block('div', tile.beside, _SOFT)}</div>"
    )


def _card(card: Card) -> str:
    finding = card.finding
    colour = _TROUBLE[finding.severity]
    more = f" and {len(finding.also)} more" if finding.also else ""
    title = f"{finding.severity}: {card.title} at {finding.where}{more}"
    text = f"{finding.measured}; expected {finding.expected}. {finding.reason}"
    code = _block("pre", finding.remedy, "margin:4px 0;background:none;white-space:pre-wrap")
    style = f"border-left:4px solid {colour};padding:2px 12px;margin:8px 0"
    return (
        f'<div style="{style}">{_block("div", title, "font-weight:600")}{_block("div", text, "")}'
        f"<details><summary>What to do</summary>{code}</details></div>"
    )


def _more(count: int) -> str:
    if count <= 0:
        return ""
    return _block("div", f"{count} more findings: report.to_html() shows all.", _SOFT)


def _chart(chart: Chart) -> str:
    axis = chart.axis
    box = f"0.5 {-axis.high} {chart.steps} {axis.high - axis.low}"
    paths = "".join(
        f'<path d="{line.path}" fill="none" stroke="{_STROKES[line.kind]}" stroke-width="1.5" '
        'vector-effect="non-scaling-stroke"/>'
        for line in chart.lines
        if line.kind in _STROKES
    )
    ends = f"{axis.label(axis.low)} to {axis.label(axis.high)}"
    style = (
        "display:block;width:100%;height:70px;border:solid rgba(128,128,128,.4);border-width:1px 0"
    )
    return (
        f"<div>{_block('div', f'{chart.title}: {chart.measure}, {ends}', _SOFT)}"
        f'<svg viewBox="{box}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(chart.title)}" style="{style}">{paths}</svg></div>'
    )


def _row(pieces: Iterable[str]) -> str:
    style = "display:grid;grid-template-columns:repeat(auto-fit,minmax(9em,1fr));gap:10px 20px"
    return f'<div style="{style};margin:10px 0">{"".join(pieces)}</div>'


def _block(tag: str, text: str, style: str) -> str:
    return f'<{tag} style="{style}">{escape(text)}</{tag}>'


def _span(text: str, style: str) -> str:
    return _block("span", text, style)
