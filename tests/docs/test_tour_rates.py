"""The tour compares fairly: learning rates, seeds, intervals."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.docs.small_tour import small_settings

from fanin._tour.curves import steps_to
from fanin._tour.nets import find_starts, simple_net
from fanin._tour.numbers import T_975, paired_interval
from fanin._tour.rates import choose_rates
from fanin._tour.scores import score
from fanin._tour.settings import fast_settings, full_settings, rate
from fanin._tour.training import Trained


class Watched:
    """A `Run` whose losses are a made-up function of the rate; it notes what it is asked."""

    def __init__(self, best_half_decade):
        self.best, self.asked = rate(best_half_decade), []

    def __call__(self, trainings, *, later=0):  # noqa: ARG002 - a `Run` has it
        self.asked += trainings
        return [
            Trained(
                [self.losses(member.rate, training.steps) for member in training.members],
                [[0.5]] * len(training.members),
            )
            for training in trainings
        ]

    def losses(self, member_rate, steps):
        slowness = max(member_rate / self.best, self.best / member_rate)
        return [2.0 if step < 5 * slowness else 0.0 for step in range(steps)]

    @property
    def seeds(self):
        return {training.seed for training in self.asked}


class TestRates:
    @given(seed=st.integers(0, 2**32 - 1), make=st.sampled_from([fast_settings, full_settings]))
    def test_tuning_and_scoring_seeds_have_none_in_common(self, seed, make):
        """Else the rate would be chosen on the runs it is judged by."""
        settings = make(find_starts(["torch_default"]), seed)
        assert not set(settings.tuning_seeds) & set(settings.scoring_seeds)
        assert len(settings.scoring_seeds) >= 3

    def test_choosing_sees_tuning_seeds_alone_and_scoring_the_others(self):
        """Watched from the side of whoever does the trainings."""
        settings, tuning, scoring = small_settings(), Watched(-3), Watched(-3)
        choices = choose_rates(settings, tuning)
        assert tuning.seeds == set(settings.tuning_seeds)
        score(settings, choices, scoring)
        assert scoring.seeds == set(settings.scoring_seeds)
        assert {member.rate for training in scoring.asked for member in training.members} == {0.03}

    def test_every_start_gets_the_same_grid(self):
        """A start that is offered more rates has more chances."""
        watched = Watched(-3)
        choose_rates(small_settings(widenings=0), watched)
        grids = {}
        for training in watched.asked:
            for member in training.members:
                grids.setdefault(member.start.name, []).append(member.rate)
        assert len({tuple(sorted(grid)) for grid in grids.values()}) == 1

    @pytest.mark.parametrize("best", [-5, -4, -3, -2, -1, 0])
    def test_the_grid_is_widened_until_the_best_lies_inside(self, best):
        """Within as many widenings as are allowed; else the choice says it is on the edge."""
        settings = small_settings(grid=(-3, -2), widenings=2)
        choices = choose_rates(settings, Watched(best))
        # Two widenings reach -5 and 0, but show that the best lies inside only for -4 and -1.
        assert {choice.rate for choice in choices} == {rate(best)}
        assert {choice.on_edge for choice in choices} == {best in (-5, 0)}

    def test_a_rate_that_reaches_on_more_seeds_wins_over_a_lower_final_loss(self):
        """Steps to the target come first; the final loss only parts ties."""
        settings = small_settings(networks=(simple_net(),), grid=(-3, -2), widenings=0)

        def run(trainings, *, later=0):
            by_rate = {0.03: [1.0] * 60, 0.1: [3.0] * 20 + [1.19] * 40}
            return [Trained([by_rate[m.rate] for m in t.members], []) for t in trainings]

        assert {choice.rate for choice in choose_rates(settings, run)} == {0.03}


class TestStatistics:
    def test_the_quantiles_are_students(self):
        """Against SciPy, for every number of seeds that the table serves."""
        expected = stats.t.ppf(0.975, range(1, len(T_975) + 1))
        assert list(T_975) == pytest.approx(expected, rel=1e-9)

    def test_the_interval_covers_the_truth_as_often_as_it_says(self):
        """2,000 experiments of 5 seeds: 95 % within 4.9 standard errors of a share."""
        draws = torch.randn(2000, 5, generator=torch.Generator().manual_seed(0)) + 1.0
        intervals = [paired_interval(row) for row in draws.tolist()]
        covered = sum(interval.low <= 1.0 <= interval.high for interval in intervals) / 2000
        assert abs(covered - 0.95) < 4.9 * (0.95 * 0.05 / 2000) ** 0.5

    def test_a_loss_that_becomes_nan_reaches_no_target(self):
        """NaN compares false; a sum that has met it stays NaN."""
        assert steps_to([0.1, float("nan"), 0.1, 0.1], target=1.0, window=2) is None
