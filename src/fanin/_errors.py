"""The one exception of fanin, and the sentence every error is made of."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import final

__all__ = ["FaninError", "nearest"]


@final
class FaninError(ValueError):
    """What failed, where, what was found, and the way out: four beats, one line each.

    A call that raises it has left the model and every tensor as they were.

    >>> print(FaninError("std is negative", where="Normal(-1)", found="-1", fix="give std >= 0"))
    std is negative
      where: Normal(-1)
      found: -1
      fix:   give std >= 0
    """

    def __init__(self, what: str, *, where: str, found: object, fix: str) -> None:
        self.what = what
        self.where = where
        self.found = str(found)
        self.fix = fix
        super().__init__(
            f"{what}\n  where: {where}\n  found: {self.found}\n  fix:   {fix}",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.what, self.where, self.found, self.fix)


# Tracebacks then name it as users import it.
FaninError.__module__ = "fanin"


def _rebuild(what: str, where: str, found: str, fix: str) -> FaninError:
    return FaninError(what, where=where, found=found, fix=fix)


_MOST = 20
"""How many names are listed where none is close."""
_FEW = 6
"""So many are listed always, the closest first."""


def nearest(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """The known names closest to ``name``, ready to be put in an error's way out.

    >>> nearest("xavier_unifrom", ["xavier_uniform", "zeros", "xavier_normal"])
    'xavier_uniform, xavier_normal, zeros'
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=most, cutoff=0.6)
    if len(names) <= _FEW:
        close += [other for other in names if other not in close]
    close = close or names[:_MOST]
    more = len(names) - _MOST if len(close) == _MOST else 0
    return ", ".join(close) + (f" and {more} more" if more else "")
