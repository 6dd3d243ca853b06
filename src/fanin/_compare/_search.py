"""A rate for each start by one rule, on seeds that are used for nothing else."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Final

from fanin._compare._records import Member, Optimizer, Outcome, Settings, Trial

__all__ = ["GRIDS", "best_rate", "is_on_edge", "next_rate", "search", "trials_of"]

GRIDS: Final[Mapping[Optimizer, tuple[float, ...]]] = {
    "sgd": (0.01, 0.03, 0.1, 0.3),
    "momentum": (0.003, 0.01, 0.03, 0.1),
    "adam": (0.0003, 0.001, 0.003, 0.01),
}
"""Half decades to begin with."""

Outcomes = Callable[[Sequence[Member]], Sequence[Outcome]]
"""Trains members, or looks up what came of them."""


def search(starts: Iterable[str], settings: Settings, outcomes: Outcomes) -> dict[str, float]:
    """The best rate of each start; its grid is widened while the best one is on an edge.

    A start that trains badly at one rate may train well at another, so that a comparison at a
    single rate would compare luck.
    """
    tried = {start: sorted(settings.rates) for start in starts}
    for _ in range(settings.widenings + 1):
        known = trials_of(tried, settings, outcomes)
        wider = {start: _wider(start, tried[start], known[start], settings) for start in tried}
        if wider == tried:
            break
        tried = wider
    known = trials_of(tried, settings, outcomes)
    return {start: best_rate(known[start], settings) for start in tried}


def trials_of(
    tried: Mapping[str, Sequence[float]], settings: Settings, outcomes: Outcomes
) -> dict[str, list[Trial]]:
    """A trial for each start and rate, on the tuning seeds."""
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
    """Fewest seeds that fail, then fewest mean steps, then the smallest mean loss."""
    return min(trials, key=lambda trial: _badness(trial, settings)).rate


def _badness(trial: Trial, settings: Settings) -> tuple[float, float, float]:
    steps = [settings.steps + 1 if one is None else one for one in trial.steps]
    return trial.steps.count(None), fmean(steps), fmean(trial.loss)


def is_on_edge(trials: Sequence[Trial], settings: Settings) -> bool:
    """Whether beyond the best rate that was tried there may be a better one."""
    rates = sorted(trial.rate for trial in trials)
    return best_rate(trials, settings) in (rates[0], rates[-1])


def _wider(
    start: str, rates: Sequence[float], trials: Sequence[Trial], settings: Settings
) -> list[float]:
    own = [trial for trial in trials if trial.start == start]
    best = best_rate(own, settings)
    if best == rates[-1] and rates[-1] <= max(settings.rates) * 10 ** (settings.widenings / 2):
        return [*rates, next_rate(best, up=True)]
    if best == rates[0] and rates[0] >= min(settings.rates) * 10 ** (-settings.widenings / 2):
        return [next_rate(best, up=False), *rates]
    return list(rates)


def next_rate(rate: float, *, up: bool) -> float:
    """The next half decade, with one digit.

    >>> next_rate(0.01, up=True), next_rate(0.01, up=False)
    (0.03, 0.003)
    """
    exponent = round(2 * math.log10(rate)) + (1 if up else -1)
    return float(f"{10 ** (exponent / 2):.0e}")
