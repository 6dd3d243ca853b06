"""One start against another: the numbers that a verdict rests on, and the verdict in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final, Literal, TypeAlias, final

from fanin._compare._records import Outcome
from fanin._compare._statistics import LEVEL, Interval, chance, difference, speedup
from fanin._text import number

__all__ = ["Call", "Verdict", "verdict_of"]

Call: TypeAlias = Literal["ahead", "behind", "tie", "no difference"]
"""What a verdict comes to; no difference is none beyond the noise of the seeds."""

_ALIKE: Final = 1.1
"""A ratio of which the whole interval is within 1/1.1 and 1.1 is a tie: also seen from the other
side, as 0.9 to 1.1 would not be."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A start against another on the same seeds: arrivals, steps, final loss, accuracy.

    ``arrived`` and ``diverged`` count seeds of ``seeds``, of the start and of the other.
    ``speedup`` is how many times fewer steps the start takes to the target, the other's steps over
    its own; ``loss`` and ``accuracy`` are its own minus the other's, after the last step. They are
    intervals over the seeds on which both are known; None where there are too few.
    ``arrivals``: the p-value of the two counts of arrivals (Fisher's exact test). ``level``: of the
    intervals, and of the test.
    """

    start: str
    against: str
    seeds: int
    arrived: tuple[int, int]
    diverged: tuple[int, int]
    arrivals: float
    speedup: Interval | None
    loss: Interval | None
    accuracy: Interval | None
    level: float = LEVEL

    @property
    def call(self) -> Call:
        """By arrivals; where these may be alike by steps, and where none arrives by final loss."""
        if self.arrivals < 1 - self.level:
            return "ahead" if self.arrived[0] > self.arrived[1] else "behind"
        if any(self.arrived):
            return "no difference" if self.speedup is None else _call_of(self.speedup)
        if chance(*self.diverged, of=self.seeds) < 1 - self.level:
            return "ahead" if self.diverged[0] < self.diverged[1] else "behind"
        if self.loss is None or self.loss.holds(0):
            return "no difference"
        return "ahead" if self.loss.high < 0 else "behind"

    @property
    def said(self) -> str:
        """The verdict in one sentence, with the numbers it rests on."""
        return f"{'; '.join(_parts(self))}."

    def __str__(self) -> str:
        return f"{self.start} against {self.against}: {self.said}"


def verdict_of(
    own: Sequence[Outcome],
    other: Sequence[Outcome],
    *,
    names: tuple[str, str],
    budget: int,
    level: float = LEVEL,
) -> Verdict:
    """The verdict on two starts, from the outcomes of seeds that both were trained on."""
    theirs = {one.member.seed: one for one in other}
    pairs = [(one, theirs[one.member.seed]) for one in own if one.member.seed in theirs]
    arrived = _counts(pairs, lambda one: one.steps is not None)
    return Verdict(
        start=names[0],
        against=names[1],
        seeds=len(pairs),
        arrived=arrived,
        diverged=_counts(pairs, lambda one: one.diverged),
        arrivals=chance(*arrived, of=len(pairs)),
        speedup=speedup([(one.steps, two.steps) for one, two in pairs], budget, level),
        loss=_difference([(one.loss, two.loss) for one, two in pairs], level),
        accuracy=_difference([(one.accuracy, two.accuracy) for one, two in pairs], level),
        level=level,
    )
