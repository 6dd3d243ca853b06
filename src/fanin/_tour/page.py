"""The story as one web page that needs nothing else, with the charts of audits and comparisons."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

from fanin._audit import Report
from fanin._audit._page.axis import line_path, linear_axis, log_axis
from fanin._audit._page.charts import Chart, Line
from fanin._audit._page.series import drawn, points, spine
from fanin._compare import Comparison
from fanin._compare._curves import Colour, colours_of
from fanin._compare._page.charts import charts_of
from fanin._compare._scores import Score, scores_of
from fanin._page import environment, style_of
from fanin._tour.story import Block
from fanin._version import __version__

__all__ = ["page_html"]

_AUDIT, _COMPARE, _TOUR = "fanin._audit._page", "fanin._compare._page", "fanin._tour"
_STYLES: Final = (
    *((_AUDIT, name) for name in ("page.css", "head.css", "charts.css", "media.css")),
    (_COMPARE, "compare.css"),
    (_TOUR, "tour.css"),
)
_MEASURES: Final = {
    "batch_std": ("How far apart inputs are", "Std over the inputs, at every layer."),
    "gradient": ("Gradient", "Length of the loss's gradient of one input, at every layer."),
    "correlation": ("Correlation", "Mean cosine of two inputs: at 1 they cannot be told apart."),
}


@final
@dataclass(frozen=True, slots=True)
class _Row:
    """What a chart of a comparison knows of a start."""

    score: Score
    colour: Colour


def page_html(story: Iterable[Block]) -> str:
    """The blocks as a page that loads nothing and runs nothing: equal stories give equal bytes."""
    heading, *blocks = story
    return (
        environment(_TOUR, _AUDIT, _COMPARE)
        .get_template("tour.html.j2")
        .render(
            title=heading.text,
            blocks=blocks,
            is_comparison=lambda shown: isinstance(shown, Comparison),
            overlaid=_overlaid,
            charts_of=charts_of,
            rows_of=_rows,
            version=__version__,
            style=style_of(*_STYLES),
        )
    )


def _rows(comparison: Comparison) -> list[_Row]:
    colours = colours_of(comparison)
    return [_Row(score, colours[score.name]) for score in scores_of(comparison)]


def _overlaid(before: Report, after: Report) -> list[Chart]:
    """Two audits of one model in the same charts."""
    return [_overlay(before, after, measure) for measure in _MEASURES]


def _overlay(before: Report, after: Report, measure: str) -> Chart:
    steps, (title, caption) = drawn(after), _MEASURES[measure]
    lines = {
        "layers before": points(drawn(before), spine(drawn(before)), measure),
        "layers": points(steps, spine(steps), measure),
    }
    values = [value for line in lines.values() for _, value in line]
    axis = linear_axis(values) if measure == "correlation" else log_axis(values)
    names = ("torch's own start", "after fanin.initialize")
    return Chart(
        measure=measure,
        title=title,
        caption=caption,
        axis=axis,
        steps=len(steps),
        ends=(steps[0].name, steps[-1].name),
        lines=tuple(
            Line(name, kind, line_path(axis, line))
            for name, (kind, line) in zip(names, lines.items(), strict=True)
        ),
    )
