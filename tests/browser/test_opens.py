"""Every page opens in a real browser, on a desk and on a phone, without an error or a request."""

import pytest
from tests.audit import samples
from tests.audit.test_page import hostile

PHONE = {"width": 360, "height": 740}


@pytest.mark.parametrize("make", [*samples.ALL, hostile])
def test_a_page_opens_from_disk_and_says_nothing_on_the_console(show, make):
    """The other half of the claim is in the fixture: no error, no request."""
    page = show(make())
    assert page.locator("h1").inner_text() == make().model
    assert page.locator(".readout").is_visible()


@pytest.mark.parametrize("make", [*samples.ALL, hostile])
def test_a_phone_needs_no_sideways_scrolling(show, make):
    """Tables and code scroll inside their frames; the page does not."""
    page = show(make(), samples.vanishing(), viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
