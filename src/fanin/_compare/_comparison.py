"""The result of a comparison: every training, and what may be said of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from fanin._compare._records import Outcome, Settings, Trial

__all__ = ["Comparison", "Contestant"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One start: its name, the recipe's formula, the rate chosen for it, and the plan's checksum.

    ``on_edge``: whether the rate is the last that was tried on its side.
    """

    name: str
    formula: str
    rate: float
    on_edge: bool
    plan: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Comparison:
    """Short trainings of one model from several starts, each at its own best rate.

    ``trials`` chose the rates, on tuning seeds; ``outcomes`` are what counts, on other seeds.
    """

    model: str
    reference: str
    """The start that the others are compared to."""
    starts: tuple[Contestant, ...]
    settings: Settings
    trials: tuple[Trial, ...]
    outcomes: tuple[Outcome, ...]
    target: str = ""
    """Where the target comes from, in words."""
    way: str = ""
    """How members were trained, and why."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    versions: tuple[tuple[str, str], ...] = ()

    def of(self, start: str) -> tuple[Outcome, ...]:
        """The outcomes of one start, in the order of the scoring seeds."""
        return tuple(one for one in self.outcomes if one.member.start == start)

    def __iter__(self) -> Iterator[Contestant]:
        return iter(self.starts)
