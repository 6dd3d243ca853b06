"""Many names or formulas in one line: what differs only in numbers is written once."""

import re
from collections.abc import Iterable, Sequence

__all__ = ["fold_formulas", "fold_names", "fold_sentences", "name_skeleton", "skeleton"]

_INTEGER = re.compile(r"\d+")
# Not the digits of a name such as relu6.
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def name_skeleton(name: str) -> str:
    """``name`` without its numbers: names that may be folded together have the same.

    >>> name_skeleton("h.12.fc1.weight")
    'h.#.fc#.weight'
    """
    return _INTEGER.sub("#", name)


def skeleton(text: str) -> str:
    """``text`` without its numbers: texts that may be folded together have the same.

    >>> skeleton("s = 0.5 gain(relu6) / sqrt(fan_in)")
    's = # gain(relu6) / sqrt(fan_in)'
    """
    return _NUMBER.sub("#", text)


def fold_names(names: Sequence[str]) -> str:
    """Names that differ only in numbers, as one; a braced place takes each of its numbers.

    Where several places differ not every combination need be there.

    >>> fold_names(["h.0.fc.weight", "h.1.fc.weight", "h.2.fc.weight", "h.7.fc.weight"])
    'h.{0-2,7}.fc.weight'
    """
    pieces = _INTEGER.split(names[0])
    columns = zip(*(map(int, _INTEGER.findall(name)) for name in names), strict=True)
    folded = [_ranges(set(column)) for column in columns]
    return "".join(piece + number for piece, number in zip(pieces, [*folded, ""], strict=True))


def _ranges(numbers: set[int]) -> str:
    if len(numbers) == 1:
        return str(*numbers)
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    ends = (str(low) if low == high else f"{low}-{high}" for low, high in runs)
    return "{" + ",".join(ends) + "}"


def fold_formulas(texts: Iterable[str]) -> str:
    """Formulas of one skeleton as one: a number that differs is its least to its most, bracketed.

    >>> fold_formulas(["w ~ N(0, 0.02²)", "w ~ N(0, 0.01²)"])
    'w ~ N(0, (0.01 to 0.02)²)'
    """
    return _folded(texts, "({} to {})")


def fold_sentences(texts: Iterable[str]) -> str:
    """Sentences of one skeleton as one: a number that differs is its least to its most.

    >>> fold_sentences(["Layer 1 of 12.", "Layer 3 of 12.", "Layer 2 of 12."])
    'Layer 1 to 3 of 12.'
    """
    return _folded(texts, "{} to {}")


def _folded(texts: Iterable[str], span: str) -> str:
    distinct = list(dict.fromkeys(texts))
    columns = zip(*(_NUMBER.findall(text) for text in distinct), strict=True)
    ends = [(min(column, key=float), max(column, key=float)) for column in columns]
    numbers = [low if low == high else span.format(low, high) for low, high in ends]
    pieces = _NUMBER.split(distinct[0])
    return "".join(piece + number for piece, number in zip(pieces, [*numbers, ""], strict=True))
