"""Constructor arguments, checked where a value is made and not where it is first drawn."""

from fanin._errors import FaninError, nearest
from fanin._numbers import is_number, is_whole
from fanin._stream import LARGEST

__all__ = ["count", "cut_or_none", "finite", "known_word"]


def finite(where: str, name: str, value: object) -> float:
    """``value`` as a float, or FaninError unless it is a finite number.

    >>> finite("Normal", "std", 1)
    1.0
    """
    if not is_number(value) or not abs(value) <= LARGEST:
        raise FaninError(
            f"{name} is not a finite number",
            where=where,
            found=f"{name}={value!r}"[:80],
            fix="give a finite number, within what float32 holds",
        )
    return float(value) + 0.0  # -0.0 would print, and compare its bits, unlike 0.0


def count(where: str, name: str, value: object, fix: str) -> int:
    """``value`` as an int, or FaninError unless it is a whole number of at least 1.

    >>> count("Sparse", "connections", 15, "")
    15
    """
    if not is_whole(value, least=1):
        raise FaninError(
            f"{name} is not a whole number of at least 1",
            where=where,
            found=f"{name}={value!r}",
            fix=fix,
        )
    return int(value)


def cut_or_none(where: str, cut: object) -> float | None:
    """``cut`` as a positive float, or None; FaninError for anything else.

    >>> cut_or_none("Normal", 2), cut_or_none("Normal", None)
    (2.0, None)
    """
    if cut is None:
        return None
    number = finite(where, "cut", cut)
    if number <= 0:
        raise FaninError(
            "cut is not a positive number of standard deviations",
            where=where,
            found=f"cut={cut}",
            fix="give cut > 0, usually 2 or 3, or leave it out",
        )
    return number


def known_word(where: str, name: str, value: object, known: tuple[str, ...]) -> None:
    """Raise FaninError unless ``value`` is one of ``known``.

    >>> known_word("Orthogonal", "keep", "norm", ("norm", "signal"))
    """
    if value not in known:
        raise FaninError(
            f"{name} is unknown",
            where=where,
            found=f"{name}={value!r}",
            fix=f"use one of: {nearest(str(value), known, most=len(known))}",
        )
