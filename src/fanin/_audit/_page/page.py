"""The whole page: texts, charts, tables, the report itself, style and script in one file."""

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, final

from markupsafe import Markup

from fanin._audit._json import write
from fanin._audit._page.charts import charts_of
from fanin._audit._page.rows import (
    Row,
    parameter_columns,
    parameter_rows,
    place_columns,
    place_rows,
)
from fanin._audit._page.series import adopted
from fanin._audit._page.summary import about, cards_of, loss_text, tiles_of, verdict
from fanin._audit._report import Report
from fanin._page import embedded, environment, read, style_of

__all__ = ["SHEETS", "page_html"]

_PACKAGE: Final = "fanin._audit._page"
FIRST_ROWS = 200
"""Rows that are drawn at once; the others wait in a template until they are asked for."""
SHEETS: Final = tuple(
    (_PACKAGE, f"{name}.css") for name in ("page", "head", "charts", "tables", "media")
)
"""The style of this page, which others go on from."""
_SCRIPTS = ("text.js", "report.js", "charts.js", "overlay.js", "table.js", "compare.js", "main.js")


@final
@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that are drawn at once, and the others."""

    shown: list[Row]
    waiting: list[Row]
    steps: int
    """Rows that are layers or sums."""
    all: int


def page_html(report: Report, before: Report | None = None) -> str:
    """The report as a web page that loads nothing: equal reports give equal bytes.

    With ``before`` the page compares: charts and numbers of both, findings gone, new and still
    there. Any other audit can be opened beside it in the page, from a saved JSON or page.
    """
    script = _script()
    shown = adopted(report)
    page = environment(_PACKAGE).get_template("audit.html.j2")
    return page.render(
        report=report,
        verdict=verdict(report),
        about=about(report),
        loss_said=loss_text(report),
        tiles=tiles_of(report),
        cards=list(cards_of(report)),
        charts=charts_of(shown),
        place_columns=place_columns(report),
        places=_split(place_rows(shown)),
        parameter_columns=parameter_columns(),
        parameters=_split(parameter_rows(report)),
        first_rows=FIRST_ROWS,
        data=embedded(write(report)),
        before=None if before is None else embedded(write(before)),
        before_name="" if before is None else before.model,
        style=style_of(*SHEETS),
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
    )


def _script() -> str:
    inside = "\n".join(read(_PACKAGE, name) for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{inside}}})();\n'


def _split(rows: list[Row]) -> _Rows:
    steps = [row for row in rows if row.step]
    shown = steps[:FIRST_ROWS]
    drawn = {row.index for row in shown}
    waiting = [row for row in rows if row.index not in drawn]
    return _Rows(shown, waiting, len(steps), len(rows))
