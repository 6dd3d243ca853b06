"""The whole page: verdicts, charts, tables, the comparison itself and the style in one file."""

from dataclasses import dataclass
from typing import Final, final

from fanin._audit._page.page import SHEETS
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
from fanin._page import embedded, environment, style_of
from fanin._text import number

__all__ = ["page_html"]

_PACKAGE: Final = "fanin._compare._page"


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
    page = environment(_PACKAGE).get_template("compare.html.j2")
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
        data=embedded(write(comparison)),
        style=style_of(*SHEETS, (_PACKAGE, "compare.css")),
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
