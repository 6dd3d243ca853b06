"""The page of a comparison as text: what it holds, what it cannot do, where things are drawn."""

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compare import samples
from tests.compare.test_comparison_json import POSSIBLE, comparisons
from tests.in_browser import HOSTILE, Elements, browser

from fanin._compare._comparison import Comparison
from fanin._compare._page import page_html
from fanin._compare._page.charts import charts_of
from fanin._compare._page.spans import Span, area_path, line_path


def hostile():
    """Every text of it is an attack."""
    runs = {HOSTILE: samples.paced(HOSTILE, 60), "b": samples.paced("b", 40)}
    texts = dict.fromkeys(("model", "target", "data", "way"), HOSTILE)
    one = samples.comparison(runs, notes=(HOSTILE,), versions=((HOSTILE, HOSTILE),), **texts)
    return replace(one, starts=tuple(replace(each, formula=HOSTILE) for each in one.starts))


@pytest.mark.parametrize("make", [*samples.ALL, hostile])
def test_equal_comparisons_give_equal_bytes(make):
    """Pages are kept in version control: nothing in them is of the clock or the machine."""
    assert page_html(make()) == page_html(make())


@pytest.mark.parametrize("make", [*samples.ALL, hostile])
def test_the_page_loads_nothing_and_runs_nothing(make):
    """It opens from disk, years later, without a network; its policy allows no script at all."""
    elements = Elements(page_html(make()))
    policy = elements.named("meta")[1]["content"]
    assert policy.startswith("default-src 'none'; ")
    assert "script-src" not in policy
    assert not {"link", "img", "iframe", "object", "base"} & {tag for tag, _ in elements.found}
    assert [one["type"] for one in elements.named("script")] == ["application/json"]
    attributes = [
        (name, value or "") for _, found in elements.found for name, value in found.items()
    ]
    assert not [name for name, _ in attributes if name.startswith("on") or name == "src"]
    assert not [value for name, value in attributes if name == "href" and value[0] != "#"]


@pytest.mark.parametrize("make", [*samples.ALL, hostile])
def test_the_comparison_in_the_page_is_the_comparison(make):
    """A page is a saved comparison."""
    (text,) = Elements(page_html(make())).scripts
    assert Comparison.from_json(text) == make()


@given(comparisons(**POSSIBLE))
@settings(max_examples=40)
def test_any_comparison_has_a_page(one):
    """Also one without seeds, or of losses of any size."""
    elements = Elements(page_html(one))
    assert Comparison.from_json(elements.scripts[-1]) == one


def test_a_hostile_name_stays_text():
    """Names are a user's text, and a page is passed on to others."""
    for text in (page_html(hostile()), hostile()._repr_html_()):
        assert not Elements(text).named("img")
        assert "{{ 7 * 7 }}" in text


@pytest.mark.parametrize("make", [*samples.ALL, hostile])
def test_a_notebook_gets_no_script_and_no_style_sheet(make):
    """What is shown in a notebook must not change the rest of it."""
    elements = Elements(make()._repr_html_())
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"script", "style", "img", "link"}
    assert not [found for _, found in elements.found if "class" in found or "id" in found]


@pytest.mark.parametrize("make", samples.ALL, ids=lambda one: one.__name__)
def test_every_start_and_verdict_is_on_the_page(make):
    """With a box to show or hide the start, and a row in the table."""
    one, page = make(), page_html(make())
    assert page.count('type="checkbox"') == len(one.starts)
    assert page.count('<article class="card call-') == len(one.verdicts)
    assert page.count("{ visibility: hidden; }") == len(one.starts)
    for place in range(len(one.starts)):
        assert f'id="show-{place}"' in page


def test_every_seed_is_a_dot_with_its_number():
    """And a hollow one where the target was never reached."""
    charts = {chart.key: chart for chart in charts_of(samples.deep())}
    marks = charts["seeds"].marks
    dots = [mark for mark in marks if mark.kind == "dot"]
    assert [sum(mark.start == place for mark in dots) for place in range(3)] == [8, 8, 8]
    holes = [mark for mark in marks if mark.kind == "hole"]
    assert [sum(mark.start == place for mark in holes) for place in range(3)] == [8, 4, 0]
    steps = samples.deep().of("steady")[3].steps
    assert f"steady, seed 3: {steps}.0" in {mark.title for mark in dots}


def test_a_bound_has_no_dot():
    """It is a line to the edge: how much more is not known."""
    charts = {chart.key: chart for chart in charts_of(samples.deep())}
    kinds = {mark.kind for mark in charts["ratios"].marks}
    assert kinds == {"interval"}
    assert all(mark.path.endswith("H100") for mark in charts["ratios"].marks)


def test_without_intervals_there_is_no_chart_of_them():
    """Nor without a second start."""
    for make in (samples.few, samples.single, samples.untargeted):
        assert "ratios" not in {chart.key for chart in charts_of(make())}


@given(st.floats(-100, 100), st.floats(1e-3, 1e6), st.floats(0, 1), st.booleans())
def test_places_are_in_order_and_ticks_are_where_they_say(low, width, share, log):
    """Percent of the span, for values and for ticks."""
    low = width * (abs(low) + 1e-3 if log else low)
    span = Span(low, low + width, log=log)
    value = low + share * width
    assert -0.01 <= span.share(value) <= 100.01
    assert span.share(low) <= span.share(value) + 0.01
    ticks = span.ticks()
    assert len(ticks) <= 12
    for place, label in ticks:
        assert -0.01 <= place <= 100.01
        assert place == pytest.approx(span.share(float(label)), abs=0.1)


def test_what_is_out_of_the_picture_stays_near_it():
    """An infinite loss is above, a loss of 0 below, on an axis of powers."""
    span = Span(0.1, 10.0, log=True)
    assert (span.share(inf), span.share(0.0), span.share(1e9)) == (110, -10, 110)
    assert Span(1.0, 1.0).share(1.0) == 50


def test_paths_break_where_there_is_nothing():
    """The area ends with the shorter of its lines."""
    assert line_path([(0, nan), (1, 2), (2, 3)]) == "M1,2L2,3"
    assert area_path([(0, 5), (1, 5), (2, 5)], [(0, 1), (1, 2), (2, nan)]) == "M0,1L1,2L1,5L0,5Z"
    assert area_path([(0, 5)], [(0, 1)]) == ""


@pytest.fixture(scope="module")
def chromium():
    with browser() as one:
        yield one


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_page_without_complaint(chromium, tmp_path, width, scheme):
    """On a phone and a desk nothing is wider than the window, and a start can be hidden by keys."""
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    for make in (samples.deep, samples.many):
        make().to_html(tmp_path / "page.html")
        page.goto((tmp_path / "page.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        line = page.locator(".chart.loss .line.of-2")
        assert line.evaluate("one => getComputedStyle(one).visibility") == "visible"
        page.locator("#show-2").press("Space")
        assert line.evaluate("one => getComputedStyle(one).visibility") == "hidden"
        page.keyboard.press("Tab")
    context.close()
    assert said == []
