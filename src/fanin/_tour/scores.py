"""The trainings that count: each start at its chosen rate, on the scoring seeds, and compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import exp, log
from typing import final

from fanin._tour.curves import running_mean, steps_to
from fanin._tour.nets import Network
from fanin._tour.numbers import Interval, paired_interval, short, short_or_none
from fanin._tour.rates import Choice, Run, Trial
from fanin._tour.settings import Settings
from fanin._tour.training import Member, Trained, Training

__all__ = ["Cell", "Comparison", "Score", "score", "scoring"]

CURVE_EVERY = 5


@final
@dataclass(frozen=True, slots=True)
class Score:
    """One start on the scoring seeds: lists have one entry for each seed.

    ``steps`` to the target (None: not reached), final running ``loss`` (None: diverged) and
    held-out ``accuracy`` (share), and the running loss and accuracy as curves.
    """

    start: str
    rate: float
    rate_on_edge: bool
    trials: list[Trial]
    steps: list[int | None]
    loss: list[float | None]
    accuracy: list[float]
    loss_curve: list[list[float | None]]
    accuracy_curve: list[list[float]]


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """A start against the first one, seed by seed, with 95 % intervals.

    ``speedup`` is how many times fewer steps it takes to the target (a geometric mean; None unless
    both reach it on every seed), ``accuracy`` how much more of the held-out digits it gets right.
    """

    start: str
    against: str
    speedup: Interval | None
    accuracy: Interval


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """One network with all its starts."""

    network: Network
    loss_curve_steps: list[int]
    accuracy_curve_steps: list[int]
    scores: list[Score]
    comparisons: list[Comparison]


def scoring(settings: Settings, rates: Sequence[float], network: Network) -> list[Training]:
    """One training for each scoring seed, with every start at its own rate."""
    members = tuple(map(Member, settings.starts, rates))
    return [
        Training(
            network, members, seed, settings.steps, settings.batch, check_every=settings.check_every
        )
        for seed in settings.scoring_seeds
    ]


def score(settings: Settings, choices: Sequence[Choice], run: Run) -> list[Cell]:
    """Train every start of every network on the scoring seeds, at the rates chosen."""
    by_network = [list(group) for _, group in groupby(choices, key=lambda one: one.network)]
    trainings = [
        training
        for group in by_network
        for training in scoring(settings, [choice.rate for choice in group], group[0].network)
    ]
    trained = iter(run(trainings))
    return [
        _cell(settings, group, [next(trained) for _ in settings.scoring_seeds])
        for group in by_network
    ]


def _cell(settings: Settings, choices: Sequence[Choice], by_seed: Sequence[Trained]) -> Cell:
    scores = [
        _score(
            settings,
            choice,
            [trained.losses[place] for trained in by_seed],
            [trained.accuracies[place] for trained in by_seed],
        )
        for place, choice in enumerate(choices)
    ]
    first, *others = scores
    return Cell(
        choices[0].network,
        list(range(settings.window, settings.steps + 1, CURVE_EVERY)),
        list(range(settings.check_every, settings.steps + 1, settings.check_every)),
        scores,
        [_compared(other, first) for other in others],
    )


def _score(
    settings: Settings,
    choice: Choice,
    losses: Sequence[Sequence[float]],
    accuracies: Sequence[Sequence[float]],
) -> Score:
    smooth = [running_mean(row, settings.window) for row in losses]
    return Score(
        choice.start.name,
        choice.rate,
        choice.on_edge,
        choice.trials,
        steps=[steps_to(row, settings.target, settings.window) for row in losses],
        loss=[short_or_none(row[-1]) for row in smooth],
        accuracy=[short(row[-1]) for row in accuracies],
        loss_curve=[[short_or_none(loss) for loss in row[::CURVE_EVERY]] for row in smooth],
        accuracy_curve=[[short(share) for share in row] for row in accuracies],
    )


def _compared(other: Score, first: Score) -> Comparison:
    gains = [mine - theirs for mine, theirs in zip(other.accuracy, first.accuracy, strict=True)]
    pairs = [
        log(theirs / mine)
        for mine, theirs in zip(other.steps, first.steps, strict=True)
        if mine is not None and theirs is not None
    ]
    speedup = _exponential(paired_interval(pairs)) if len(pairs) == len(gains) else None
    return Comparison(other.start, first.start, speedup, paired_interval(gains))


def _exponential(logs: Interval) -> Interval:
    return Interval(short(exp(logs.mean)), short(exp(logs.low)), short(exp(logs.high)))
