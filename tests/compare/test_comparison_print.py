"""A comparison as text: what is in it, how wide it is, and what it does not claim."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from tests.compare import samples
from tests.compare.test_comparison_json import POSSIBLE, comparisons

from fanin import FaninError


@pytest.mark.parametrize("make", samples.ALL, ids=lambda one: one.__name__)
def test_text_fits_a_terminal_and_names_every_start(make):
    """80 columns, whatever the names are."""
    one = make()
    lines = str(one).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    for start in one:
        assert any(line.startswith(start.name[:12]) for line in lines)


@given(comparisons(**POSSIBLE))
@settings(max_examples=60)
def test_any_comparison_has_a_text_and_a_page(one):
    """Also one without seeds, or of losses of any size."""
    assert str(one)
    assert one.model in repr(one)
    assert one._repr_html_().startswith("<div")


def test_the_table_shows_what_the_seeds_did():
    """Median and range of the steps, how many arrived, what the loss and accuracy were."""
    one = samples.typical()
    steps = sorted(each.steps for each in one.of("steady"))
    row = next(line for line in str(one).splitlines() if line.startswith("steady"))
    middle = (steps[3] + steps[4]) / 2
    assert f"{middle:.0f} ({steps[0]}–{steps[-1]})" in row
    assert "8 of 8" in row
    assert "92." in row
    lengths = {line.split()[0]: line.count("█") for line in str(one).splitlines() if "█" in line}
    assert lengths["torch"] == 8
    assert lengths["steady"] < lengths["kaiming"] < lengths["torch"]


def test_what_never_arrives_is_no_number():
    """0 of 8 has no median; half of 8 have one above the budget."""
    text = str(samples.deep())
    torch, wild = (
        next(line for line in text.splitlines() if line.startswith(name))
        for name in ("torch", "wild")
    )
    assert "0 of 8" in torch
    assert "–  ████████" in torch
    assert "0.01*" in torch
    assert ">200 (" in wild
    assert "Diverged: 4 of wild" in text
    assert "beyond it there may be a better one" in " ".join(text.split())


def test_every_other_start_has_a_verdict_against_the_reference():
    """Whichever start the reference is."""
    one = samples.typical()
    assert [each.start for each in one.verdicts] == ["kaiming", "steady"]
    other = replace(one, reference="steady")
    assert [(each.start, each.against) for each in other.verdicts] == [
        ("torch", "steady"),
        ("kaiming", "steady"),
    ]
    assert {each.call for each in one.verdicts} == {"ahead"}
    assert {each.call for each in other.verdicts} == {"behind"}
    assert "Against steady, seed by seed:" in str(other)


def test_best_are_those_that_none_is_ahead_of():
    """One that may be as good as the fastest is among them."""
    assert samples.typical().best == ("steady",)
    assert samples.alike().best == ("torch", "twin", "blurred")
    assert samples.untargeted().best == ("steady",)
    assert samples.single().best == ("torch",)
    assert samples.few().best == ("torch", "steady")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (samples.typical, "steady: 2."),
        (samples.typical, "Beaten by no other (95 % for all pairs together): steady."),
        (samples.deep, "arrives on 8 of 8 seeds, torch on 0 (p = 0.00016); at least 2."),
        (samples.alike, "twin: a tie in steps (0.9"),
        (samples.alike, "blurred: no difference in steps beyond seed noise ("),
        (samples.alike, "No start is beaten by any other"),
        (samples.untargeted, "target: none: wild diverges at every rate"),
        (samples.untargeted, "diverges on 0 of 8 seeds, wild on 8"),
        (samples.few, "too few seeds to compare steps by"),
        (samples.regression, "held out"),
    ],
)
def test_verdicts_are_said_in_words(make, said):
    """Broken over lines, they are still sentences."""
    assert said in " ".join(str(make()).split())


def test_how_many_intervals_miss_is_said():
    """Six intervals at 95 % miss 0.3 truths."""
    assert "of these 6 about 0.30." in " ".join(str(samples.typical()).split())


def test_an_unknown_start_is_answered_with_the_nearest():
    """As everywhere."""
    with pytest.raises(FaninError, match="steady"):
        samples.typical().verdict("stedy")
    with pytest.raises(FaninError, match="kaiming"):
        samples.typical().verdict("steady", "kaimng")


def test_arriving_as_soon_as_steps_count_is_said():
    """A mean of 20 batches is there at step 20; who is there then may have been there before."""
    runs = {"torch": samples.paced("torch", 60), "fast": samples.paced("fast", 8)}
    text = " ".join(str(samples.comparison(runs)).split())
    assert "At the target by step 20, the first that counts, and perhaps before it: fast." in text
    assert "At the target by" not in str(samples.typical())
