"""The engines that draw: the compiled core where there is one, else NumPy. All give equal bits.

A third draws by operations of torch, on whatever device a tensor is, where it is asked for.
"""

import os
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias, final

import torch

from fanin._engine._devices import DeviceReport, accelerators, report_on, trouble
from fanin._engine._distribution import Distribution, Parameters
from fanin._engine._native import LEVELS, Native, library_path
from fanin._engine._plain import Plain
from fanin._engine._region import Region
from fanin._engine._tensors import TensorOperations
from fanin._errors import FaninError, nearest

__all__ = [
    "DeviceReport",
    "Distribution",
    "Engine",
    "EngineReport",
    "Native",
    "Parameters",
    "Plain",
    "Region",
    "TensorOperations",
    "describe",
    "devices",
    "draws_on",
    "engine",
    "levels",
]

Engine: TypeAlias = Native | Plain | TensorOperations
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

    Raises FaninError where FANIN_ENGINE is not ``native``, ``plain`` or ``tensors``, or asks for a
    compiled core that does not load.
    """
    return _choose(os.environ.get(VARIABLE))


def _choose(wanted: str | None) -> Engine:
    if wanted == "plain":
        return Plain()
    if wanted == "tensors":
        return TensorOperations()
    if wanted not in (None, "", "native"):
        raise FaninError(
            f"{VARIABLE} names no engine",
            where=f"the environment variable {VARIABLE}",
            found=wanted,
            fix=f"set it to {nearest(wanted, ('native', 'plain', 'tensors'))}, or unset it",
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


def draws_on(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether tensors of ``dtype`` on ``device`` are drawn there; else on the CPU, and copied.

    Other devices than the CPU draw only with FANIN_ENGINE=tensors, and once they were seen to give
    the CPU's bits.

    >>> draws_on(torch.device("cpu"), torch.float32), draws_on(torch.device("meta"), torch.float32)
    (True, False)
    """
    if device.type == "cpu":
        return True
    return isinstance(engine(), TensorOperations) and trouble(device, dtype) is None


def devices() -> tuple[DeviceReport, ...]:
    """What each device beside the CPU is able to draw, tried out now."""
    return tuple(map(report_on, accelerators()))


def levels() -> tuple[str, ...]:
    """The instruction levels of the compiled core that this processor runs; none without it."""
    try:
        return LEVELS[: Native().level + 1]
    except OSError:
        return ()


def describe() -> EngineReport:
    """The engine of this process and why it is this one.

    >>> describe().name in ("native", "plain", "tensors")
    True
    """
    chosen = engine()
    if isinstance(chosen, Native):
        return EngineReport(
            "native", chosen.instructions, torch.get_num_threads(), str(library_path()), None
        )
    if isinstance(chosen, TensorOperations):
        threads = torch.get_num_threads()
        return EngineReport("tensors", "torch operations", threads, None, _why_not_native())
    return EngineReport("plain", "numpy", 1, None, _why_not_native())


def _why_not_native() -> str:
    wanted = os.environ.get(VARIABLE)
    if wanted in ("plain", "tensors"):
        return f"{VARIABLE}={wanted}"
    try:
        Native()
    except OSError as error:
        return str(error)
    return "the compiled core appeared after this process had chosen"
