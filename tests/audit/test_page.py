"""The page of a report as text: what it holds, what it cannot do, and where things are drawn."""

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from math import inf, log10, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.audit import samples
from tests.audit.test_print import rank_deficient
from tests.in_browser import HOSTILE, Elements

from fanin import FaninError
from fanin._audit._html import report_html
from fanin._audit._page import page_html
from fanin._audit._page.axis import Axis, area_path, line_path, linear_axis, log_axis
from fanin._audit._page.charts import charts_of
from fanin._audit._page.rows import place_rows
from fanin._audit._page.series import MEASURES, across, bands, drawn
from fanin._audit._page.summary import cards_of, tiles_of, verdict
from fanin._audit._records import Finding, Loss, ParameterState, Place, Signal
from fanin._audit._report import Report

POSITIVE = st.floats(min_value=1e-300, max_value=1e300)


def hostile():
    """Every text of it is an attack."""
    place = Place(
        index=0,
        name=HOSTILE,
        operation=HOSTILE,
        kind=HOSTILE,
        module=HOSTILE,
        shape=(2, 3),
        depth=1,
        signal=Signal(second_moment=1.0, size=3, gradient=1.0, correlation=0.5),
        weight=HOSTILE,
    )
    texts = dict.fromkeys(("code", "where", "measured", "expected", "reason"), HOSTILE)
    finding = Finding(severity="error", remedy=HOSTILE, place=0, also=(HOSTILE,), **texts)
    parameter = ParameterState(
        name=HOSTILE,
        role=HOSTILE,
        shape=(2,),
        dtype=HOSTILE,
        trainable=True,
        mean=0.0,
        second_moment=1.0,
        same_as=HOSTILE,
    )
    facts = dict.fromkeys(("model", "batch", "mode", "plan", "recipe", "optimizer"), HOSTILE)
    return Report(
        places=(place, replace(place, index=1)),
        parameters=(parameter,),
        findings=(finding,),
        notes=(HOSTILE,),
        versions=((HOSTILE, HOSTILE),),
        **facts,
    )


def net(values, **facts):
    """A plain net of layers with these stds."""
    places = tuple(
        Place(
            index=index,
            name=f"layers.{index}",
            operation="linear",
            kind="linear",
            module="Linear",
            shape=(2, 4),
            depth=index + 1,
            signal=Signal(second_moment=value**2, size=4),
            weight=f"layers.{index}.weight",
        )
        for index, value in enumerate(values)
    )
    return Report(model="Net", batch="float32 2x4", mode="training", places=places, **facts)


@pytest.mark.parametrize("make", samples.ALL)
def test_equal_reports_give_equal_bytes(make):
    """Pages are compared in version control: nothing in them may be of the clock or the machine."""
    assert page_html(make(), samples.healthy()) == page_html(make(), samples.healthy())


@pytest.mark.parametrize("make", samples.ALL)
def test_nothing_is_loaded_and_no_style_or_script_is_in_an_attribute(make):
    """The page opens from disk, years later, without a network."""
    page = page_html(make())
    elements = Elements(page)
    policy = elements.named("meta")[1]["content"]
    assert policy.startswith("default-src 'none'; ")
    assert not {"link", "img", "iframe", "object", "base"} & {tag for tag, _ in elements.found}
    attributes = [name for _, found in elements.found for name in found]
    assert not [name for name in attributes if name == "style" or name.startswith("on")]
    assert all(found.get("href", "#").startswith("#") for _, found in elements.found)
    assert "src" not in attributes
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket", page)


def test_only_the_script_of_the_page_may_run():
    """The policy names the one script by its hash, so that a text that got through runs nothing."""
    elements = Elements(page_html(samples.vanishing()))
    script = elements.scripts[-1]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in elements.named("meta")[1]["content"]


@pytest.mark.parametrize("make", [*samples.ALL, hostile])
def test_the_report_in_the_page_is_the_report(make):
    """A page is a saved audit: another page, or Report.from_json, reads it again."""
    elements = Elements(page_html(make(), samples.vanishing()))
    own, before = elements.scripts[:2]
    # By their texts, since NaN is not equal to itself.
    assert str(Report.from_json(own).places) == str(make().places)
    assert Report.from_json(before) == samples.vanishing()


def test_a_hostile_name_stays_text():
    """Names of modules are a user's text, and a page is passed on to others."""
    elements = Elements(page_html(hostile(), hostile()))
    assert not elements.named("img")
    assert len(elements.scripts) == 3
    assert "alert" not in elements.scripts[-1]
    assert "{{ 7 * 7 }}" in page_html(hostile())


@pytest.mark.parametrize("make", [*samples.ALL, hostile])
def test_a_notebook_gets_no_script_and_no_style_sheet(make):
    """What is shown in a notebook must not change the rest of it."""
    elements = Elements(report_html(make()))
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"script", "style", "img", "link"}
    assert not [found for _, found in elements.found if "class" in found or "id" in found]


@pytest.mark.parametrize("make", samples.ALL)
def test_every_finding_is_told_whole(make):
    """Severity, place, measured, expected, reason and remedy: in the page and in a notebook."""
    report = make()
    for text in (page_html(report), report_html(report)):
        for finding in report.findings:
            for said in (finding.where, finding.measured, finding.expected, finding.reason):
                assert escaped(said) in text or escaped(said).replace("&#x27;", "&#39;") in text
            assert f">{finding.severity}" in text


def escaped(text):
    """As both `html.escape` and Jinja write it, but for the apostrophe."""
    for sign, written in zip("&<>'\"", ("&amp;", "&lt;", "&gt;", "&#x27;", "&#34;"), strict=True):
        text = text.replace(sign, written)
    return text


def test_the_worst_finding_comes_first():
    """Who reads only one card reads the one that matters."""
    report = samples.transformer()
    mixed = replace(report, findings=report.findings[::-1])
    severities = [card.finding.severity for card in cards_of(mixed)]
    assert severities == ["error", "warning", "note"]


def test_the_verdict_counts_what_makes_a_start_unhealthy():
    """A note is no trouble."""
    assert verdict(samples.vanishing()) == "2 errors, 1 warning"
    assert verdict(samples.transformer()) == "1 error, 1 warning"
    notes = samples.transformer().findings[2:]
    assert verdict(replace(samples.transformer(), findings=notes)) == "Healthy"


def test_the_head_numbers_are_those_of_the_report():
    """Loss, output std, gradient first by last, correlation, parameters."""
    values = {tile.key: tile.value for tile in tiles_of(samples.healthy())}
    assert values == {
        "loss": "2.41",
        "output": "0.720",
        "gradient": "1.04×",
        "correlation": "0.760",
        "size": "184,330",
    }


def test_values_under_rounding_are_counted_and_leave_the_axis_alone():
    """The chart keeps their room, so that one sees how many there are."""
    (chart,) = (one for one in charts_of(rank_deficient()) if one.measure == "spectrum")
    assert "3 of them are zero to rounding" in chart.caption
    assert chart.axis.low >= -7
    assert chart.steps == 8
    assert chart.lines[0].path.count(",") == 5


def test_an_output_that_is_not_finite_has_no_std():
    """That of the other entries, or of none, would be read as a number of the output."""
    broken = net([1.0, 2.0])
    last = replace(broken.places[-1], signal=replace(broken.places[-1].signal, finite=0.5))
    loss = Loss(value=nan, said="", output_std=0.0)
    for one in (
        replace(broken, places=(broken.places[0], last)),
        replace(broken, loss=loss),
        replace(broken, loss=replace(loss, value=inf)),
    ):
        tile = tiles_of(one)[1]
        assert (tile.value, tile.beside) == ("–", "not finite, at layers.1")
    assert tiles_of(replace(broken, loss=replace(loss, value=1.0)))[1].value == "0"
    assert tiles_of(broken)[1].value == "2.00"


def test_a_page_that_cannot_be_written_names_the_file_that_was_asked_for(tmp_path):
    """And not one beside it, of which nobody knows."""
    with pytest.raises(FaninError, match="no directory") as caught:
        samples.healthy().to_html(tmp_path / "none" / "x.html")
    assert ".part" not in str(caught.value)
    with pytest.raises(FaninError, match="a directory"):
        samples.healthy().to_html(tmp_path)
    with pytest.raises(FaninError, match=r"Report\.load"):
        samples.healthy().to_html(tmp_path / "x.html", before="before.json")
    assert not list(tmp_path.iterdir())


def test_a_report_of_nothing_is_a_page():
    """A model without a weight that ran is still told about."""
    empty = Report(model="Nothing", batch="float32 1x1", mode="training")
    assert "Healthy" in page_html(empty)
    assert not charts_of(empty)
    assert "Healthy" in report_html(empty)


@given(st.lists(POSITIVE, min_size=1, max_size=20))
def test_a_log_axis_holds_its_values_with_few_ticks(values):
    """Whole decades, every value between the ends, at most five ticks."""
    axis = log_axis(values)
    assert all(axis.low <= log10(value) <= axis.high for value in values)
    assert axis.high - axis.low >= 2
    assert 2 <= len(axis.ticks) <= 5
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)


@given(POSITIVE, st.floats(min_value=1.01, max_value=1e6))
def test_a_factor_is_the_same_height_everywhere_on_a_log_axis(value, factor):
    """That is what a log axis is for: a steady growth is a straight line."""
    axis = Axis(-320, 320, log=True, ticks=())
    grown = min(value * factor, 1e306)
    assert axis.height(grown) - axis.height(value) == pytest.approx(log10(grown / value), abs=1e-9)


def test_a_zero_is_drawn_at_the_lower_end():
    """A dead signal must be seen, though it has no logarithm."""
    axis = log_axis([1.0, 0.1, 0.0])
    assert axis.low == -2
    assert line_path(axis, [(1, 1.0), (2, 0.0)]) == "M1,0L2,2"


def test_no_point_is_drawn_of_what_is_not_finite():
    """SVG has no coordinate for NaN, and draws nothing at all of a path that has one."""
    report = net([1.0, 1.0, 1.0])
    broken = replace(report.places[1], signal=Signal(second_moment=nan, size=4))
    high = replace(report.places[2], signal=Signal(second_moment=inf, size=4))
    mended = replace(report, places=(report.places[0], broken, high))
    (chart,) = charts_of(mended)
    assert chart.lines[0].path == "M1,0"
    pages = [page_html(make()) for make in (samples.not_finite, lambda: mended)]
    assert not [d for page in pages for d in re.findall(r' d="([^"]*)"', page) if "n" in d]


def test_a_share_axis_reaches_below_zero_only_for_what_is_negative():
    """Correlations of odd functions may be negative; shares are not."""
    assert linear_axis([0.0, 1.0]).low == 0
    assert linear_axis([0.2, -0.3]).low == -1


def test_the_band_opens_as_the_interval_says():
    """Forward from the first layer, by the root of the interval at each layer: std is drawn."""
    report = samples.healthy()
    ((lower, upper),) = bands(report, drawn(report), "forward")
    first = report.places[0].signal.std
    low, high = report.growths[0].interval
    assert lower[0] == upper[0] == (1, first)
    assert lower[5] == pytest.approx((6, first * low**2.5))
    assert upper[5] == pytest.approx((6, first * high**2.5))


def test_the_band_backward_opens_from_the_last_layer():
    """The gradient starts at the loss."""
    report = samples.healthy()
    ((lower, upper),) = bands(report, drawn(report), "backward")
    assert lower[-1] == upper[-1]
    assert lower[0][1] < lower[-1][1] < upper[0][1]


def test_an_area_is_closed():
    """Both lines, the lower one backwards."""
    axis = log_axis([0.1, 10.0])
    assert area_path(axis, [(1, 0.1), (2, 0.1)], [(1, 10.0), (2, 10.0)]) == "M1,-1L2,-1L2,1L1,1Z"
    assert area_path(axis, [], []) == ""


def test_what_is_no_layer_is_drawn_behind_the_layer_before_it():
    """A finding may be at an activation, which has no step of its own."""
    report = samples.healthy()
    steps = drawn(report)
    assert across(steps, 2) == 2
    assert across(steps, 3) == 2.5


def test_a_finding_is_marked_at_its_own_value():
    """A mark beside the line would blame another layer."""
    report = samples.vanishing()
    forward, backward = charts_of(report)[:2]
    place = report.places[report.findings[0].place]
    height = -forward.axis.height(MEASURES["std"](place))
    assert forward.marks[0].path == f"M{across(drawn(report), 2):g},{height:.3f}h0"
    assert [mark.kind for mark in forward.marks] == ["error", "warning"]
    assert ["gradient" in mark.title for mark in backward.marks] == [True]


def test_a_row_shows_the_worst_finding_of_its_place():
    """The filter by severity goes by it."""
    report = net([1.0, 2.0])
    texts = dict.fromkeys(("code", "where", "measured", "expected", "reason", "remedy"), "x")
    found = [Finding(severity=one, place=1, **texts) for one in ("note", "error", "warning")]
    rows = place_rows(replace(report, findings=tuple(found)))
    assert [row.severity for row in rows] == ["", "error"]


def test_two_thousand_operations_draw_few_rows_and_no_dots():
    """The others wait in a template, which is not laid out."""
    page = page_html(net([1.0 + 1e-4 * index for index in range(2000)]))
    drawn_part = re.sub(r"<template.*?</template>", "", page, flags=re.DOTALL)
    assert drawn_part.count("<tr ") == 200
    assert page.count("<tr ") == 2000
    assert drawn_part.count("<path") < 50
