"""Time: what is cut so that a comparison keeps to it, and what is said of that."""

import time

import pytest
from tests.compare.small import compared

from fanin._compare._budget import Clock, member_steps, within
from fanin._compare._records import Settings

SETTINGS = Settings(rates=(0.01, 0.1), tuning_seeds=(7, 8, 9), scoring_seeds=tuple(range(8)))


@pytest.mark.parametrize(
    ("left", "kept", "said"),
    [
        (100, (8, 3, 500), ""),
        (15, (6, 3, 500), "to keep to 60 s: 6 scoring seeds"),
        (11, (4, 2, 500), "to keep to 60 s: 4 scoring seeds, 2 tuning seeds"),
        (3, (4, 1, 204), "to keep to 60 s: 4 scoring seeds, 1 tuning seed, 204 steps"),
        (0, (4, 1, 100), "to keep to 60 s: 4 scoring seeds, 1 tuning seed, 100 steps"),
    ],
)
def test_scoring_seeds_are_cut_first_then_tuning_seeds_then_steps(left, kept, said):
    """Four scoring seeds, one for tuning and 100 steps remain: of less nothing can be said."""
    cut, words = within(SETTINGS, 2, 0.001, left, 60)
    assert (len(cut.scoring_seeds), len(cut.tuning_seeds), cut.steps) == kept
    assert words == said
    assert left in (0,) or member_steps(cut, 2) * 0.001 <= left


def test_a_clock_without_a_budget_allows_everything():
    """None is no budget."""
    assert Clock().allows(1e9)
    assert Clock(10.0).allows(1)
    assert not Clock(10.0).allows(11)
    assert not Clock(10.0, began=time.monotonic() - 6).allows(0, share=0.5)


def test_a_budget_that_is_too_small_leaves_the_least_and_says_so():
    """The steps are those of the comparison, so that what is plotted and said is of them."""
    found = compared(budget=0.01, steps=400, scoring_seeds=6, tuning_seeds=3)
    assert found.settings.steps == 100
    assert len(found.settings.scoring_seeds) == 4
    assert len(found.settings.tuning_seeds) == 1
    assert found.notes[0] == "to keep to 0.01 s: 4 scoring seeds, 1 tuning seed, 100 steps"
    assert any("not widened further" in note for note in found.notes[1:])
    assert len(found.outcomes) == 8


def test_scoring_ends_after_a_seed_when_the_time_is_up(monkeypatch):
    """The speed that was measured at first may not last."""
    monkeypatch.setattr("fanin._compare._contest.within", lambda settings, *_: (settings, ""))
    monkeypatch.setattr(Clock, "allows", lambda self, seconds, share=1.0: share < 1)
    found = compared(budget=50, scoring_seeds=7)
    assert found.settings.scoring_seeds == (0, 1, 2, 3)
    assert {one.member.seed for one in found.outcomes} == {0, 1, 2, 3}
    assert "to keep to 50 s: 4 of 7 scoring seeds" in found.notes


def test_without_a_budget_nothing_is_cut():
    """And nothing is said."""
    found = compared()
    assert found.notes == ()
    assert len(found.settings.scoring_seeds) == 3
