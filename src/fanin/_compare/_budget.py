"""Fewer seeds, and then fewer steps, so that a comparison keeps to its time."""

import time
from dataclasses import dataclass, field, replace
from typing import Final, final

from fanin._compare._records import Settings

__all__ = ["LEAST_SEEDS", "Clock", "member_steps", "to_keep", "within"]

LEAST_SEEDS: Final = 4
"""Scoring seeds that are kept: of fewer, a difference is not told from luck."""
_LEAST_STEPS: Final = 100
_WIDENED: Final = 1
"""Rates that a grid is widened by, on average."""


@final
@dataclass(frozen=True, slots=True)
class Clock:
    """The time since it was made, and the budget in seconds; None is no budget."""

    budget: float | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def allows(self, seconds: float, share: float = 1.0) -> bool:
        """Whether ``seconds`` more stay within a share of the budget."""
        return self.budget is None or self.spent + seconds <= share * self.budget


def member_steps(settings: Settings, starts: int) -> int:
    """Steps of all members together, if each grid is widened once."""
    tuning = len(settings.tuning_seeds) * (len(settings.rates) + _WIDENED)
    return starts * (tuning + len(settings.scoring_seeds)) * settings.steps


def within(
    settings: Settings, starts: int, seconds_each: float, left: float, budget: float
) -> tuple[Settings, str]:
    """The settings cut to fit into what is ``left`` of ``budget`` seconds, and in words what was.

    ``seconds_each``: of one step of one member. Scoring seeds go first, down to 4, then tuning
    seeds, down to 1, then steps, down to 100.

    >>> cut, said = within(Settings(rates=(0.1,)), 2, seconds_each=0.001, left=8, budget=8)
    >>> len(cut.scoring_seeds), len(cut.tuning_seeds), cut.steps, said
    (4, 2, 500, 'to keep to 8 s: 4 scoring seeds, 2 tuning seeds')
    """
    cut = settings
    while member_steps(cut, starts) * seconds_each > left:
        if len(cut.scoring_seeds) > LEAST_SEEDS:
            cut = replace(cut, scoring_seeds=cut.scoring_seeds[:-1])
        elif len(cut.tuning_seeds) > 1:
            cut = replace(cut, tuning_seeds=cut.tuning_seeds[:-1])
        elif cut.steps > _LEAST_STEPS:
            cut = replace(cut, steps=max(_LEAST_STEPS, int(cut.steps * 0.8)))
        else:
            break
    return cut, _said(settings, cut, budget)


def _said(before: Settings, after: Settings, budget: float) -> str:
    parts = []
    if after.scoring_seeds != before.scoring_seeds:
        parts.append(_count(len(after.scoring_seeds), "scoring seed"))
    if after.tuning_seeds != before.tuning_seeds:
        parts.append(_count(len(after.tuning_seeds), "tuning seed"))
    if after.steps != before.steps:
        parts.append(f"{after.steps} steps")
    return to_keep(budget, ", ".join(parts)) if parts else ""


def _count(how_many: int, what: str) -> str:
    return f"{how_many} {what}{'s' * (how_many != 1)}"


def to_keep(budget: float, what: str) -> str:
    """What was left out, in words."""
    return f"to keep to {budget:g} s: {what}"
