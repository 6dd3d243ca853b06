"""One line for each start: what its trainings on the scoring seeds came to."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, isfinite
from statistics import fmean, median
from typing import final

from fanin._compare._comparison import Comparison, Contestant
from fanin._compare._records import Trial

__all__ = ["Score", "scores_of", "steps_text"]


@final
@dataclass(frozen=True, slots=True)
class Score:
    """A start's outcomes, seed by seed, and what they come to.

    ``loss`` is the mean of those that did not diverge. ``rates`` are the learning rates tried,
    ``reaching`` those at which every tuning seed arrived.
    """

    start: Contestant
    steps: tuple[int | None, ...]
    diverged: int
    loss: float | None
    test_loss: float | None
    accuracy: float | None
    rates: tuple[float, ...]
    reaching: tuple[float, ...]

    @property
    def name(self) -> str:
        """The start's name."""
        return self.start.name

    @property
    def arrived(self) -> int:
        """On how many seeds the target was reached."""
        return sum(one is not None for one in self.steps)

    @property
    def median(self) -> float:
        """Of the steps; a seed that never arrives counts as more than any number."""
        return median(inf if one is None else one for one in self.steps) if self.steps else inf


def scores_of(comparison: Comparison) -> list[Score]:
    """The starts in their order."""
    return [_score(comparison, start) for start in comparison.starts]


def _score(comparison: Comparison, start: Contestant) -> Score:
    own = comparison.of(start.name)
    trials = sorted((one for one in comparison.trials if one.start == start.name), key=_rate)
    return Score(
        start=start,
        steps=tuple(one.steps for one in own),
        diverged=sum(one.diverged for one in own),
        loss=_mean(one.loss for one in own),
        test_loss=_mean(one.test_loss for one in own),
        accuracy=_mean(one.accuracy for one in own),
        rates=tuple(trial.rate for trial in trials),
        reaching=tuple(trial.rate for trial in trials if None not in trial.steps),
    )


def _rate(trial: Trial) -> float:
    return trial.rate


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and isfinite(value)]
    return fmean(known) if known else None


def steps_text(score: Score, budget: int) -> str:
    """Median and range of the steps; a run that never arrives took more than ``budget``."""
    if not score.arrived:
        return "–"
    longest = inf if None in score.steps else max(filter(None, score.steps))
    ends = (score.median, min(filter(None, score.steps)), longest)
    middle, low, high = (f">{budget}" if one == inf else f"{one:.0f}" for one in ends)
    return f"{middle} ({low}–{high})"
