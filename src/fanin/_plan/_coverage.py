"""Was everything decided? A small value for tests and CI."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from fanin._errors import FaninError
from fanin._plan._entry import Entry

__all__ = ["Coverage", "coverage_of", "incomplete", "refuse_unclaimed"]

_SHOWN = 5


@final
@dataclass(frozen=True, slots=True)
class Coverage:
    """Which tensors are filled, kept, and claimed by nobody; ``ok`` where there are none of these.

    >>> print(Coverage(filled=("fc.weight",), kept=("bn.running_mean",), unclaimed=("cls",)))
    3 tensors: 1 filled, 1 kept, 1 UNCLAIMED (cls)
    """

    filled: tuple[str, ...]
    kept: tuple[str, ...]
    unclaimed: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every parameter and buffer is filled or kept."""
        return not self.unclaimed

    def raise_if_incomplete(self) -> None:
        """Raise FaninError that names the unclaimed tensors; nothing where all are claimed."""
        if not self.ok:
            raise incomplete(self.unclaimed)

    def __str__(self) -> str:
        total = len(self.filled) + len(self.kept) + len(self.unclaimed)
        text = f"{total} tensors: {len(self.filled)} filled, {len(self.kept)} kept, "
        if self.ok:
            return text + "0 unclaimed"
        return text + f"{len(self.unclaimed)} UNCLAIMED ({_listed(self.unclaimed)})"


def coverage_of(entries: Sequence[Entry]) -> Coverage:
    """The names of ``entries`` by their state."""
    names: dict[str, list[str]] = {"filled": [], "kept": [], "unclaimed": []}
    for entry in entries:
        names[entry.state].append(entry.name)
    return Coverage(tuple(names["filled"]), tuple(names["kept"]), tuple(names["unclaimed"]))


def refuse_unclaimed(entries: Sequence[Entry], *, allow_unclaimed: bool) -> None:
    """Raise FaninError where an entry is unclaimed, unless that is allowed."""
    if not allow_unclaimed:
        coverage_of(entries).raise_if_incomplete()


def incomplete(names: Sequence[str], *, may_allow: bool = True) -> FaninError:
    """The error for unclaimed tensors; ``may_allow``: the call has ``allow_unclaimed=``."""
    instead = ", or allow_unclaimed=True" if may_allow else ""
    return FaninError(
        "nobody says how these parameters start",
        where=f"{len(names)} unclaimed",
        found=_listed(names),
        fix=f'plan.replace({{name: initializer, other: Keep("why")}}){instead}',
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
