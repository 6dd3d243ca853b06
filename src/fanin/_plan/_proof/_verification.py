"""Whether a model holds the planned start: what was found for each tensor."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, final

from fanin._errors import FaninError
from fanin._records_json import Codec
from fanin._text import number, paragraph, table

__all__ = ["Comparison", "Verification", "VerifiedState"]

VerifiedState = Literal["equal", "different", "missing", "not compared", "not drawn", "elsewhere"]
_NOT_WRONG: Final = ("equal", "not drawn", "elsewhere")
_SHOWN: Final = 12
_WIDTH: Final = 100


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """One tensor held against its draw.

    ``differing`` of ``elements`` differ, at most by ``largest``; the ``first`` in row-major order,
    an index into the whole tensor, holds ``found`` and not ``planned``. ``tolerance``: 0 where the
    bits are compared. ``why`` says why there was nothing to compare.
    """

    name: str
    state: VerifiedState
    elements: int = 0
    differing: int = 0
    largest: float = 0.0
    first: tuple[int, ...] = ()
    found: float | None = None
    planned: float | None = None
    tolerance: float = 0.0
    why: str = ""


@final
@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a model, as far as this process holds it, is the draw of a plan for a seed.

    ``checked`` says what was looked at, ``plan`` is the plan's checksum, ``unexpected`` lists names
    of a checkpoint that the plan does not have, ``cause`` is a guess at what happened where
    something differs. What the plan keeps is ``not drawn``: nothing is said of it.
    What is drawn and of which this process holds nothing is ``elsewhere``.

    >>> fc = Comparison("fc.weight", "equal", 6)
    >>> print(Verification(0, "a1b2c3d4e5f60718", "Net", (fc,)))
    Net holds the planned start: 1 equal (seed 0, plan a1b2c3d4e5f60718)
    """

    seed: int
    plan: str
    checked: str
    tensors: tuple[Comparison, ...]
    unexpected: tuple[str, ...] = ()
    cause: str = ""

    @property
    def ok(self) -> bool:
        """Whether all that is drawn and is here was compared, and is equal."""
        return not self.different and not self.unexpected

    @property
    def different(self) -> tuple[Comparison, ...]:
        """What is different, missing or was not compared."""
        return tuple(one for one in self.tensors if one.state not in _NOT_WRONG)

    @property
    def not_drawn(self) -> tuple[str, ...]:
        """The names of what the plan keeps, of which nothing is said."""
        return tuple(one.name for one in self.tensors if one.state == "not drawn")

    def raise_if_different(self) -> None:
        """Raise FaninError that names what differs; nothing where all is as planned."""
        if self.ok:
            return
        lines = [_said(one) for one in self.different]
        lines += [f"{name}: not in the plan" for name in self.unexpected]
        more = f"; and {len(lines) - _SHOWN} more" if lines[_SHOWN:] else ""
        raise FaninError(
            "the model does not hold the planned start",
            where=f"{self.checked}, seed {self.seed}, plan {self.plan}",
            found="; ".join(lines[:_SHOWN]) + more,
            fix=self.cause
            or "apply the plan again, or verify with the plan and seed of this start",
        )

    def to_json(self, *, indent: int | None = None) -> str:
        """The record as JSON text; a number that is not finite is a text there."""
        return _CODEC.write(self, indent)

    def __str__(self) -> str:
        states = [one.state for one in self.tensors]
        counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states))]
        if self.unexpected:
            counts.append(f"{len(self.unexpected)} not in the plan")
        verdict = "holds the planned start" if self.ok else "does NOT hold the planned start"
        if self.ok and "equal" not in states:
            verdict = "holds nothing of the planned start"
        of = f"(seed {self.seed}, plan {self.plan})"
        said = f": {', '.join(counts)}" if counts else ""
        head = f"{self.checked} {verdict}{said} {of}"
        return "\n".join([head, *self._details()])

    def _details(self) -> Iterator[str]:
        if self.different:
            yield ""
            yield table(
                ["tensor", "differ", "of", "at most by", "first"],
                [_row(one) for one in self.different[:_SHOWN]],
                left=(0, 4),
                width=_WIDTH,
            )
            if self.different[_SHOWN:]:
                yield f"and {len(self.different) - _SHOWN} more"
        if self.unexpected:
            more = f" and {len(self.unexpected) - _SHOWN} more" if self.unexpected[_SHOWN:] else ""
            yield "\n" + paragraph(f"not in the plan: {', '.join(self.unexpected[:_SHOWN])}{more}")
        if self.cause:
            yield "\n" + paragraph(f"likely: {self.cause}", width=_WIDTH)


def _row(one: Comparison) -> list[str]:
    if one.state != "different" or one.why:
        return [one.name, "", "", "", one.why or one.state]
    counts = [f"{one.differing:,}", f"{one.elements:,}", number(one.largest)]
    return [one.name, *counts, _first(one)]


def _first(one: Comparison) -> str:
    if one.found is None or one.planned is None:
        return f"{list(one.first)}"
    return f"{list(one.first)}: {one.found:.9g}, planned {one.planned:.9g}"


def _said(one: Comparison) -> str:
    if one.state != "different" or one.why:
        return f"{one.name}: {one.why or one.state}"
    return f"{one.name}: {one.differing:,} of {one.elements:,} differ, first {_first(one)}"


_CODEC: Final = Codec(Verification, "verification", "fanin verification", 1, "verify again")
