"""A real browser: Debian's Chromium, headless, with a new profile, and pages written to disk."""

import os
import shutil
from pathlib import Path

import pytest

from fanin._audit._page import page_html

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1200, "height": 800}


def absent(what):
    """Skips, but in continuous integration: there a page that no browser saw is not tested."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI is set")
    pytest.skip(what)


# Not for the session: while the driver's event loop runs no other test could start one.
@pytest.fixture(scope="module")
def chromium():
    """The browser, started once for each file."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        absent("playwright is not installed: pip install playwright")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        absent("there is no chromium on the PATH: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


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
