"""The picture of a comparison: what is on it, for trainings of any outcome."""

import sys
from math import isnan

import pytest
from tests.compare import samples

from fanin import FaninError, _plot
from fanin._compare._curves import colours_of, course_of, rates_of, reach_of

matplotlib = pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from tests.pictures import drawn, titles  # noqa: E402


def lines_of(axes, colour):
    """The lines of this colour that are no dots, with what they show."""
    found = [line for line in axes.lines if to_hex(line.get_color()) == colour.lower()]
    return [line for line in found if len(line.get_xdata()) > 2]


@pytest.mark.parametrize("make", samples.ALL, ids=lambda one: one.__name__)
def test_every_comparison_has_a_picture(make, tmp_path):
    """Also one of which nothing arrives; it is the same picture each time."""
    for name in ("one.png", "two.png"):
        _plot.save(make().plot(), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_without_a_target_the_panels_are_of_the_loss():
    """There are no steps to it then."""
    assert titles(drawn(samples.typical())) == [
        "Training loss, mean of the last 20 batches",
        "Steps to the target, a dot for each seed",
        "Steps at each rate, on other seeds",
    ]
    assert titles(drawn(samples.untargeted()))[1:] == [
        "Last loss, a dot for each seed",
        "Last loss at each rate, on other seeds",
    ]


def test_a_start_has_one_colour_everywhere():
    """The reference is grey, wherever it stands; the second round of colours is dashed."""
    one = samples.many()
    colours = colours_of(one)
    assert colours["torch"].value == _plot.COLOURS[-1]
    assert len({(colour.value, colour.again) for colour in colours.values()}) == 9
    losses, seeds, rates = drawn(one).axes
    labels = {text.get_text(): to_hex(text.get_color()) for text in losses.texts}
    names = {text.get_text(): to_hex(text.get_color()) for text in seeds.get_yticklabels()}
    for name in ("torch", "kaiming", "steady"):
        assert labels[name] == names[name] == colours[name].value.lower()
        assert lines_of(losses, colours[name].value)
        assert lines_of(rates, colours[name].value)


def test_the_line_is_the_median_and_the_band_holds_all_seeds():
    """Nothing else is read off the picture."""
    one = samples.typical()
    course = course_of(one.of("steady"), 200)
    assert (course.steps[0], course.steps[-1]) == (1, 200)
    ends = sorted(each.losses[-1] for each in one.of("steady"))
    assert course.low[-1] == ends[0]
    assert course.high[-1] == ends[-1]
    assert course.middle[-1] == pytest.approx((ends[3] + ends[4]) / 2)


def test_a_line_ends_where_most_seeds_have_diverged():
    """And a cross stands at the top for each seed that did, inside the picture."""
    figure = drawn(samples.untargeted())
    losses = figure.axes[0]
    (line,) = lines_of(losses, _plot.COLOURS[-1])
    assert isnan(line.get_ydata()[-1])
    crosses = [one for one in losses.lines if one.get_marker() == "x"]
    assert sorted(float(one.get_xdata()[0]) for one in crosses) == list(range(25, 33))
    assert {float(one.get_ydata()[0]) for one in crosses} == {losses.get_ylim()[1]}


def test_losses_far_apart_are_on_an_axis_of_powers():
    """Also with a target; losses below 0 cannot be."""
    assert drawn(samples.typical()).axes[0].get_yscale() == "log"
    assert drawn(samples.regression()).axes[0].get_yscale() == "linear"


def test_a_loss_that_explodes_does_not_push_the_others_down():
    """At most ten times what the reference begins with is shown."""
    one = samples.untargeted()
    courses = [course_of(one.of(start.name), 200) for start in one]
    assert reach_of(one, courses).high < 30


def test_each_seed_is_a_dot_and_never_is_a_hollow_one():
    """24 dots; torch never arrives, and wild on half of its seeds."""
    seeds = drawn(samples.deep()).axes[1]
    dots = [line for line in seeds.lines if line.get_marker() == "o"]
    assert len(dots) == 24
    hollow = [line for line in dots if line.get_markerfacecolor() == "none"]
    assert len(hollow) == 12
    assert {round(float(line.get_xdata()[0])) for line in hollow} == {218}
    assert "never" in [text.get_text() for text in seeds.texts]


def test_the_chosen_rate_is_ringed():
    """One ring for each start, at its rate."""
    one = samples.typical()
    rings = [line for line in drawn(one).axes[2].lines if line.get_markersize() == 10]
    assert [float(line.get_xdata()[0]) for line in rings] == [0.01] * 3
    assert [rate.rate for rate in rates_of(one, "steady")] == [0.003, 0.01, 0.03]


def test_a_given_figure_is_drawn_on():
    """So that it can be part of a larger picture."""
    figure = Figure(figsize=(9, 7))
    assert drawn(samples.typical(), figure=figure) is figure


def test_names_are_not_read_as_formulas():
    """A dollar sign in a name is a dollar sign."""
    runs = {"$x_{": samples.paced("$x_{", 60), "y$": samples.paced("y$", 50)}
    assert drawn(samples.comparison(runs, model="$\\frac{")).axes


def test_without_matplotlib_the_way_out_is_told(monkeypatch):
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(_plot, "is_available", lambda: False)
    with pytest.raises(FaninError, match=r"fanin\[plot\]"):
        samples.typical().plot()
