"""Two audits in one page, in a real browser: drawn over each other, numbers before → now."""

import random
from dataclasses import replace

import pytest
from tests.audit import samples
from tests.audit.test_page import net

from fanin._audit._json import write
from fanin._audit._page import page_html

pytestmark = pytest.mark.slow

DAMAGED = [
    '{"format": "fanin audit", "schema": 1, "places": [{}]}',
    '{"format": "fanin audit", "schema": 1, "findings": {}}',
]
OFFERED = "Opens a saved audit"


def open_file(page, name, text):
    """As somebody who chooses a file."""
    file = {"name": name, "mimeType": "text/plain", "buffer": text.encode()}
    page.locator("#other").set_input_files(file)
    page.locator(f"#compared:not(:text('{OFFERED}'))").wait_for()


def mended():
    """The vanishing net after its cure."""
    report = samples.vanishing()
    places = tuple(
        replace(place, signal=replace(place.signal, second_moment=1.0, variance=0.5))
        for place in report.places
    )
    found = report.findings[2:]
    return replace(report, places=places, findings=found, recipe="kaiming", predictions=())


def path_of(page, measure, style):
    """The heights of one line of a chart."""
    line = page.locator(f".chart[data-measure={measure}] .field .line.{style}")
    points = line.get_attribute("d")[1:].split("L")
    return [-float(point.split(",")[1]) for point in points]


def test_both_are_drawn_on_one_axis(show):
    """The axis grows to hold both, and this page's own line moves with it."""
    page = show(mended(), samples.vanishing())
    assert path_of(page, "std", "layers.before")[-1] == pytest.approx(-1.40, abs=0.01)
    assert path_of(page, "std", "layers:not(.before)") == [0.0] * 31
    box = page.locator(".chart[data-measure=std] .field").get_attribute("viewBox").split()
    assert float(box[1]) <= 0
    assert float(box[1]) + float(box[3]) >= 1.40
    labels = page.locator(".chart[data-measure=std] .scale text").all_text_contents()
    assert "1" in labels
    assert "before" in page.locator(".legend").first.inner_text()


def test_the_table_shows_before_and_now(show):
    """Only where they differ."""
    page = show(mended(), samples.vanishing())
    cells = page.locator("#place-60 td").all_inner_texts()
    assert cells[3] == "0.0395 → 1.00"
    assert cells[2] == "64×10"
    assert "→" not in cells[6]


def test_findings_are_new_still_there_or_gone(show):
    """What a change mended, and what it broke."""
    page = show(mended(), samples.vanishing())
    assert page.locator(".card .badge.change").all_inner_texts() == ["still there"]
    gone = page.locator(".gone li").all_inner_texts()
    assert [line.split(" (")[0] for line in gone] == [
        "error: Vanishing signal at 2",
        "error: Vanishing gradient at 56",
    ]
    back = show(samples.vanishing(), mended())
    badges = back.locator(".card .badge.change").all_inner_texts()
    assert badges == ["new", "new", "still there"]
    assert not back.locator(".gone").is_visible()


def test_the_head_numbers_say_what_they_were(show):
    """Below the number of now."""
    page = show(samples.healthy(), samples.exploding())
    assert page.locator("[data-tile=loss] .was").inner_text() == "before: 61,000"
    assert page.locator("[data-tile=gradient] .was").inner_text() == "before: 46,341×"


@pytest.mark.parametrize("kind", ["json", "html"])
def test_a_file_that_is_opened_gives_what_python_compares(show, kind):
    """A saved report, or another page: the same numbers, findings and lines."""
    made = show(mended(), samples.vanishing())
    page = show(mended())
    other = samples.vanishing()
    open_file(page, f"before.{kind}", write(other) if kind == "json" else page_html(other))
    assert page.locator("main").inner_text() == made.locator("main").inner_text()
    lines = "all => all.map((one) => one.outerHTML)"
    drawn = [each.locator(".chart").evaluate_all(lines) for each in (page, made)]
    assert drawn[0] == drawn[1]


def test_a_comparison_can_be_ended(show):
    """The page is then as it was opened."""
    page = show(mended())
    before = page.locator("main").inner_text()
    box = page.locator(".field").first.get_attribute("viewBox")
    open_file(page, "before.json", write(samples.vanishing()))
    assert page.locator("main").inner_text() != before
    page.locator("#alone").click()
    assert page.locator("main").inner_text() == before
    assert page.locator(".field").first.get_attribute("viewBox") == box
    assert page.locator(".before, .was").count() == 0


def test_a_second_file_takes_the_place_of_the_first(show):
    """Three audits in one chart would be read by nobody."""
    page = show(mended())
    open_file(page, "one.json", write(samples.exploding()))
    page.locator("#other").set_input_files(
        {"name": "two.json", "mimeType": "text/plain", "buffer": write(mended()).encode()}
    )
    page.locator("#compared:text('kaiming')").wait_for()
    assert page.locator(".chart[data-measure=std] .line.layers.before").count() == 1
    assert page.locator(".was").count() == 0


@pytest.mark.parametrize(
    "text",
    [*DAMAGED, "", "{}", "[1]", "<p>a page</p>", "{", '{"format": "fanin audit"}', "not an audit"],
)
def test_a_file_that_is_no_audit_is_refused_in_words(show, text):
    """And the page stays as it was."""
    page = show(samples.healthy())
    before = page.locator("#layers-title ~ .scroll").first.inner_text()
    open_file(page, "strange.txt", text)
    assert page.locator("#compared").inner_text().startswith("strange.txt cannot be compared: ")
    assert page.locator("#layers-title ~ .scroll").first.inner_text() == before
    assert page.locator(".before, .was").count() == 0


@pytest.mark.parametrize("make", samples.ALL)
def test_an_audit_compared_with_itself_shows_no_difference(show, make):
    """The page writes numbers as Python does: any other rounding would show as a change."""
    page = show(make(), make())
    assert page.locator(".was").all_inner_texts() == []
    assert page.locator(".badge.change").all_inner_texts() == ["still there"] * len(make().findings)


def test_numbers_of_every_size_are_written_as_python_writes_them(show):
    """From 1e-30 to 1e30; drawn with a fixed seed, the same on every run."""
    draw = random.Random(0)
    report = net([10 ** draw.uniform(-30, 30) for _ in range(400)])
    page = show(report, report)
    page.locator(".more[data-kind=place] button").click()
    assert page.locator("table[data-kind=place] tbody tr").count() == 400
    assert page.locator(".was").all_inner_texts() == []


def test_models_of_other_names_are_drawn_over_the_whole_width(show):
    """Two architectures have no layers in common; their courses can still be compared."""
    other = net([1.0] * 10)
    renamed = tuple(replace(place, name=f"other.{place.index}") for place in other.places)
    page = show(net([1.0] * 20), replace(other, places=renamed))
    line = page.locator(".chart[data-measure=std] .line.layers.before").get_attribute("d")
    across = [float(point.split(",")[0]) for point in line[1:].split("L")]
    assert across[0] == pytest.approx(1.5)
    assert across[-1] == pytest.approx(19.5)
    assert "0 of 10 operations are in both" in page.locator("#compared").inner_text()
