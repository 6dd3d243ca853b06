"""Pages of reports, written to disk and opened in a real browser."""

from pathlib import Path

import pytest
from tests.in_browser import browser

from fanin._audit._page import page_html

DESKTOP = {"width": 1200, "height": 800}


@pytest.fixture(scope="module")
def chromium():
    with browser() as one:
        yield one


@pytest.fixture
def show(chromium, tmp_path):
    """Opens the page of a report; fails at the end for any error said or any request made."""
    contexts, said, asked = [], [], []

    def open_page(report, before=None, *, viewport=None, **options):
        context = chromium.new_context(viewport=viewport or DESKTOP, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        file = tmp_path / f"page{len(contexts)}.html"
        file.write_text(page_html(report, before), encoding="utf-8")
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    own = {Path(tmp_path, f"page{order}.html").as_uri() for order in range(1, len(contexts) + 1)}
    assert set(asked) <= own
