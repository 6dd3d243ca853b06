"""A saved comparison is data: it comes back as it was, and everything is made from it again."""

import json
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compare import samples

from fanin import FaninError
from fanin._compare._comparison import Comparison, Contestant
from fanin._compare._json import SCHEMA
from fanin._compare._records import Member, Outcome, Settings, Trial

NUMBERS = st.floats(allow_nan=False)
POSSIBLE = {"losses": st.floats(1e-9, 1e9) | st.just(inf), "rates": st.floats(1e-9, 1e3)}
"""What trainings may give."""
MAYBE = st.none() | st.floats(0, 1)
TEXTS = st.text(max_size=6)


@st.composite
def comparisons(draw, losses=NUMBERS, rates=NUMBERS):
    """Any names, numbers and seeds, with a training for each start and seed."""
    names = draw(st.lists(TEXTS, min_size=1, max_size=3, unique=True))
    seeds = draw(st.lists(st.integers(0, 2**40), max_size=3, unique=True))
    steps = st.none() | st.integers(1, 10**6)
    shared = Settings(
        optimizer=draw(st.sampled_from(["sgd", "momentum", "adam"])),
        target=draw(st.none() | rates),
        rates=tuple(draw(st.lists(rates, max_size=2))),
        scoring_seeds=tuple(seeds),
        tuning_seeds=draw(st.sampled_from([(), (1,), (1000, 1001, 1002)])),
    )
    outcomes = [
        Outcome(
            member=Member(name, draw(rates), seed),
            steps=draw(steps),
            loss=draw(losses),
            losses=tuple(draw(st.lists(losses, max_size=3))),
            test_loss=draw(MAYBE),
            accuracy=draw(MAYBE),
        )
        for seed in seeds
        for name in names
    ]
    return Comparison(
        model=draw(TEXTS),
        reference=draw(st.sampled_from(names)),
        starts=tuple(
            Contestant(
                name=name,
                formula=draw(TEXTS),
                rate=draw(rates),
                on_edge=draw(st.booleans()),
            )
            for name in names
        ),
        settings=shared,
        trials=(Trial(start=names[0], rate=0.1, steps=(draw(steps), None), loss=(0.1, inf)),),
        outcomes=tuple(outcomes),
        notes=tuple(draw(st.lists(TEXTS, max_size=2))),
        seconds=draw(rates),
        versions=(("fanin", "0"),),
    )


@given(comparisons())
@settings(max_examples=60)
def test_a_comparison_comes_back_as_it_was(one):
    """Every field, whatever it holds: also runs that never arrive and losses without bound."""
    assert Comparison.from_json(one.to_json()) == one
    assert Comparison.from_json(one.to_json(indent=1)) == one


@pytest.mark.parametrize("make", samples.ALL, ids=lambda one: one.__name__)
def test_everything_is_made_again_from_the_file(make, tmp_path):
    """Table, verdicts and page: nothing in them comes from anywhere else."""
    one = make()
    one.save(tmp_path / "one.json")
    loaded = Comparison.load(str(tmp_path / "one.json"))
    assert loaded == one
    assert str(loaded) == str(one)
    assert loaded.verdicts == one.verdicts
    for name, saved in (("a.html", one), ("b.html", loaded)):
        saved.to_html(tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_the_text_is_json_that_any_reader_takes():
    """Python's Infinity is no JSON; a run that diverged has the text "inf"."""

    def refuse(constant):
        raise AssertionError(constant)

    data = json.loads(samples.deep().to_json(), parse_constant=refuse)
    assert (data["format"], data["schema"]) == ("fanin comparison", SCHEMA)
    diverged = [one for one in data["outcomes"] if one["loss"] == "inf"]
    assert len(diverged) == 4
    assert all("steps" not in one for one in diverged)


def test_versions_can_be_compared_line_by_line():
    """A start, a trial and a training has a line of its own."""
    one = samples.typical()
    records = len(one.starts) + len(one.trials) + len(one.outcomes)
    assert len(one.to_json().splitlines()) > records
    other = replace(one, outcomes=(replace(one.outcomes[0], accuracy=0.5), *one.outcomes[1:]))
    pairs = zip(one.to_json().splitlines(), other.to_json().splitlines(), strict=True)
    assert sum(left != right for left, right in pairs) == 1


def changed(**changes):
    return json.dumps({**json.loads(samples.typical().to_json()), **changes})


def of_parts(name, change):
    """The text with its first record of this name changed."""
    first, *rest = json.loads(samples.typical().to_json())[name]
    return changed(**{name: [{**first, **change}, *rest]})


def doubled():
    one = samples.typical()
    return replace(one, outcomes=(*one.outcomes[1:], one.outcomes[-1])).to_json()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "Expecting value"),
        ("{}", "{}"),
        (changed(format="fanin audit"), "fanin audit"),
        (changed(verdict="faster"), "verdict"),
        (changed(reference="nobody"), "nobody"),
        (changed(outcomes=[]), "kaiming"),
        (changed(seconds="long"), "long"),
        (of_parts("starts", {"code": "import os"}), "code"),
        (of_parts("starts", {"name": "kaiming"}), "two starts of one name"),
        (of_parts("trials", {"start": "nobody"}), "nobody"),
        (of_parts("trials", {"steps": [1.5]}), "1.5"),
        (of_parts("outcomes", {"steps": True}), "True"),
        (of_parts("outcomes", {"member": {"start": "torch", "rate": 0.1, "seed": 99}}), "torch"),
        (doubled(), "torch"),
        (changed(settings={"optimizer": "lion"}), "lion"),
    ],
)
def test_any_other_text_is_refused(text, found):
    """With what is wrong in it, and never by another exception."""
    with pytest.raises(FaninError, match="not the text of a comparison") as error:
        Comparison.from_json(text)
    assert found in error.value.found


def test_another_schema_is_told_as_such():
    """The way out is the other version of fanin, or to train again."""
    with pytest.raises(FaninError, match="or compare again"):
        Comparison.from_json(changed(schema=SCHEMA + 1))
