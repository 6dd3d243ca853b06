"""What the pictures of a comparison show, as plain numbers: for figures and for pages alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from statistics import fmean, median
from typing import Final, final

from fanin import _plot
from fanin._compare._comparison import Comparison
from fanin._compare._records import Outcome

__all__ = [
    "Colour",
    "Course",
    "Rate",
    "Reach",
    "colours_of",
    "course_of",
    "headline",
    "rates_of",
    "reach_of",
    "values_of",
]

_POINTS: Final = 150
"""Of a line; between them a running mean of 20 batches hides nothing."""
_CURVED: Final = 8.0
"""With losses this many times apart the axis is of powers."""
_ABOVE: Final = 10.0
"""Losses so many times the reference's first one are off the picture."""


@final
@dataclass(frozen=True, slots=True)
class Colour:
    """Of one start, everywhere: its number and its value; ``again`` for the second round."""

    number: int
    value: str
    again: bool


@final
@dataclass(frozen=True, slots=True)
class Course:
    """The running loss by step: median of the seeds, least and most; inf where a seed diverged.

    ``ends``: the last steps of the seeds that diverged.
    """

    steps: tuple[int, ...]
    middle: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    ends: tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class Rate:
    """One rate on the tuning seeds: the median of the steps, inf if most never arrive, and loss."""

    rate: float
    steps: float
    loss: float
    chosen: bool


@final
@dataclass(frozen=True, slots=True)
class Reach:
    """Between which losses the lines are shown, and whether by powers."""

    low: float
    high: float
    log: bool


def colours_of(comparison: Comparison) -> dict[str, Colour]:
    """The reference is grey; the others have colours that colour-blind readers tell apart."""
    *palette, grey = _plot.COLOURS
    others = [start.name for start in comparison.starts if start.name != comparison.reference]
    return {comparison.reference: Colour(len(palette), grey, again=False)} | {
        name: Colour(place % len(palette), palette[place % len(palette)], place >= len(palette))
        for place, name in enumerate(others)
    }


def headline(comparison: Comparison) -> str:
    """Which starts are among the best, in few words."""
    best = comparison.best
    if len(best) == len(comparison.starts):
        return "no start is beaten"
    return f"not beaten: {', '.join(best)}" if best else "each start is beaten by another"


def values_of(comparison: Comparison, name: str) -> list[float | None]:
    """Of each seed the steps to the target; without a target the last loss, None for a diverged."""
    own = comparison.of(name)
    if comparison.settings.target is None:
        return [None if one.diverged else one.loss for one in own]
    return [one.steps for one in own]


def course_of(outcomes: Sequence[Outcome], steps: int) -> Course:
    """The losses of some seeds, at evenly spaced steps."""
    count = min(steps, _POINTS) if outcomes else 0
    shown = sorted({1 + round(n * (steps - 1) / max(1, count - 1)) for n in range(count)})
    columns = [[_at(one.losses, step) for one in outcomes] for step in shown]
    return Course(
        steps=tuple(shown),
        middle=tuple(map(median, columns)),
        low=tuple(map(min, columns)),
        high=tuple(map(max, columns)),
        ends=tuple(len(one.losses) for one in outcomes if one.diverged),
    )


def _at(losses: Sequence[float], step: int) -> float:
    return losses[step - 1] if step <= len(losses) else inf


def rates_of(comparison: Comparison, name: str) -> list[Rate]:
    """The rates that a start was tried at, in order."""
    (chosen,) = (start.rate for start in comparison.starts if start.name == name)
    found = [
        Rate(
            rate=trial.rate,
            steps=median(inf if one is None else one for one in trial.steps),
            loss=fmean(trial.loss),
            chosen=trial.rate == chosen,
        )
        for trial in comparison.trials
        if trial.start == name and trial.steps
    ]
    return sorted(found, key=lambda one: one.rate)


def reach_of(comparison: Comparison, courses: Sequence[Course]) -> Reach:
    """All lines, the target, and at most ten times what the reference begins with."""
    target = comparison.settings.target
    seen = [one for course in courses for one in (*course.middle, *course.low) if isfinite(one)]
    seen += [] if target is None else [target]
    low, high = min(seen, default=0.0), max(seen, default=1.0)
    first = max(
        (one.losses[0] for one in comparison.of(comparison.reference) if one.losses), default=high
    )
    if first > 0:
        high = min(high, _ABOVE * first)
    if low > 0 and high / low > _CURVED:
        return Reach(low / 1.2, high * 1.1, log=True)
    space = 0.06 * (high - low) or 1.0
    return Reach(low - space, high + space, log=False)
