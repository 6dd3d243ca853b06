"""The layers of a report as rows: those of repeated blocks together, for tables and charts."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, final

from fanin._audit._records import Place

__all__ = ["Row", "fold", "folded_name", "resampled", "rows_of", "spine_of"]

Thing = TypeVar("Thing")

# A number that is a part of the path by itself; the digits of conv1 or "add 2" are a name.
_NUMBER: Final = re.compile(r"(?<![^.])\d+(?![^.\s])")

_FEW: Final = 3
"""So many sums are a stream."""


@final
@dataclass(frozen=True, slots=True)
class Row:
    """Places of one operation and shape whose names differ only in the numbers of their path."""

    name: str
    places: tuple[Place, ...]


def rows_of(places: Sequence[Place], most: int) -> list[Row]:
    """A row for each place while there are at most ``most``, else one for each kind of place."""
    if len(places) <= most:
        return [Row(place.name, (place,)) for place in places]
    groups = fold(places, lambda one: one.name, lambda one: (one.operation, one.shape[1:]))
    return [Row(folded_name([one.name for one in group]), tuple(group)) for group in groups]


def spine_of(places: Sequence[Place]) -> list[Place]:
    """The places whose course over the depth tells most: the residual sums, or else the layers.

    In a residual net the branches start small on purpose, and only the stream goes on.
    """
    sums = [place for place in places if place.stream is not None]
    return sums if len(sums) >= _FEW else [place for place in places if place.weight]


def fold(
    things: Sequence[Thing],
    name: Callable[[Thing], str],
    key: Callable[[Thing], object],
) -> list[list[Thing]]:
    """Things of one key together whose names differ only in numbers, in order of the first."""
    groups: dict[tuple[str, object], list[Thing]] = {}
    for thing in things:
        groups.setdefault((_NUMBER.sub("#", name(thing)), key(thing)), []).append(thing)
    return list(groups.values())


def folded_name(names: Sequence[str]) -> str:
    """Names that differ only in numbers, as one: from the first to the last of each number.

    >>> folded_name(["h.0.fc", "h.1.fc", "h.7.fc"])
    'h.{0…7}.fc'
    """
    pieces = _NUMBER.split(names[0])
    columns = zip(*(map(int, _NUMBER.findall(name)) for name in names), strict=True)
    ends = [(min(column), max(column)) for column in map(tuple, columns)]
    numbers = [str(low) if low == high else f"{{{low}…{high}}}" for low, high in ends]
    return "".join(piece + number for piece, number in zip(pieces, [*numbers, ""], strict=True))


def resampled(values: Sequence[float], most: int) -> list[float]:
    """At most so many of the values, evenly spaced, the first and the last among them.

    >>> resampled([0, 1, 2, 3, 4, 5, 6], 4)
    [0, 2, 4, 6]
    """
    if len(values) <= most:
        return list(values)
    step = (len(values) - 1) / (most - 1)
    return [values[round(index * step)] for index in range(most)]
