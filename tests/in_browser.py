"""Pages in tests: their elements, texts that attack them, and a real browser that opens them."""

import os
import shutil
from contextlib import contextmanager
from html.parser import HTMLParser

import pytest

__all__ = ["HOSTILE", "Elements", "browser"]

HOSTILE = "<img src=x onerror=alert(1)>'\"</script><script>alert(2)</script>&amp;]]>{{ 7 * 7 }}"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Elements(HTMLParser):
    """The elements of a page, with their attributes, and the text of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.scripts = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.scripts[-1] += data

    def named(self, tag):
        return [attributes for found, attributes in self.found if found == tag]


def absent(what):
    """Skips, but in continuous integration: there a page that no browser saw is not tested."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI is set")
    pytest.skip(what)


@contextmanager
def browser():
    """Debian's Chromium, headless, with a new profile.

    For one file of tests at a time: while the driver's event loop runs no other could start one.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        absent("playwright is not installed: pip install playwright")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        absent("there is no chromium on the PATH: apt-get install chromium")
    with sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield one
        one.close()
