"""A learning rate for each start, chosen by the same rule, on seeds that are used for nothing else.

A start that trains badly at one rate may train well at another, so a comparison at a single rate
would compare luck.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from math import inf
from statistics import fmean
from typing import Final, Protocol, final

from fanin._tour.curves import running_mean, steps_to
from fanin._tour.nets import Network, Start
from fanin._tour.numbers import short_or_none
from fanin._tour.settings import Settings, rate
from fanin._tour.training import Member, Trained, Training

__all__ = ["Choice", "Run", "Trial", "choose_rates"]

MOST_MEMBERS: Final = 8


class Run(Protocol):
    """Does trainings, in any order and place; ``later`` is work that will follow these."""

    def __call__(self, trainings: Sequence[Training], *, later: int = 0) -> list[Trained]:
        """The results, in the order of ``trainings``."""


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """One rate on the tuning seeds: steps to the target (None: not reached) and final loss."""

    rate: float
    steps: list[int | None]
    loss: list[float | None]


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """The rate chosen, every trial made, and whether the best one is the last that was tried."""

    network: Network
    start: Start
    rate: float
    on_edge: bool
    trials: list[Trial]


Case = tuple[Network, Start]
Asked = list[tuple[Case, int]]


def choose_rates(settings: Settings, run: Run, *, later: int = 0) -> list[Choice]:
    """For each network and start, the rate with the fewest mean steps to the target.

    A seed that does not reach it counts as one step more than there were; ties, such as between
    rates that never reach, go to the smaller final loss.
    """
    cases = list(product(settings.networks, settings.starts))
    tried: dict[Case, dict[int, Trial]] = {case: {} for case in cases}
    asked = [(case, half_decade) for case in cases for half_decade in settings.grid]
    for widening in range(settings.widenings + 1):
        for (case, half_decade), trial in _try(asked, settings, run, later):
            tried[case][half_decade] = trial
        asked = [(case, beyond) for case in cases for beyond in _beyond(tried[case], settings)]
        if not asked or widening == settings.widenings:
            break
    return [_chosen(case, tried[case], settings) for case in cases]


def _try(
    asked: Asked, settings: Settings, run: Run, later: int
) -> Iterable[tuple[tuple[Case, int], Trial]]:
    """A trial of each case and rate; those of one network and seed share stacks."""
    stacks = [stack for _, group in groupby(asked, key=_network) for stack in _cut(list(group))]
    trainings = [
        Training(
            _network(stack[0]),
            tuple(Member(start, rate(half_decade)) for (_, start), half_decade in stack),
            seed,
            settings.steps,
            settings.batch,
        )
        for stack in stacks
        for seed in settings.tuning_seeds
    ]
    trained = iter(run(trainings, later=later))
    for stack in stacks:
        by_seed = [next(trained).losses for _ in settings.tuning_seeds]
        for one, losses in zip(stack, zip(*by_seed, strict=True), strict=True):
            yield one, _trial(one[1], losses, settings)


def _network(asked: tuple[Case, int]) -> Network:
    return asked[0][0]


def _cut(group: Asked) -> list[Asked]:
    """Stacks small enough to be spread evenly over the workers."""
    return [group[first : first + MOST_MEMBERS] for first in range(0, len(group), MOST_MEMBERS)]


def _trial(half_decade: int, losses: Sequence[Sequence[float]], settings: Settings) -> Trial:
    steps = [steps_to(row, settings.target, settings.window) for row in losses]
    final = [short_or_none(running_mean(row, settings.window)[-1]) for row in losses]
    return Trial(rate(half_decade), steps, final)


def _beyond(trials: dict[int, Trial], settings: Settings) -> list[int]:
    """The half-decades to try next: one beyond the end at which the best one lies."""
    best = _best(trials, settings)
    return [best + step for step, end in ((-1, min(trials)), (1, max(trials))) if best == end]


def _best(trials: dict[int, Trial], settings: Settings) -> int:
    return min(trials, key=lambda half_decade: _badness(trials[half_decade], settings))


def _badness(trial: Trial, settings: Settings) -> tuple[float, float]:
    steps = fmean(settings.steps + 1 if steps is None else steps for steps in trial.steps)
    return steps, fmean(inf if loss is None else loss for loss in trial.loss)


def _chosen(case: Case, trials: dict[int, Trial], settings: Settings) -> Choice:
    best = _best(trials, settings)
    in_order = [trials[half_decade] for half_decade in sorted(trials)]
    on_edge = best in (min(trials), max(trials))
    return Choice(*case, rate(best), on_edge, in_order)
