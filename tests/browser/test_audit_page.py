"""The page of a report in a real browser: what people can see, reach and do in it.

Every test here fails as well for a message on the console or a request to anywhere.
"""

from dataclasses import replace

import pytest
from tests.audit import samples
from tests.audit.test_page import HOSTILE, hostile, net
from tests.audit.test_print import rank_deficient

pytestmark = pytest.mark.slow

CONTRASTS = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (value) => {
    const share = value / 255;
    return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  const light = ([red, green, blue]) =>
    0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const behind = (element) => {
    for (let one = element; one !== null; one = one.parentElement) {
      const back = parts(getComputedStyle(one).backgroundColor);
      if (back.length === 3 || back[3] === 1) return back;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest("title, script")) continue;
    const style = getComputedStyle(element);
    const ink = parts(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [one, two] = [light(ink), light(behind(element))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    found.push([ratio, `${element.tagName} ${element.textContent.slice(0, 40)}`]);
  }
  return found;
}"""

REACHABLE = """() => {
  const wanted = "a[href], button, input, select, summary, [tabindex='0']";
  const found = [...document.querySelectorAll(wanted)].filter((one) => one.checkVisibility());
  found.forEach((one, order) => { one.dataset.order = order; });
  return found.length;
}"""

FOCUSED = """() => {
  const one = document.activeElement;
  const ring = (element) => getComputedStyle(element).outlineStyle !== "none";
  return [one.dataset.order ?? "", ring(one) || ring(one.closest("label") ?? one)];
}"""


def numbers(page, column, kind="place"):
    """The texts of one column of a table, as numbers."""
    place = f"table[data-kind={kind}] thead th"
    heads = page.locator(place).evaluate_all("all => all.map((one) => one.dataset.column)")
    cells = page.locator(f"table[data-kind={kind}] tbody td:nth-child({heads.index(column) + 1})")
    return [float(text.replace(",", "")) for text in cells.all_inner_texts()]


def names(page, kind="place"):
    """The names in the rows that a table shows."""
    return page.locator(f"table[data-kind={kind}] tbody td.name b").all_inner_texts()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("make", [samples.transformer, samples.healthy])
def test_every_text_has_contrast_enough_to_be_read(show, make, scheme):
    """WCAG 2.2, 1.4.3: 4.5 to 1 for every text, in both schemes."""
    page = show(make(), samples.vanishing(), color_scheme=scheme)
    found = page.evaluate(CONTRASTS)
    assert len(found) > 100
    assert [(round(ratio, 2), what) for ratio, what in found if ratio < 4.5] == []


def test_light_and_dark_are_two_schemes(show):
    """As the system of the reader is set."""
    back = "getComputedStyle(document.body).backgroundColor"
    colours = [
        show(samples.healthy(), color_scheme=scheme).evaluate(back) for scheme in ("light", "dark")
    ]
    assert colours == ["rgb(247, 247, 245)", "rgb(20, 23, 27)"]


def test_tab_reaches_every_control_and_shows_where_it_is(show):
    """Without a mouse nothing may be out of reach, and the focus must be seen."""
    page = show(samples.transformer(), samples.healthy())
    count = page.evaluate(REACHABLE)
    seen = set()
    for _ in range(count + 5):
        page.keyboard.press("Tab")
        order, ring = page.evaluate(FOCUSED)
        assert ring or order == ""
        seen.add(order)
    assert count > 30
    assert {str(order) for order in range(count)} <= seen


def test_a_click_on_a_head_sorts_and_a_second_turns_it_round(show):
    """And the column says so to who cannot see the arrow."""
    page = show(samples.vanishing())
    head = page.locator("table[data-kind=place] th[data-column=gradient]")
    head.locator("button").click()
    rising = numbers(page, "gradient")
    assert rising == sorted(rising)
    assert len(set(rising)) > 20
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").press("Enter")
    assert numbers(page, "gradient") == sorted(rising, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    page.locator("table[data-kind=place] th[data-column=index] button").click()
    assert head.get_attribute("aria-sort") is None
    assert numbers(page, "index") == sorted(numbers(page, "index"))


def test_names_sort_by_their_numbers(show):
    """blocks.10 comes behind blocks.9."""
    page = show(samples.exploding())
    page.locator("table[data-kind=place] th[data-column=name] button").click()
    blocks = [name for name in names(page) if name.endswith("fc")]
    assert blocks == [f"blocks.{block}.fc" for block in range(32)]


def test_what_was_not_measured_is_sorted_last_both_ways(show):
    """A dash is neither small nor large."""
    page = show(samples.transformer())
    button = page.locator("table[data-kind=parameter] th[data-column=update] button")
    last = page.locator("table[data-kind=parameter] tbody tr:last-child td:nth-child(5)")
    for _ in range(2):
        button.click()
        assert last.inner_text() == "–"


def test_the_filter_leaves_the_rows_with_all_its_words(show):
    """In any order, of the name or the operation."""
    report = samples.transformer()
    word = report.layers[-1].operation
    page = show(report)
    page.locator(".controls[data-kind=place] input[type=search]").fill(f"{word.upper()} h.3.")
    expected = [place.name for place in report.layers if place.name.startswith("h.3.")]
    assert len(expected) == 4
    assert names(page) == expected
    assert page.locator(".more[data-kind=place] span").inner_text() == "4 of 4 rows"


def test_the_filter_by_severity_leaves_the_findings(show):
    """Of a thousand layers, the three that matter."""
    page = show(samples.vanishing())
    choice = page.locator(".controls[data-kind=place] select")
    choice.select_option("error")
    assert names(page) == ["2", "56"]
    choice.select_option("any")
    assert names(page) == ["2", "10", "56"]


def test_all_operations_are_shown_on_request(show):
    """Activations and norms are in the report, but at first only layers are shown."""
    page = show(samples.healthy())
    assert len(names(page)) == 7
    page.locator(".controls[data-kind=place] input[type=checkbox]").check()
    assert names(page) == [str(index) for index in range(13)]


def test_pointing_at_a_chart_shows_the_layer_everywhere(show):
    """In the readout, in every chart and in the table."""
    page = show(samples.exploding())
    field = page.locator(".chart[data-measure=gradient] .field")
    field.scroll_into_view_if_needed()
    box = field.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5 / 66, box["y"] + 20)
    text = page.locator(".readout").inner_text()
    assert text.startswith("inputs\n")
    assert "std 1.00\n" in text
    cursors = page.locator(".cursor").evaluate_all("all => all.map((one) => one.getAttribute('d'))")
    assert len(cursors) == 4
    assert all(path.startswith("M1,") for path in cursors)
    assert page.locator("tr.chosen td.name b").all_inner_texts() == ["inputs"]


def test_arrow_keys_walk_through_the_layers(show):
    """The keyboard does what the pointer does, and the chart speaks."""
    page = show(samples.exploding())
    field = page.locator(".chart[data-measure=std] .field")
    field.focus()
    assert page.locator(".readout strong").inner_text() == "inputs"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".readout strong").inner_text() == "blocks.0 add"
    assert field.get_attribute("aria-valuenow") == "3"
    assert field.get_attribute("aria-valuetext").startswith("blocks.0 add, std 1.41,")
    page.keyboard.press("End")
    assert page.locator(".readout strong").inner_text() == "head"


def test_pointing_at_a_row_shows_it_in_the_charts(show):
    """The other way round."""
    page = show(samples.healthy())
    page.locator("#place-4").hover()
    assert page.locator(".readout strong").inner_text() == "4"
    assert page.locator(".cursor").first.get_attribute("d").startswith("M3,")


def test_the_link_of_a_finding_goes_to_its_row_whatever_hides_it(show):
    """A filter, or an operation that is no layer."""
    page = show(samples.transformer())
    page.locator(".controls[data-kind=place] input[type=search]").fill("nothing is called so")
    assert names(page) == []
    page.locator(".card.warning .where a").click()
    row = page.locator("tr:focus")
    assert row.locator("b").inner_text() == "h.11.attn scaled_dot_product_attention"
    assert row.evaluate("(row) => row.getBoundingClientRect().top > 0")


def test_a_remedy_is_copied_as_it_is(show):
    """Or, where a page on disk may not, selected to be copied by hand."""
    page = show(hostile())
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.locator(".remedy button").first
    button.click()
    page.locator(".remedy button:not(:text-is('Copy'))").wait_for()
    if button.inner_text() == "Copied":
        taken = page.evaluate("navigator.clipboard.readText()")
    else:
        taken = page.evaluate("getSelection().toString()")
    assert taken == HOSTILE


@pytest.mark.parametrize("width", [360, 1200])
def test_a_long_line_of_a_remedy_is_read_without_scrolling(show, width):
    """Lines of 130 characters are common; what is copied has no break in it."""
    long = "plan = plan.replace({lambda site: site.name not in {'layers.4.weight'}: others}) # " * 3
    found = samples.vanishing()
    findings = tuple(replace(one, remedy=long) for one in found.findings)
    page = show(replace(found, findings=findings), viewport={"width": width, "height": 800})
    for pre in page.locator(".remedy pre").all():
        assert pre.evaluate("(one) => one.scrollWidth <= one.clientWidth")
        assert pre.evaluate("(one) => one.textContent") == long


def test_values_under_rounding_are_drawn_neither_of_this_audit_nor_of_another(show):
    """The script draws the spectrum again when two are compared: on the same axis."""
    page = show(rank_deficient(), rank_deficient())
    chart = page.locator("figure[data-measure=spectrum]")
    assert float(chart.get_attribute("data-low")) >= -7
    for line in ("layers.before", "layers:not(.before)"):
        path = chart.locator(f".field > .line.{line}").get_attribute("d")
        assert path.count(",") == 5


def test_an_output_that_is_not_finite_is_a_dash_in_both_audits(show):
    """Its std is that of the other entries."""
    broken = net([1.0, 2.0])
    last = replace(broken.places[-1], signal=replace(broken.places[-1].signal, finite=0.5))
    broken = replace(broken, places=(broken.places[0], last))
    page = show(broken, net([1.0, 3.0]))
    text = page.locator("[data-tile=output]").inner_text()
    assert "3.00" in text
    assert "2.00" not in text
    assert "–" in text


def test_a_hostile_name_is_shown_and_does_nothing(show):
    """In the title, the table, the readout, and compared with another hostile page."""
    page = show(hostile(), hostile())
    page.on("dialog", lambda _: pytest.fail("a script of a name ran"))
    page.locator(".field").first.focus()
    assert page.locator(".readout strong").inner_text() == HOSTILE
    assert names(page) == [HOSTILE, HOSTILE]
    assert HOSTILE in page.locator("#compared").inner_text()
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 3


def test_two_thousand_operations_draw_a_bounded_number_of_nodes(show):
    """What is not asked for is not laid out, so that the page opens at once."""
    page = show(net([1.0 + 1e-4 * index for index in range(2000)]))
    assert page.locator("*").count() < 4000
    search = page.locator(".controls[data-kind=place] input[type=search]")
    search.fill("layers.1999")
    assert names(page) == ["layers.1999"]
    search.fill("")
    page.locator(".more[data-kind=place] button").click()
    assert len(names(page)) == 400
    page.locator(".field").first.press("End")
    assert page.locator(".readout strong").inner_text() == "layers.1999"


def test_without_script_the_page_can_be_read(show):
    """Mail readers and CI servers show pages so: findings, charts and layers are there."""
    page = show(samples.vanishing(), samples.healthy(), java_script_enabled=False)
    assert page.locator(".card").count() == 3
    assert page.locator(".chart .line").first.is_visible()
    assert page.locator("table[data-kind=place] tbody tr").count() == 31
    assert page.locator("noscript").is_visible()
    assert not page.locator(".controls").first.is_visible()
    assert not page.locator(".compare").is_visible()


def test_on_paper_there_are_no_controls_and_no_row_is_cut_off(show):
    """A report is printed to be filed."""
    page = show(samples.vanishing(), color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 33, 39)"
    assert not page.locator(".controls, .compare, .remedy button").filter(visible=True).count()
    frame = page.locator(".scroll").first
    assert frame.evaluate("(one) => one.scrollHeight <= one.clientHeight")


def test_who_asked_for_less_motion_gets_none(show):
    """A jump to a row is a jump then."""
    page = show(samples.healthy(), reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
