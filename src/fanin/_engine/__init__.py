"""The engines that draw: the compiled core where there is one, else NumPy. All give equal bits."""

import os
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias, final

import torch

from fanin._engine._distribution import Distribution, Parameters
from fanin._engine._native import LEVELS, Native, library_path
from fanin._engine._plain import Plain
from fanin._engine._region import Region
from fanin._errors import FaninError, nearest

__all__ = [
    "Distribution",
    "Engine",
    "EngineReport",
    "Native",
    "Parameters",
    "Plain",
    "Region",
    "describe",
    "engine",
    "levels",
]

Engine: TypeAlias = Native | Plain
VARIABLE = "FANIN_ENGINE"


@final
@dataclass(frozen=True, slots=True)
class EngineReport:
    """Which engine draws in this process, for ``fanin doctor``.

    ``instructions`` is the instruction level, ``threads`` the most a large draw uses, ``library``
    the compiled core (None when not in use) and ``why_not_native`` the reason it is not in use
    (None when it is).
    """

    name: str
    instructions: str
    threads: int
    library: str | None
    why_not_native: str | None


@cache
def engine() -> Engine:
    """The engine of this process: chosen once, by FANIN_ENGINE or by what loads.

    Raises FaninError where FANIN_ENGINE is not ``native`` or ``plain``, or asks for a compiled
    core that does not load.
    """
    return _choose(os.environ.get(VARIABLE))


def _choose(wanted: str | None) -> Engine:
    if wanted == "plain":
        return Plain()
    if wanted not in (None, "", "native"):
        raise FaninError(
            f"{VARIABLE} names no engine",
            where=f"the environment variable {VARIABLE}",
            found=wanted,
            fix=f"set it to {nearest(wanted, ('native', 'plain'))}, or unset it",
        )
    try:
        return Native()
    except OSError as error:
        if wanted != "native":
            return Plain()
        raise FaninError(
            "the compiled core of fanin does not load",
            where=f"{VARIABLE}=native",
            found=str(error),
            fix="install fanin again where a C compiler is on the PATH, or set it to plain",
        ) from None


def levels() -> tuple[str, ...]:
    """The instruction levels of the compiled core that this processor runs; none without it."""
    try:
        return LEVELS[: Native().level + 1]
    except OSError:
        return ()


def describe() -> EngineReport:
    """The engine of this process and why it is this one.

    >>> describe().name in ("native", "plain")
    True
    """
    chosen = engine()
    if isinstance(chosen, Native):
        return EngineReport(
            "native", chosen.instructions, torch.get_num_threads(), str(library_path()), None
        )
    return EngineReport("plain", "numpy", 1, None, _why_not_native())


def _why_not_native() -> str:
    if os.environ.get(VARIABLE) == "plain":
        return f"{VARIABLE}=plain"
    try:
        Native()
    except OSError as error:
        return str(error)
    return "the compiled core appeared after this process had chosen"
