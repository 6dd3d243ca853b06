"""The four ways to turn a word into a number; the codes are those of the C core."""

from enum import IntEnum
from typing import TypeAlias, final

__all__ = ["Distribution", "Parameters"]

# scale, shift, lowest and highest value, first word and number of words; unused ones are zero.
Parameters: TypeAlias = tuple[float, float, float, float, int, int]


@final
class Distribution(IntEnum):
    """What a word becomes."""

    BITS = 0
    UNIFORM = 1
    NORMAL = 2
    TRUNCATED = 3
