"""Which weights are to be calibrated, to what std, and why the others are not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Final, TypeAlias, final

from fanin._errors import FaninError
from fanin._numbers import is_number
from fanin._plan._entry import Entry
from fanin._site import Site
from fanin.recipes import Choice

__all__ = ["Target", "Wanted", "wanted"]

Target: TypeAlias = float | Callable[[Site], float | None] | None
"""A std, or a function of the site; None: what the plan's choices ask for."""

_LEFT_OUT: Final = {
    "embedding": "a row is looked up, so that what is drawn is the output",
    "recurrent": "its output is its own input at the next step",
    "projection": "its output is its own input at the next step",
}
"""Roles that only a choice or a function of the site calibrates."""


@final
@dataclass(frozen=True, slots=True)
class Wanted:
    """The std that an output is to have; None where it is only measured, with the reason."""

    std: float | None
    why_not: str = ""


def wanted(entries: Sequence[Entry], target: Target) -> dict[str, Wanted]:
    """What is wanted of each drawn weight, by name; what has no fans does not appear.

    A writer's share of a residual stream is the target divided by sqrt(writers): together they add
    its square to the stream's variance.

    Raises:
        FaninError: for a target that is not a positive number.
    """
    drawn = [entry for entry in entries if entry.state == "filled" and _has_output(entry)]
    if callable(target):
        return {entry.name: _by_function(entry.site, target) for entry in drawn}
    if target is None and any(_asked(entry) is not None for entry in drawn):
        return {entry.name: _by_choice(entry) for entry in drawn}
    std = 1.0 if target is None else _checked(target, "target")
    return {entry.name: _by_rule(entry.site, std) for entry in drawn}


def _has_output(entry: Entry) -> bool:
    layout = entry.site.layout
    if layout is None:
        # Where the axes are not known, a product still has a std as a whole.
        return _asked(entry) is not None
    return layout.has_fans


def _asked(entry: Entry) -> float | None:
    return entry.decision.target_std if isinstance(entry.decision, Choice) else None


def _by_function(site: Site, target: Callable[[Site], float | None]) -> Wanted:
    found = target(site)
    if found is None:
        return Wanted(None, "the target function leaves it out")
    return Wanted(_checked(found, f"target({site.name})"))


def _by_choice(entry: Entry) -> Wanted:
    asked = _asked(entry)
    return Wanted(asked, "" if asked else "the plan asks for no std here")


def _by_rule(site: Site, std: float) -> Wanted:
    if site.role in _LEFT_OUT:
        return Wanted(None, _LEFT_OUT[site.role])
    if site.role == "residual_out" and site.residual is not None:
        return Wanted(std / sqrt(site.residual.count))
    return Wanted(std)


def _checked(value: object, where: str) -> float:
    if is_number(value) and 0 < value < inf:
        return float(value)
    raise FaninError(
        "the target is not a positive number",
        where=f"plan.calibrate, {where}",
        found=repr(value)[:80],
        fix="give a std such as 1.0, or a function from a Site to a std or None",
    )
