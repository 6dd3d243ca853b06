"""A named run of outputs that is a matrix of its own."""

from dataclasses import dataclass
from typing import final

from fanin._errors import FaninError

__all__ = ["Block"]


@final
@dataclass(frozen=True, slots=True)
class Block:
    """``size`` consecutive outputs that are a matrix of their own: a gate, a head, half a GLU.

    >>> Block("forget", 128)
    Block(name='forget', size=128)
    """

    name: str
    size: int

    def __post_init__(self) -> None:
        if type(self.size) is not int or self.size < 1:
            raise FaninError(
                "a block has no outputs",
                where=repr(self),
                found=f"size {self.size!r}",
                fix="give every block a size of at least 1, as an int",
            )
