"""The picture of a report: what is on it, for nets of any depth and any numbers."""

import sys
from dataclasses import replace
from math import inf, nan

import pytest
import torch
from tests.audit import samples
from tests.audit.test_print import chain, rank_deficient, report
from torch import nn

import fanin
from fanin import FaninError, _plot
from fanin._audit._axes import Course, Panel, draw

matplotlib = pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from tests.pictures import drawn, titles  # noqa: E402


def texts(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("sample", samples.ALL, ids=lambda one: one.__name__)
def test_every_report_has_a_picture(sample, tmp_path):
    """Also one whose numbers are none; it is the same picture each time."""
    for name in ("one.png", "two.png"):
        _plot.save(sample().plot(), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_panel_is_there_for_what_was_measured():
    """Forward, backward, cosines, the spectrum; and no empty one."""
    assert titles(drawn(samples.transformer())) == [
        "Forward: the signal",
        "Backward: the gradient of one input",
        "Cosine of two inputs or positions, entropy of attention",
        "Singular values of the Jacobian, h.0 to h.11",
    ]
    assert titles(drawn(report(places=chain(3)))) == [
        "Forward: the signal",
        "Backward: the gradient of one input",
    ]
    assert titles(drawn(report())) == []


@pytest.mark.parametrize("count", [1, 3, 300])
def test_a_net_of_any_depth_is_drawn_whole(count):
    """Every layer is a point of the curve, on a log scale that holds them all."""
    figure = drawn(report(places=chain(count)))
    forward = figure.axes[0]
    curve = next(line for line in forward.lines if line.get_color() == _plot.COLOURS[0])
    assert list(curve.get_xdata()) == list(range(1, count + 1))
    assert forward.get_yscale() == "log"
    low, high = forward.get_ylim()
    assert all(low < value < high for value in curve.get_ydata())


def test_noise_looks_as_small_as_it_is():
    """An axis never spans less than two powers of ten."""
    low, high = drawn(samples.healthy()).axes[0].get_ylim()
    assert high / low > 100


def test_a_finding_is_marked_at_its_place_and_named_below():
    """Those of gradients on the panel of gradients, all others on that of the signal."""
    figure = drawn(samples.vanishing())
    forward, backward = figure.axes[:2]
    assert {"1", "3"} < set(texts(forward))
    assert "2" in texts(backward)
    assert not {"1", "3"} & set(texts(backward))
    below = [text.get_text() for text in figure.texts]
    assert any(text.startswith("2 vanishing-gradient at 56: ") for text in below)
    place = samples.vanishing().places[56]
    marks = [line for line in backward.lines if to_hex(line.get_color()) == _plot.TROUBLE.lower()]
    (mark,) = marks
    assert list(mark.get_xdata()) == [place.depth]
    assert mark.get_ydata()[0] == pytest.approx(
        (place.signal.gradient * place.signal.size) ** 0.5, rel=1e-12
    )


def test_findings_of_one_place_share_a_mark():
    """Numbers on top of each other could not be read."""
    found = samples.vanishing()
    findings = tuple(replace(one, place=4, code="x") for one in found.findings)
    assert "1, 2, 3" in texts(drawn(replace(found, findings=findings)).axes[0])


def test_the_healthy_band_is_that_of_the_growth():
    """It opens from the first layer on, by the interval at each layer."""
    found = samples.healthy()
    band = drawn(found).axes[0].collections[0].get_paths()[0].vertices
    start = found.places[0].signal.std
    low, high = found.growths[0].interval
    layers = len(found.growths[0].names)
    assert band[:, 1].max() == pytest.approx(start * high ** ((layers - 1) / 2))
    assert band[:, 1].min() == pytest.approx(start * low ** ((layers - 1) / 2))


def test_the_curve_of_theory_meets_the_measured_one_where_theory_holds():
    """Forward as it is; backward, where theory gives ratios, from the last layer on."""
    found = samples.vanishing()
    for axes in drawn(found).axes[:2]:
        by_colour = {line.get_color(): line for line in axes.lines}
        theory = by_colour[_plot.COLOURS[6]].get_ydata()
        measured = by_colour[_plot.COLOURS[0]].get_ydata()[: len(theory)]
        assert list(theory) == pytest.approx(list(measured), rel=0.05)


def test_another_report_stands_behind_this_one():
    """In grey, with a name, on each panel that both have."""
    figure = drawn(samples.healthy(), before=samples.vanishing())
    assert all("before" in texts(axes) for axes in figure.axes[:3])
    assert len(figure.axes[0].lines) == len(drawn(samples.healthy()).axes[0].lines) + 1


def test_it_is_drawn_where_it_is_asked_for():
    """On a figure, or on a part of one."""
    whole = Figure(figsize=(16, 8))
    left, _ = whole.subfigures(1, 2)
    assert samples.healthy().plot(left) is left
    assert len(left.axes) == 4
    assert len(whole.axes) == 4


def test_what_is_not_finite_breaks_the_curve_and_not_the_picture():
    """An infinite gradient has no height."""
    places = list(chain(5))
    places[2] = replace(places[2], signal=replace(places[2].signal, gradient=inf))
    backward = drawn(report(places=tuple(places))).axes[1]
    assert [value == value for value in backward.lines[0].get_ydata()] == [  # noqa: PLR0124
        True,
        True,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("entries", [1, 100])
def test_a_model_with_nan_in_a_weight_has_a_picture(entries):
    """One that cannot be drawn is one whose report cannot be logged: when it is wanted most."""
    torch.manual_seed(0)
    widths = [(64, 10), (10, 10), (10, 10), (10, 3)]
    model = nn.Sequential(*(nn.Linear(*pair) for pair in widths))
    model[2].weight.data.view(-1)[:entries] = torch.nan
    found = fanin.audit(model, torch.randn(32, 64))
    assert titles(drawn(found))[0] == "Forward: the signal"
    places, predictions = found.places, found.predictions
    broken = tuple(
        replace(one, signal=replace(one.signal, gradient=nan, variance=nan)) for one in places
    )
    theory = tuple(replace(one, gradient=nan, second_moment=nan) for one in predictions)
    assert predictions
    panel, *_ = drawn(replace(found, places=broken, predictions=theory)).axes
    assert "theory" not in texts(panel)


def test_a_course_without_a_number_has_a_place_for_its_name():
    """The drawing asks nothing of what it is given."""
    course = Course("name", [1, 2], [nan, nan], "#000000")
    figure = draw(None, "title", "", [Panel("panel", [course], (0.1, 10.0), log=True)], [])
    assert texts(figure.axes[0]) == ["name"]


def test_values_under_rounding_are_named_and_leave_the_axis_alone():
    """An axis to 1e-64 leaves nothing to be read."""
    axes = drawn(rank_deficient()).axes[-1]
    assert "3 more are zero to rounding" in axes.get_xlabel()
    assert axes.get_xlim()[0] > 1e-7


def test_what_is_no_report_is_refused_by_the_way_to_make_one():
    """A file name is the likeliest."""
    with pytest.raises(FaninError, match=r"Report\.load"):
        samples.healthy().plot(before="before.json")


def test_names_are_text_and_no_formulas():
    """A model may be named $x_1$."""
    found = replace(samples.healthy(), model="$x_{1$ <b>")
    assert drawn(found).texts[0].get_text().startswith("$x_{1$ <b>")


def test_the_state_of_pyplot_is_not_touched():
    """A library opens no windows and changes nobody's style."""
    before = dict(matplotlib.rcParams)
    drawn(samples.healthy())
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_without_matplotlib_the_error_names_what_to_install(monkeypatch):
    """It is an extra."""
    monkeypatch.setattr(_plot, "is_available", lambda: False)
    with pytest.raises(FaninError, match=r"pip install 'fanin\[plot\]'"):
        samples.healthy().plot()
