"""The rate of each start: one rule, a grid that is widened, seeds for nothing else."""

from math import inf

import pytest

from fanin._compare._records import Outcome, Settings
from fanin._compare._search import best_rate, is_on_edge, next_rate, search

SETTINGS = Settings(steps=100, rates=(0.01, 0.03, 0.1), tuning_seeds=(7, 8), target=1.0)


def trained(rule):
    """Outcomes as ``rule`` of a member says: its steps, or None, and its loss."""
    asked = []

    def outcomes(members):
        asked.extend(members)
        found = []
        for member in members:
            steps, loss = rule(member)
            found.append(Outcome(member=member, steps=steps, loss=loss))
        return found

    return outcomes, asked


def best_at(rate, steps=20):
    """More steps the further from ``rate``."""
    return lambda member: (round(steps * max(member.rate / rate, rate / member.rate)), 0.5)


def tried(trials):
    return [trial.rate for trial in trials]


@pytest.mark.parametrize(
    ("best", "rates"),
    [
        (0.03, [0.01, 0.03, 0.1]),
        (0.1, [0.01, 0.03, 0.1, 0.3]),
        (0.3, [0.01, 0.03, 0.1, 0.3, 1]),
        (100, [0.01, 0.03, 0.1, 0.3, 1, 3]),
        (0.003, [0.001, 0.003, 0.01, 0.03, 0.1]),
        (1e-6, [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1]),
    ],
)
def test_a_grid_is_widened_while_the_best_rate_is_on_its_edge(best, rates):
    """By half decades, three on a side at most; else a start is compared at a rate that is not its
    own."""
    outcomes, _ = trained(best_at(best))
    found = search({"a": SETTINGS.rates}, SETTINGS, outcomes)["a"]
    assert tried(found) == rates
    assert best_rate(found, SETTINGS) == min(rates, key=lambda r: max(r / best, best / r))
    assert is_on_edge(found, SETTINGS) == (best in (100, 1e-6))


def test_each_start_has_a_grid_of_its_own():
    """What widens for one start costs the others nothing."""
    outcomes, asked = trained(lambda m: best_at(0.03 if m.start == "a" else 0.3)(m))
    found = search(dict.fromkeys("ab", SETTINGS.rates), SETTINGS, outcomes)
    assert tried(found["a"]) == [0.01, 0.03, 0.1]
    assert tried(found["b"]) == [0.01, 0.03, 0.1, 0.3, 1]
    assert {member.seed for member in asked} == {7, 8}


def test_one_rate_is_taken_as_it_is():
    """Who asks for one rate has chosen it."""
    settings = Settings(steps=100, rates=(0.1,), tuning_seeds=(7,), target=1.0)
    outcomes, _ = trained(best_at(3))
    found = search({"a": settings.rates}, settings, outcomes)["a"]
    assert tried(found) == [0.1]
    assert is_on_edge(found, settings)


def test_a_grid_is_not_widened_where_there_is_no_time():
    """And it says so: the rate is on the edge."""
    outcomes, _ = trained(best_at(100))
    found = search({"a": SETTINGS.rates}, SETTINGS, outcomes, may_widen=lambda: False)["a"]
    assert tried(found) == list(SETTINGS.rates)
    assert is_on_edge(found, SETTINGS)


@pytest.mark.parametrize(
    ("of", "best"),
    [
        # Every seed counts before steps do.
        ({0.01: [(90, 1), (90, 1)], 0.03: [(10, 1), (None, 1)], 0.1: [(None, 1)] * 2}, 0.01),
        # Then steps before the loss.
        ({0.01: [(50, 0.1)] * 2, 0.03: [(40, 0.9)] * 2, 0.1: [(41, 0.1)] * 2}, 0.03),
        # Then the loss, where none arrives.
        ({0.01: [(None, 3)] * 2, 0.03: [(None, 2)] * 2, 0.1: [(None, inf)] * 2}, 0.03),
        # And of equals the smallest rate, the farthest from divergence.
        ({0.01: [(40, 1)] * 2, 0.03: [(40, 1)] * 2, 0.1: [(40, 1)] * 2}, 0.01),
        ({0.01: [(None, inf)] * 2, 0.03: [(None, inf)] * 2, 0.1: [(None, inf)] * 2}, 0.01),
    ],
)
def test_the_best_rate_has_fewest_failures_then_steps_then_loss(of, best):
    """One rule for every start, ties included."""
    outcomes, _ = trained(lambda m: of[m.rate][m.seed - 7])
    found = search({"a": SETTINGS.rates}, SETTINGS, outcomes, may_widen=lambda: False)["a"]
    assert best_rate(found, SETTINGS) == best
    assert best_rate(found[::-1], SETTINGS) == best


def test_half_decades_go_on_from_any_rate():
    """Rates that a user gives need not be of the grid."""
    assert [next_rate(x, up=True) for x in (0.01, 0.02, 0.03, 0.05)] == [0.03, 0.03, 0.1, 0.1]
    assert [next_rate(x, up=False) for x in (0.1, 0.05, 0.03, 0.02)] == [0.03, 0.03, 0.01, 0.01]
