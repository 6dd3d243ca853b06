"""The page of the tour in a real browser, on a desk and on a phone."""

from pathlib import Path

import pytest

from fanin._tour.main import story_of
from fanin._tour.page import page_html
from fanin._tour.results import read_json

RESULTS = Path(__file__).parents[2] / "docs" / "tutorial" / "tour-results.json"


@pytest.mark.parametrize("width", [360, 1200], ids=["phone", "desk"])
def test_the_page_opens_without_an_error_a_request_or_sideways_scrolling(chromium, tmp_path, width):
    """It is sent to people as one file; tables scroll inside their frames."""
    file, said, asked = tmp_path / "tour.html", [], []
    file.write_text(page_html(story_of(read_json(RESULTS.read_text()))), encoding="utf-8")
    context = chromium.new_context(viewport={"width": width, "height": 740}, offline=True)
    try:
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        assert page.locator("h2").count() >= 6
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        lines = page.locator(".audits .line.before").first
        assert lines.evaluate("one => getComputedStyle(one).stroke") != "none"
    finally:
        context.close()
    assert said == []
    assert asked == [file.as_uri()]
