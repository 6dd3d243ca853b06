"""A rate for each start by one rule, on seeds that are used for nothing else."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Final, TypeAlias

from fanin._compare._records import Member, Optimizer, Outcome, Settings, Trial

__all__ = ["GRIDS", "Trials", "best_rate", "is_on_edge", "next_rate", "search"]

GRIDS: Final[Mapping[Optimizer, tuple[float, ...]]] = {
    "sgd": (0.01, 0.03, 0.1, 0.3),
    "momentum": (0.003, 0.01, 0.03, 0.1),
    "adam": (0.0003, 0.001, 0.003, 0.01),
}
"""Half decades to begin with."""

Outcomes: TypeAlias = Callable[[Sequence[Member]], Sequence[Outcome]]
"""Trains members, or looks up what came of them."""
Trials: TypeAlias = dict[str, list[Trial]]
"""By start, a trial for each rate, from the smallest on."""


def search(
    grids: Mapping[str, Sequence[float]],
    settings: Settings,
    outcomes: Outcomes,
    may_widen: Callable[[], bool] = lambda: True,
) -> Trials:
    """Trials of every start, from its grid on, which is widened while the best is on an edge.

    A start that trains badly at one rate may train well at another, so that a comparison at a
    single rate would compare luck. Where one rate was asked for, it is that one.
    """
    tried = {start: sorted(rates) for start, rates in grids.items()}
    while True:
        known = _trials(tried, settings, outcomes)
        wider = {start: _wider(known[start], settings) for start in tried}
        if wider == tried or not may_widen():
            return known
        tried = wider


def _trials(tried: Mapping[str, Sequence[float]], settings: Settings, outcomes: Outcomes) -> Trials:
    members = [
        Member(start, rate, seed)
        for seed in settings.tuning_seeds
        for start, rates in tried.items()
        for rate in rates
    ]
    found = {one.member: one for one in outcomes(members)}
    return {
        start: [_trial(start, rate, settings, found) for rate in rates]
        for start, rates in tried.items()
    }


def _trial(start: str, rate: float, settings: Settings, found: Mapping[Member, Outcome]) -> Trial:
    own = [found[Member(start, rate, seed)] for seed in settings.tuning_seeds]
    return Trial(
        start=start,
        rate=rate,
        steps=tuple(one.steps for one in own),
        loss=tuple(one.loss for one in own),
    )


def best_rate(trials: Sequence[Trial], settings: Settings) -> float:
    """Fewest seeds that fail, then fewest mean steps, then the smallest mean loss and rate."""
    return min(trials, key=lambda trial: (*_badness(trial, settings), trial.rate)).rate


def _badness(trial: Trial, settings: Settings) -> tuple[float, float, float]:
    steps = [settings.steps + 1 if one is None else one for one in trial.steps]
    return trial.steps.count(None), fmean(steps), fmean(trial.loss)


def is_on_edge(trials: Sequence[Trial], settings: Settings) -> bool:
    """Whether beyond the best rate that was tried there may be a better one."""
    rates = [trial.rate for trial in trials]
    return best_rate(trials, settings) in (min(rates), max(rates))


def _wider(trials: Sequence[Trial], settings: Settings) -> list[float]:
    rates, best = [trial.rate for trial in trials], best_rate(trials, settings)
    most = 10 ** (settings.widenings / 2)
    if len(settings.rates) == 1:
        return rates
    if best == rates[-1] and (wider := next_rate(best, up=True)) < 2 * max(settings.rates) * most:
        return [*rates, wider]
    if best == rates[0] and (wider := next_rate(best, up=False)) > min(settings.rates) / most / 2:
        return [wider, *rates]
    return rates


def next_rate(rate: float, *, up: bool) -> float:
    """The next half decade, with one digit.

    >>> next_rate(0.01, up=True), next_rate(0.01, up=False), next_rate(0.02, up=True)
    (0.03, 0.003, 0.03)
    """
    # 3 stands for the square root of 10: a little less than half a decade counts as one.
    halves = 2 * math.log10(rate)
    exponent = math.floor(halves + 0.1) + 1 if up else math.ceil(halves - 0.1) - 1
    return float(f"{10 ** (exponent / 2):.0e}")
