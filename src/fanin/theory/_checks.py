"""What an argument has to be, said where it is not."""

from math import isfinite

from fanin._errors import FaninError
from fanin._numbers import is_number, is_whole

__all__ = ["require_correlation", "require_layers", "require_variance"]


def require_variance(where: str, value: object, *, above_zero: bool = True) -> None:
    """Pass a finite number above 0, or of at least 0.

    Raises:
        FaninError: it is another value.
    """
    if is_number(value) and isfinite(value) and (value > 0 or (value == 0 and not above_zero)):
        return
    raise FaninError(
        f"not a variance {'above 0' if above_zero else 'of at least 0'}",
        where=where,
        found=repr(value),
        fix="give a finite number: a std squared",
    )


def require_correlation(where: str, value: object) -> None:
    """Pass a number from -1 to 1.

    Raises:
        FaninError: it is another value.
    """
    if is_number(value) and -1 <= value <= 1:
        return
    raise FaninError(
        "not a correlation", where=where, found=repr(value), fix="give a number from -1 to 1"
    )


def require_layers(where: str, value: object, *, least: int = 0) -> None:
    """Pass a whole number of at least ``least``.

    Raises:
        FaninError: it is another value.
    """
    if is_whole(value, least):
        return
    raise FaninError(
        f"not a whole number of at least {least}",
        where=where,
        found=repr(value),
        fix="give how many there are",
    )
