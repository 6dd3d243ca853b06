"""Follow the axes of a tensor through views: which part of which original axis is where.

An axis of a view is a sequence of runs, each a stretch of one original axis: ``view`` cuts and
glues runs, ``permute`` moves them, ``slice`` shortens them. Nothing here looks at memory, so it
works alike on copies, on meta tensors and on weights that were cast.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import final

__all__ = ["Axes", "Run"]


@final
@dataclass(frozen=True, slots=True)
class Run:
    """``size`` positions, ``step`` apart, of the original axis ``axis``; None: of no such axis."""

    axis: int | None
    size: int
    step: int = 1


@final
@dataclass(frozen=True, slots=True)
class Axes:
    """For each axis of a view, the runs of original axes that it is made of.

    ``starts`` has, for each original axis, where the view begins in it.

    >>> packed = Axes.of((6, 4)).viewed((3, 2, 4)).selected(0, 1)
    >>> packed.axis(0), packed.starts[0], packed.extent(0)
    ((Run(axis=0, size=2, step=1),), 2, 2)
    """

    runs: tuple[tuple[Run, ...], ...]
    starts: tuple[int, ...]

    @classmethod
    def of(cls, shape: Sequence[int]) -> "Axes":
        """The axes of the original itself."""
        return cls(tuple((Run(i, n),) for i, n in enumerate(shape)), (0,) * len(shape))

    @classmethod
    def feature(cls, shape: Sequence[int], axis: int) -> "Axes":
        """The axes of a tensor of which only ``axis`` is followed, as original axis 0."""
        runs = tuple((Run(0 if i == axis else None, n),) for i, n in enumerate(shape))
        return cls(runs, (0,))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the view."""
        return tuple(prod(run.size for run in runs) for runs in self.runs)

    def axis(self, position: int) -> tuple[Run, ...]:
        """The runs of one axis of the view."""
        return self.runs[position]

    def original(self, position: int) -> set[int]:
        """The original axes of which one axis of the view holds more than one position."""
        return {run.axis for run in self.runs[position] if run.axis is not None and run.size > 1}

    def extent(self, axis: int) -> int:
        """How many positions of an original axis are in the view."""
        return prod(run.size for runs in self.runs for run in runs if run.axis == axis)

    def is_stretch(self, axis: int) -> bool:
        """Whether those positions lie next to each other."""
        steps = sorted(
            (run.step, run.size)
            for runs in self.runs
            for run in runs
            if run.axis == axis and run.size > 1
        )
        width = 1
        for step, size in steps:
            if step != width:
                return False
            width *= size
        return True

    def permuted(self, order: Sequence[int]) -> "Axes":
        """The axes in another order."""
        return replace(self, runs=tuple(self.runs[i] for i in order))

    def transposed(self, first: int, second: int) -> "Axes":
        """Two axes exchanged."""
        order = list(range(len(self.runs)))
        order[first], order[second] = order[second], order[first]
        return self.permuted(order)

    def unsqueezed(self, position: int) -> "Axes":
        """A new axis of size 1."""
        place = position % (len(self.runs) + 1)
        return replace(self, runs=(*self.runs[:place], (Run(None, 1),), *self.runs[place:]))

    def reduced(self, positions: Sequence[int]) -> "Axes":
        """Without these axes, as after a sum over them or a squeeze."""
        gone = {position % len(self.runs) for position in positions}
        return replace(self, runs=tuple(r for i, r in enumerate(self.runs) if i not in gone))

    def expanded(self, shape: Sequence[int]) -> "Axes":
        """Aligned to the right with ``shape``; what is repeated comes from no original axis."""
        missing = len(shape) - len(self.runs)
        runs: list[tuple[Run, ...]] = [(Run(None, n),) for n in shape[:missing]]
        for size, old, own in zip(shape[missing:], self.shape, self.runs, strict=True):
            runs.append(own if size in (old, -1) else (Run(None, size),))
        return replace(self, runs=tuple(runs))

    def selected(self, position: int, index: int) -> "Axes":
        """One position of an axis, which is gone."""
        return self.sliced(position, index, index + 1, 1).reduced([position])

    def sliced(self, position: int, start: int, end: int, step: int) -> "Axes":
        """A stretch of one axis."""
        place = position % len(self.runs)
        size = self.shape[place]
        start, end, step = slice(start, end, step).indices(size)
        length = max(0, -(-(end - start) // step))
        if length == size:
            return self
        runs, starts = _cut(self.runs[place], start, length, step, list(self.starts))
        return Axes((*self.runs[:place], runs, *self.runs[place + 1 :]), tuple(starts))

    def viewed(self, shape: Sequence[int]) -> "Axes | None":
        """The same entries in another shape; None where the axes cannot be told apart."""
        if prod(shape) == 0:
            return None
        pieces = [run for runs in self.runs for run in runs if run.size > 1]
        grouped: list[tuple[Run, ...]] = []
        for size in shape:
            taken, pieces_left = _take(pieces, size)
            if taken is None:
                return None
            grouped.append(_glued(taken))
            pieces = pieces_left
        return replace(self, runs=tuple(grouped)) if not pieces else None


def _glued(runs: tuple[Run, ...]) -> tuple[Run, ...]:
    """With neighbours made one that are one stretch of their axis."""
    found = [runs[0]]
    for run in runs[1:]:
        last = found[-1]
        if last.axis == run.axis and last.step == run.step * run.size:
            found[-1] = Run(run.axis, last.size * run.size, run.step)
        else:
            found.append(run)
    return tuple(found)


def _take(pieces: list[Run], size: int) -> tuple[tuple[Run, ...] | None, list[Run]]:
    """Runs from the front that hold ``size`` positions, and what is left."""
    taken: list[Run] = []
    rest = list(pieces)
    while size > 1:
        if not rest:
            return None, []
        run = rest.pop(0)
        if size % run.size == 0:
            taken.append(run)
            size //= run.size
        elif run.size % size == 0:
            inner = run.size // size
            taken.append(Run(run.axis, size, run.step * inner))
            rest.insert(0, Run(run.axis, inner, run.step))
            size = 1
        else:
            return None, []
    return tuple(taken) or (Run(None, 1),), rest


def _cut(
    runs: tuple[Run, ...], start: int, length: int, step: int, starts: list[int]
) -> tuple[tuple[Run, ...], list[int]]:
    """A stretch of an axis made of ``runs``; exact where it falls on the borders of the runs."""
    whole, cut, is_exact = length, list[Run](), True
    for run in reversed(runs):
        first = start % run.size
        if length == 1 or step % run.size == 0:
            piece, step = Run(run.axis, 1), max(1, step // run.size)
        elif first + (length - 1) * step < run.size:
            piece, length, step = Run(run.axis, length, run.step * step), 1, 1
        else:
            # More than one round of this run: exact if each round shows the same places.
            size = max(1, run.size // step)
            is_exact &= size * step == run.size and first < step and length % size == 0
            piece, length, step = Run(run.axis, size, run.step * step), length // size, 1
        if run.axis is not None:
            starts[run.axis] += first * run.step
        start //= run.size
        cut.append(piece)
    if not is_exact or prod(run.size for run in cut) != whole:
        # The stretch ends in the middle of a run: its axes are still right, its size is said anew.
        cut = [Run(next((run.axis for run in runs if run.axis is not None), None), whole)]
    return tuple(reversed(cut)), starts
