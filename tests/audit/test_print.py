"""A report in a terminal: word for word, in 80 columns, on one screen.

The texts are in ``tests/golden/audit``. To change them on purpose: run this file
(``python -m tests.audit.test_print``), read the difference, and commit it with its reason.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.audit import samples

from fanin import FaninError
from fanin._audit._folded import folded_name, rows_of, spine_of
from fanin._audit._print import findings_text
from fanin._audit._records import Finding, Place, Signal, Spectrum
from fanin._audit._report import Report
from fanin._audit._resolved import resolved, rounding_unit
from fanin._text import plain

GOLDEN = Path(__file__).parents[1] / "golden" / "audit"


@pytest.mark.parametrize("sample", samples.ALL, ids=lambda one: one.__name__)
def test_the_text_is_as_written(sample):
    """What a user reads changes only on purpose."""
    golden = GOLDEN / f"{sample.__name__}.txt"
    assert f"{sample()}\n" == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("sample", samples.ALL, ids=lambda one: one.__name__)
def test_it_fits_eighty_columns(sample):
    """A remedy is code and stays as it is; here all of it is short."""
    assert max(map(len, str(sample()).splitlines())) <= 80


@pytest.mark.parametrize("sample", samples.ALL, ids=lambda one: one.__name__)
def test_an_ascii_terminal_shows_it_too(sample):
    """With likenesses: nothing is left that must be replaced by a question mark."""
    shown = plain(str(sample()), "ascii")
    assert "?" not in shown
    assert shown.isascii()


def chain(count, name="blocks.{}.fc", **facts):
    """Layers one behind the other, each halving what comes in."""
    return tuple(
        Place(
            index=index,
            name=name.format(index),
            operation="linear",
            kind="linear",
            module="Linear",
            shape=(8, 16),
            depth=index + 1,
            signal=Signal(second_moment=0.25**index, size=16, variance=0.25**index, gradient=1.0),
            weight=f"{name.format(index)}.weight",
            **facts,
        )
        for index in range(count)
    )


def report(**facts):
    return Report(model="Net", batch="float32 8x16", mode="training", **facts)


@pytest.mark.parametrize("count", [32, 3000])
def test_a_deep_net_fits_one_screen(count):
    """Layers that differ only in numbers are one row, from the least to the most."""
    text = str(report(places=chain(count)))
    assert len(text.splitlines()) < 24
    assert f"blocks.{{0…{count - 1}}}.fc" in text


def test_a_short_net_shows_every_layer():
    """There is room, and a fold hides which layer it is."""
    text = str(report(places=chain(12)))
    assert all(f"blocks.{index}.fc " in text for index in range(12))


def test_digits_of_a_name_are_no_numbers_of_blocks():
    """conv1 and conv2 of a block are two layers; "add 2" is the second sum."""
    names = ["layer1.0.conv1", "layer1.1.conv1", "layer1.0.conv2", "layer1.1.conv2"]
    places = [replace(chain(1)[0], name=name) for name in names]
    assert [row.name for row in rows_of(places, 2)] == ["layer1.{0…1}.conv1", "layer1.{0…1}.conv2"]
    assert folded_name(["h.3 add 2", "h.11 add 2"]) == "h.{3…11} add 2"


def test_layers_of_another_shape_are_a_row_of_their_own():
    """Their numbers do not compare."""
    first, second, third = chain(3)
    rows = rows_of([first, replace(second, shape=(8, 99)), third], 2)
    assert [len(row.places) for row in rows] == [2, 1]


def test_in_a_residual_net_the_course_is_that_of_the_stream():
    """Its branches start small on purpose."""
    sums = [place for place in samples.transformer().places if place.stream is not None]
    assert spine_of(samples.transformer().places) == sums
    assert spine_of(samples.healthy().places) == list(samples.healthy().layers)


def rank_deficient(**facts):
    """A spectrum of which three values of eight are rounding."""
    values = (3.0, 1.0, 0.5, 0.1, 1e-5, 2e-8, 2e-64, 0.0)
    found = Spectrum(first="0", last="8", exact=True, values=values, mean_square=1.3)
    return report(places=chain(3), spectrum=found, **facts)


def test_values_under_rounding_are_counted_and_not_shown():
    """2e-64 is a number of the machine and none of the model."""
    text = str(rank_deficient())
    assert "3 of 8 are zero to rounding: under 1e-7 of the largest" in text
    assert "e-64" not in text
    assert "1e-5" in text


@pytest.mark.parametrize(("dtype", "shown"), [("float64", 6), ("bfloat16", 4), ("float32", 5)])
def test_rounding_is_that_of_the_models_dtype(dtype, shown):
    """The coarsest of them, since it is on the way."""
    (state,) = samples.healthy().parameters[:1]
    states = (replace(state, dtype=dtype), replace(state, dtype="int64"))
    values, zero = resolved(rank_deficient(parameters=states))
    assert (len(values), zero) == (shown, 8 - shown)


def test_a_parameter_of_nan_is_not_called_zero():
    """Its second moment is that of its finite entries, of which it has none."""
    (state,) = samples.healthy().parameters[:1]
    broken = replace(state, update=None, gradient=1.0, second_moment=0.0, finite=0.0)
    assert str(report(parameters=(broken,))).endswith("parameters: 1 not finite")
    zero = replace(broken, finite=1.0)
    assert str(report(parameters=(zero,))).endswith("parameters: 1 all zero")


def test_errors_come_before_warnings_and_notes():
    """Whatever the order in which they were found."""
    found = [
        Finding(
            code=severity,
            severity=severity,
            where="fc",
            measured="1",
            expected="2",
            reason="So.",
            remedy="",
        )
        for severity in ("note", "error", "warning")
    ]
    words = [line.split()[0] for line in findings_text(found).split("\n\n")]
    assert words == ["ERROR", "WARNING", "NOTE"]


def test_a_remedy_can_be_pasted():
    """Its lines are as they were given, at one indent, and run together as Python."""
    lines = str(samples.vanishing()).splitlines()
    start = lines.index("  remedy:") + 1
    end = lines.index("ERROR vanishing-gradient at 56")
    code = "\n".join(line.removeprefix("    ") for line in lines[start:end]).strip()
    assert code == samples.vanishing().findings[0].remedy
    compile(code, "remedy", "exec")


def test_a_report_without_anything_measured_is_a_line():
    """A model that has no weights."""
    assert str(report()) == "healthy\nNet, with its own weights, on float32 8x16, training mode"


def test_the_name_of_a_value_is_one_line():
    """As a prompt shows it."""
    assert repr(samples.vanishing()) == "<report of Sequential: not healthy: 2 errors, 1 warning>"


def test_an_unhealthy_report_raises_its_findings():
    """And a healthy one nothing; a note is no reason."""
    assert samples.healthy().raise_if_unhealthy() is None
    with pytest.raises(FaninError, match="not healthy") as error:
        samples.vanishing().raise_if_unhealthy()
    assert "3 findings" in error.value.found
    assert findings_text(samples.vanishing().findings) in error.value.found


@pytest.mark.parametrize(
    ("severity", "codes"),
    [
        ("error", ["initial-loss"]),
        ("warning", ["initial-loss", "one-hot-attention"]),
        ("note", ["initial-loss", "one-hot-attention", "frozen-parameter"]),
    ],
)
def test_a_severity_counts_what_is_as_bad_or_worse(severity, codes):
    """The threshold of CI is the user's choice."""
    assert [one.code for one in samples.transformer().at_least(severity)] == codes


def test_an_unknown_severity_is_refused():
    """A word misspelled must not pass every model."""
    with pytest.raises(FaninError, match="no such severity"):
        samples.healthy().raise_if_unhealthy("fatal")


if __name__ == "__main__":
    for made in samples.ALL:
        (GOLDEN / f"{made.__name__}.txt").write_text(f"{made()}\n", encoding="utf-8")


@pytest.mark.parametrize("page", ["explanation/jacobian.md", "reference/audit.md"])
def test_the_pages_say_where_rounding_begins_as_the_report_does(page):
    """One number, in three places that a reader may look at."""
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    for dtype, written in (("float32", "1e-7"), ("float64", "1e-16"), ("bfloat16", "0.008")):
        (state,) = samples.healthy().parameters[:1]
        unit = rounding_unit(rank_deficient(parameters=(replace(state, dtype=dtype),)))
        assert unit == pytest.approx(float(written), rel=0.5)
        assert f"{written} of the largest" in text or f"{written} in {dtype}" in text
