"""The result of a sweep of initial scales: which of them train, with each norm, at which rate."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log10
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, final

from fanin._compare._comparison import Comparison
from fanin._compare._norms import NAMES, Norm
from fanin._compare._records import Settings
from fanin._compare._scores import Score, scores_of
from fanin._errors import FaninError, nearest
from fanin._records_json import Codec, write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Band", "Cell", "ScaleSweep", "factor_name"]

SCHEMA: Final = 1
"""A sweep of another number is not read; a change of any record raises it."""


def factor_name(factor: float) -> str:
    """How a factor is written, and its start is called.

    >>> factor_name(10**0.5)
    '×3.16'
    """
    return f"×{factor:.3g}"


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """One scale with one norm: the trainings on the scoring seeds, at its own best rate."""

    factor: float
    score: Score
    tuned: int
    """Trainings on tuning seeds that arrived, over all rates."""

    @property
    def trains(self) -> bool:
        """Whether every scoring seed arrived."""
        return bool(self.score.steps) and None not in self.score.steps

    @property
    def diverged(self) -> bool:
        """Whether every scoring seed diverged."""
        return self.score.diverged == len(self.score.steps) > 0


@final
@dataclass(frozen=True, slots=True)
class Band:
    """The neighbouring factors, around 1, that train: from ``low`` to ``high``.

    ``below`` and ``above`` are the next ones, which do not; None where the sweep ends before.
    """

    low: float
    high: float
    below: float | None
    above: float | None

    @property
    def decades(self) -> float:
        """log10(high / low): what was seen to train; the true band is as wide at least.

        >>> Band(0.1, 10, below=0.01, above=None).decades
        2.0
        """
        return log10(self.high / self.low)

    @property
    def at_most(self) -> float:
        """Decades up to the neighbours that do not train; infinite where there is none.

        >>> Band(1, 1, below=0.1, above=10).at_most
        2.0
        """
        if self.below is None or self.above is None:
            return inf
        return log10(self.above / self.below)


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ScaleSweep:
    """Short trainings from one recipe's start, scaled by each factor, with each norm.

    ``comparisons`` has one for each of ``norms``, with a start for each of ``factors``. A value:
    it compares with ``==``, saves, and everything that is printed or drawn is made from it.

    Raises:
        FaninError: for comparisons that are not of these norms and factors.

    >>> import fanin, torch
    >>> x = torch.randn(64, 4)
    >>> sweep = fanin.sweep_scale(
    ...     lambda: torch.nn.Linear(4, 1), (x, x.sum(1, keepdim=True)), norms=(None,),
    ...     factors=(1,), target=10, steps=20, rates=[0.01], tuning_seeds=1, scoring_seeds=1,
    ... )
    >>> sweep.band(None).decades
    0.0
    """

    model: str
    recipe: str
    factors: tuple[float, ...]
    norms: tuple[Literal["batch", "layer"] | None, ...]
    comparisons: tuple[Comparison, ...]
    scaled: Literal["all weights", "hidden weights"] = "all weights"
    """What the factors multiply; hidden: neither the first nor the readout."""
    own_norms: bool = False
    """Whether the model normalizes where no norm was asked for."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def __post_init__(self) -> None:
        names = [factor_name(factor) for factor in self.factors]
        found = [[start.name for start in one.starts] for one in self.comparisons]
        if found and found == [names] * len(self.norms):
            return
        raise FaninError(
            "these comparisons are not of one sweep",
            where="ScaleSweep",
            found=str(found)[:80],
            fix=f"one for each norm, each with the starts {', '.join(names)}",
        )

    @property
    def settings(self) -> Settings:
        """Optimizer, steps, target and seeds, which all trainings share."""
        return self.comparisons[0].settings

    def of(self, norm: Norm) -> Comparison:
        """The trainings with this norm.

        Raises:
            FaninError: for a norm that was not asked for.
        """
        if norm in self.norms:
            return self.comparisons[self.norms.index(norm)]
        raise FaninError(
            "the sweep has no such norm",
            where=f"the sweep of {self.model}",
            found=repr(norm)[:60],
            fix=f"use one of: {nearest(str(norm), [repr(one) for one in self.norms])}",
        )

    def cells(self, norm: Norm) -> tuple[Cell, ...]:
        """What came of each factor with this norm, in the order of the factors."""
        comparison = self.of(norm)
        return tuple(
            Cell(factor, score, _arrived(comparison, score.name))
            for factor, score in zip(self.factors, scores_of(comparison), strict=True)
        )

    def band(self, norm: Norm) -> Band | None:
        """The factors around 1 that train with this norm; None where 1 itself does not."""
        return band_of(self.factors, [cell.trains for cell in self.cells(norm)])

    @property
    def sentence(self) -> str:
        """The bands, and what becomes of scales that are too large, in words."""
        from fanin._compare._scale_text import sentence

        return sentence(self)

    def plot(self, figure: "Figure | None" = None) -> "Figure":
        """A heat map, norm × factor: steps to the target, or how many seeds arrive.

        On ``figure``, or on a new one, which is returned; nothing is shown or saved.

        Raises:
            FaninError: where matplotlib is not installed.
        """
        from fanin._compare._scale_plot import plot

        return plot(self, figure)

    def to_json(self, *, indent: int | None = None) -> str:
        """The sweep as JSON text: everything is in it, also every loss."""
        return _CODEC.write(self, indent)

    @classmethod
    def from_json(cls, text: str) -> "ScaleSweep":
        """The sweep that `to_json` wrote; reading runs no code, whatever the text holds.

        Raises:
            FaninError: for any other text, another schema, or unknown fields.
        """
        return _CODEC.read(text)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sweep as JSON to a file, whole or not at all."""
        write_file(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ScaleSweep":
        """The sweep in a file that `save` wrote; as `from_json`."""
        return _CODEC.read_file(Path(path))

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write the sweep as one page that needs nothing else, whole or not at all."""
        from fanin._compare._scale_html import page_html

        write_file(Path(path), page_html(self))

    def __repr__(self) -> str:
        norms = ", ".join(NAMES[norm] for norm in self.norms)
        return f"<sweep of {len(self.factors)} scales of {self.model}, norms: {norms}>"

    def __str__(self) -> str:
        from fanin._compare._scale_text import sweep_text

        return sweep_text(self)

    def _repr_html_(self) -> str:
        from fanin._compare._scale_html import sweep_html

        return sweep_html(self)


_CODEC: Final = Codec(ScaleSweep, "scale sweep", "fanin scale sweep", SCHEMA, again="sweep again")


def band_of(factors: Sequence[float], trains: Sequence[bool]) -> Band | None:
    """The run of neighbours that train around the factor nearest to 1; factors in order.

    >>> band_of([0.1, 1, 10, 100], [False, True, True, False])
    Band(low=1, high=10, below=0.1, above=100)
    """
    middle = min(range(len(factors)), key=lambda place: abs(log10(factors[place])))
    if not trains[middle]:
        return None
    low = high = middle
    while low > 0 and trains[low - 1]:
        low -= 1
    while high + 1 < len(factors) and trains[high + 1]:
        high += 1
    return Band(
        factors[low],
        factors[high],
        below=factors[low - 1] if low > 0 else None,
        above=factors[high + 1] if high + 1 < len(factors) else None,
    )


def _arrived(comparison: Comparison, start: str) -> int:
    trials = [trial for trial in comparison.trials if trial.start == start]
    return sum(steps is not None for trial in trials for steps in trial.steps)
