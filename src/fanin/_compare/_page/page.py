"""The whole page: verdicts, charts, tables, the comparison itself and the style in one file."""

from dataclasses import dataclass
from importlib.resources import files
from typing import final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fanin._compare._comparison import Comparison
from fanin._compare._curves import Colour, colours_of, headline
from fanin._compare._json import write
from fanin._compare._page.charts import charts_of
from fanin._compare._print import (
    at_once_text,
    best_text,
    errors_text,
    settings_text,
    target_text,
)
from fanin._compare._scores import Score, scores_of, steps_text
from fanin._text import number

__all__ = ["page_html"]

_SHARED = ("page.css", "head.css", "charts.css", "tables.css", "media.css")
"""The look of the audit's page."""


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One start in the table: its colour, its texts, and the rates that reach the target."""

    score: Score
    colour: Colour
    steps: str
    rates: str


def page_html(comparison: Comparison) -> str:
    """The comparison as a web page that loads nothing and runs nothing: equal bytes for equals."""
    scores, colours = scores_of(comparison), colours_of(comparison)
    budget = comparison.settings.steps
    page = _environment().get_template("compare.html.j2")
    return page.render(
        comparison=comparison,
        headline=headline(comparison),
        about=_about(comparison),
        rows=[
            Row(
                score=score,
                colour=colours[score.name],
                steps=steps_text(score, budget),
                rates=f"{len(score.reaching)} of {len(score.rates)}",
            )
            for score in scores
        ],
        verdicts=comparison.verdicts,
        at_once=at_once_text(comparison),
        errors=errors_text(comparison.verdicts),
        best=best_text(comparison) if comparison.verdicts else "",
        charts=charts_of(comparison),
        has_accuracy=any(score.accuracy is not None for score in scores),
        has_test=any(score.test_loss is not None for score in scores),
        number=number,
        data=_embedded(comparison),
        style=Markup("\n".join([*map(_shared, _SHARED), _own("compare.css")])),  # noqa: S704 - ours
    )


def _about(comparison: Comparison) -> list[tuple[str, str]]:
    facts = [
        ("settings", settings_text(comparison)),
        ("target", target_text(comparison)),
        ("data", comparison.data),
        ("trained", comparison.way),
        ("took", f"{comparison.seconds:.0f} s" if comparison.seconds else ""),
        *comparison.versions,
    ]
    return [(name, value) for name, value in facts if value]


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("fanin._compare._page", "files"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _shared(name: str) -> str:
    return files("fanin._audit._page").joinpath("files", name).read_text(encoding="utf-8")


def _own(name: str) -> str:
    return files("fanin._compare._page").joinpath("files", name).read_text(encoding="utf-8")


def _embedded(comparison: Comparison) -> Markup:
    """The comparison's JSON, in which no name can end the element that it is in."""
    text = write(comparison)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - escaped in the lines above
