"""A comparison as a piece of a notebook: no script, no style outside it, colours of the page."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from fanin import _plot
from fanin._compare._comparison import Comparison
from fanin._compare._curves import colours_of, headline
from fanin._compare._page.charts import charts_of
from fanin._compare._print import best_text, errors_text, settings_text, target_text
from fanin._compare._scores import Score, scores_of, steps_text
from fanin._compare._verdict import Call, Verdict
from fanin._text import number

__all__ = ["comparison_html"]

# Middle tones are read on light and dark pages alike.
_COLOURS: Final = (*_plot.COLOURS[:-1], "#7d8b99")
_CALLS: Final[dict[Call, str]] = {"ahead": "#2e9e75", "behind": "#d98c00"}
_QUIET: Final = "#7d8b99"
_SOFT: Final = "opacity:.7;font-size:85%"
_CELL: Final = "text-align:right;padding:2px 12px 2px 0"
_LEFT: Final = "text-align:left;padding:2px 12px 2px 0"


def comparison_html(comparison: Comparison) -> str:
    """Starts, losses and verdicts as HTML, every name escaped."""
    verdicts = comparison.verdicts
    head = f"{_tag('b', comparison.model, '')}, {escape(headline(comparison))}"
    pieces = [
        f'<div style="font-size:115%">{head}</div>',
        _tag("div", f"{settings_text(comparison)}; target: {target_text(comparison)}", _SOFT),
        _table(comparison, scores_of(comparison)),
        _losses(comparison),
        *map(_verdict, verdicts),
        _tag("div", f"{errors_text(verdicts)} {best_text(comparison)}", _SOFT) if verdicts else "",
        *(_tag("div", note, _SOFT) for note in comparison.notes),
    ]
    style = "color:inherit;line-height:1.45;max-width:60em;font-variant-numeric:tabular-nums"
    return f'<div style="{style}">{"".join(pieces)}</div>'


def _table(comparison: Comparison, scores: Sequence[Score]) -> str:
    heads = ("start", "rate", "arrived", "steps", "diverged", "last loss", "accuracy")
    colours = colours_of(comparison)
    rows = [
        _row(_start(score, _COLOURS[colours[score.name].number]), _cells(comparison, score))
        for score in scores
    ]
    head = "".join(_tag("th", one, _LEFT if one == "start" else _CELL) for one in heads)
    style = "border-collapse:collapse;margin:8px 0"
    return f'<table style="{style}"><tr>{head}</tr>{"".join(rows)}</table>'


def _start(score: Score, colour: str) -> str:
    swatch = f'<span style="color:{colour};font-weight:bold">━</span> '
    return f'<td style="{_LEFT}">{swatch}{escape(score.name)}</td>'


def _cells(comparison: Comparison, score: Score) -> Iterable[str]:
    yield f"{score.start.rate:g}{'*' * score.start.on_edge}"
    yield f"{score.arrived} of {len(score.steps)}"
    yield steps_text(score, comparison.settings.steps)
    yield str(score.diverged)
    yield number(score.loss)
    yield "–" if score.accuracy is None else f"{100 * score.accuracy:.1f} %"


def _row(first: str, cells: Iterable[str]) -> str:
    return f"<tr>{first}{''.join(_tag('td', cell, _CELL) for cell in cells)}</tr>"


def _losses(comparison: Comparison) -> str:
    """The lines of the page's first chart, in a small one."""
    chart = next((one for one in charts_of(comparison) if one.key == "loss"), None)
    if chart is None:
        return ""
    own = colours_of(comparison)
    colours = [_COLOURS[own[start.name].number] for start in comparison]
    paths = "".join(
        f'<path d="{mark.path}" fill="none" stroke="{colours[mark.start]}" stroke-width="1.5" '
        'vector-effect="non-scaling-stroke"/>'
        for mark in chart.marks
        if mark.kind == "line"
    )
    levels = "".join(
        f'<path d="M0,{share}h100" stroke="{_QUIET}" stroke-dasharray="3 3" '
        'vector-effect="non-scaling-stroke"/>'
        for share, _ in chart.lines
    )
    style = "display:block;width:100%;height:110px;overflow:hidden"
    settings = comparison.settings
    said = (
        f"{chart.title}: mean of the last {settings.window} batches, median of "
        f"{len(settings.scoring_seeds)} seeds"
    )
    return (
        f"{_tag('div', said, _SOFT)}"
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(chart.title)}" style="{style}">{levels}{paths}</svg>'
    )


def _verdict(verdict: Verdict) -> str:
    colour = _CALLS.get(verdict.call, _QUIET)
    name = _tag("b", f"{verdict.start}, {verdict.call}", "")
    style = f"border-left:4px solid {colour};padding:2px 12px;margin:8px 0"
    return f'<div style="{style}">{name}: {escape(verdict.said)}</div>'


def _tag(tag: str, text: str, style: str) -> str:
    styled = f' style="{style}"' if style else ""
    return f"<{tag}{styled}>{escape(text)}</{tag}>"
