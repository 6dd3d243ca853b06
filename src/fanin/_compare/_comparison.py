"""The result of a comparison: every training, and what may be said of it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from fanin._compare._records import Outcome, Settings, Trial
from fanin._compare._statistics import LEVEL
from fanin._errors import FaninError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin._compare._verdict import Verdict

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

    >>> import fanin, torch
    >>> x = torch.randn(64, 4)
    >>> found = fanin.compare(
    ...     lambda: torch.nn.Linear(4, 1),
    ...     {"own": None, "zero": lambda _: fanin.initializers.Zeros},
    ...     (x, x.sum(1, keepdim=True)),
    ...     rates=[0.01], steps=20, tuning_seeds=1, scoring_seeds=2,
    ... )
    >>> found.reference, len(found.of("zero")), found.settings.steps
    ('own', 2, 20)
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
    data: str = ""
    """What was trained on, and how many examples a step, in words."""
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

    @property
    def verdicts(self) -> "tuple[Verdict, ...]":
        """Each other start against the reference, at 95 % each."""
        names = (start.name for start in self.starts)
        return tuple(self.verdict(name) for name in names if name != self.reference)

    def verdict(self, start: str, against: str | None = None, *, level: float = LEVEL) -> "Verdict":
        """One start against another, the reference if None, with intervals of this level.

        Raises:
            FaninError: for a name that is none of the starts'.
        """
        from fanin._compare._verdict import verdict_of

        names = (self._known(start), self._known(self.reference if against is None else against))
        own, other = map(self.of, names)
        return verdict_of(own, other, names=names, budget=self.settings.steps, level=level)

    @property
    def best(self) -> tuple[str, ...]:
        """The starts that no other one is ahead of.

        All pairs are looked at, and their intervals widened so that 95 % is for all of them
        together (Bonferroni); for few seeds that says that many are among the best.
        """
        names = [start.name for start in self.starts]
        pairs = [(own, other) for place, own in enumerate(names) for other in names[:place]]
        level = 1 - (1 - LEVEL) / max(1, len(pairs))
        found = [self.verdict(own, other, level=level) for own, other in pairs]
        beaten = {one.against for one in found if one.call == "ahead"}
        beaten |= {one.start for one in found if one.call == "behind"}
        return tuple(name for name in names if name not in beaten)

    def _known(self, name: str) -> str:
        names = [start.name for start in self.starts]
        if name in names:
            return name
        raise FaninError(
            "there is no such start in this comparison",
            where=f"the comparison of {self.model}",
            found=repr(name)[:60],
            fix=f"use one of: {nearest(name, names)}",
        )

    def plot(self, figure: "Figure | None" = None) -> "Figure":
        """The losses, the steps of every seed, and the steps at every rate; a colour a start.

        On ``figure``, or on a new one, which is returned; nothing is shown or saved.

        Raises:
            FaninError: where matplotlib is not installed.
        """
        from fanin._compare._plot import plot

        return plot(self, figure)

    def to_json(self, *, indent: int | None = None) -> str:
        """The comparison as JSON text: a line for each start, trial and outcome, or indented.

        Everything is in it: tables, verdicts and pictures are made from it again.
        """
        from fanin._compare import _json

        return _json.write(self, indent)

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """The comparison that `to_json` wrote; reading runs no code, whatever the text holds.

        Raises:
            FaninError: for any other text, another schema, unknown fields, or outcomes of starts
                and seeds that are not in it.
        """
        from fanin._compare import _json

        return _json.read(text)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the comparison as JSON to a file, whole or not at all."""
        from fanin._records_json import write_file

        write_file(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Comparison":
        """The comparison in a file that `save` wrote; as `from_json`."""
        from fanin._compare import _json

        return _json.read_file(Path(path))

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write the comparison as one page that needs nothing else, whole or not at all."""
        from fanin._compare._page import page_html
        from fanin._records_json import write_file

        write_file(Path(path), page_html(self))

    def __repr__(self) -> str:
        names = ", ".join(start.name for start in self.starts)
        return f"<comparison of {self.model}: {names}>"

    def __str__(self) -> str:
        from fanin._compare._print import comparison_text

        return comparison_text(self)

    def _repr_html_(self) -> str:
        from fanin._compare._html import comparison_html

        return comparison_html(self)
