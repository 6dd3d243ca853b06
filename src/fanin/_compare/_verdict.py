"""One start against another: the numbers that a verdict rests on, and the verdict in words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite
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


_Pairs: TypeAlias = Sequence[tuple[Outcome, Outcome]]


def _counts(pairs: _Pairs, holds: Callable[[Outcome], bool]) -> tuple[int, int]:
    return sum(holds(one) for one, _ in pairs), sum(holds(two) for _, two in pairs)


def _difference(
    pairs: Sequence[tuple[float | None, float | None]], level: float
) -> Interval | None:
    known = [
        own - other
        for own, other in pairs
        if own is not None and other is not None and isfinite(own) and isfinite(other)
    ]
    return difference(known, level)


def _call_of(ratio: Interval) -> Call:
    if ratio.low >= 1 / _ALIKE and ratio.high <= _ALIKE:
        return "tie"
    if ratio.holds(1):
        return "no difference"
    return "ahead" if ratio.low > 1 else "behind"


def _parts(verdict: Verdict) -> Iterator[str]:
    yield from _arrivals(verdict)
    yield _steps(verdict)
    own, other = verdict.diverged
    if own or other:
        yield f"diverges on {own} of {verdict.seeds} seeds, {verdict.against} on {other}"
    if verdict.loss is not None:
        yield _change(verdict, verdict.loss, "final loss", "", 1)
    if verdict.accuracy is not None:
        yield _change(verdict, verdict.accuracy, "accuracy", " points", 100)


def _arrivals(verdict: Verdict) -> Iterator[str]:
    (own, other), seeds = verdict.arrived, verdict.seeds
    if own == other and own not in (0, seeds):
        yield f"arrives on as many seeds, {own} of {seeds}"
    elif own != other:
        may_be_noise = verdict.arrivals >= 1 - verdict.level
        said = ", perhaps by chance" if may_be_noise else ""
        yield (
            f"arrives on {own} of {seeds} seeds, {verdict.against} on {other}{said} "
            f"(p = {verdict.arrivals:.2g})"
        )


def _steps(verdict: Verdict) -> str:
    """In steps, never in seconds: a step costs the same whatever the start."""
    ratio = verdict.speedup
    if not any(verdict.arrived):
        return "no arrivals, so no steps to compare"
    if ratio is None:
        return "too few seeds to compare steps by"
    call, seeds = _call_of(ratio), _of(ratio, verdict)
    if call == "tie":
        return f"a tie in steps ({_range(ratio)} times as fast{seeds})"
    if call == "no difference":
        return f"no difference in steps beyond seed noise ({_range(ratio)} times as fast{seeds})"
    more = "fewer"
    if call == "behind":
        more, ratio = "more", _inverse(ratio)
    if ratio.bound:
        return f"at least {ratio.low:.2f} times {more} steps{seeds}"
    return f"{ratio.mean:.2f} times {more} steps ({_range(ratio)}{seeds})"


def _inverse(ratio: Interval) -> Interval:
    return Interval(
        1 / ratio.mean, 1 / ratio.high, 1 / ratio.low if ratio.low else inf, ratio.pairs
    )


def _range(ratio: Interval) -> str:
    """Both ends, or the one that is known."""
    if ratio.bound == "at least":
        return f"at least {ratio.low:.2f}"
    if ratio.bound == "at most":
        return f"at most {ratio.high:.2f}"
    return f"{ratio.low:.2f} to {ratio.high:.2f}"


def _change(verdict: Verdict, found: Interval, what: str, unit: str, times: float) -> str:
    """A difference, as one where 0 is not in its interval."""
    mean, low, high = (times * one for one in (found.mean, found.low, found.high))
    seeds = _of(found, verdict)
    if found.holds(0):
        return f"no difference in {what} ({_signed(low)} to {_signed(high)}{unit}{seeds})"
    word, ends = ("higher", (low, high)) if mean > 0 else ("lower", (-high, -low))
    near, far = map(number, ends)
    return f"{what} {word} by {number(abs(mean))}{unit} ({near} to {far}{seeds})"


def _signed(value: float) -> str:
    return f"{'+' * (value > 0)}{number(value)}"


def _of(found: Interval, verdict: Verdict) -> str:
    """On how many seeds, where these are not all."""
    return f", on {found.pairs} seeds" if found.pairs < verdict.seeds else ""
