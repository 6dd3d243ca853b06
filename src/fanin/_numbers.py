"""What counts as a number where a user gives one."""

from numbers import Integral, Real
from typing import TypeGuard

__all__ = ["is_number", "is_whole"]


def is_number(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a real number, of Python or NumPy; a bool is not meant as one.

    >>> is_number(2), is_number(True), is_number("2")
    (True, False, False)
    """
    return type(value) is not bool and isinstance(value, Real)


def is_whole(value: object, least: int = 0) -> TypeGuard[int]:
    """Whether ``value`` is a whole number of at least ``least``; a bool is not meant as one.

    >>> is_whole(3), is_whole(2.0), is_whole(0, least=1)
    (True, False, False)
    """
    return type(value) is not bool and isinstance(value, Integral) and int(value) >= least
