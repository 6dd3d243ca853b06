"""Whether another device gives the CPU's bits: tried out before it draws."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias, final

import torch
from torch import Tensor

from fanin._engine._distribution import Distribution, Parameters
from fanin._engine._plain import Plain
from fanin._engine._region import Region
from fanin._engine._tensors import TensorOperations

__all__ = ["DeviceReport", "accelerators", "report_on", "trouble"]

FLOATS: Final = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
KEY: Final = bytes(range(16))
COUNT: Final = 1 << 13
"""Elements of a trial: two or three dozen of them lie in the tail of a normal."""

REGIONS: Final = (
    None,
    Region((1 << 40,), ((1 << 34) - COUNT,), (COUNT,), (3,)),
    Region((200, 1 << 33, 9), (1, (1 << 33) - 16, 3), (COUNT // 64, 16, 4), (1, 1, 1)),
)
"""The whole; both sides of a carry between counter words; short rows that start unevenly."""

Trial: TypeAlias = tuple[str, Distribution, Parameters]
BITS: Final[Trial] = ("bits", Distribution.BITS, (0.0, 0.0, 0.0, 0.0, 0, 0))
VALUES: Final[tuple[Trial, ...]] = (
    ("uniform", Distribution.UNIFORM, (2.0**-24, 0.1, -0.4, 0.6, 0, 0)),
    ("normal", Distribution.NORMAL, (0.7, 0.1, 0.0, 0.0, 0, 0)),
    ("truncated", Distribution.TRUNCATED, (1.0, 0.5, -1.5, 2.5, 97_711_653, 4_099_543_989)),
    ("overflow of float16", Distribution.NORMAL, (5e4, 0.0, 0.0, 0.0, 0, 0)),
    ("subnormals of float16", Distribution.NORMAL, (1e-6, 0.0, 0.0, 0.0, 0, 0)),
    ("subnormals of float32", Distribution.NORMAL, (1e-39, 0.0, 0.0, 0.0, 0, 0)),
)


@final
@dataclass(frozen=True, slots=True)
class DeviceReport:
    """What a device beside the CPU is able to draw, for ``fanin doctor``.

    ``draws`` are the dtypes in which a trial gave the CPU's bits; ``trouble`` is what happened in
    the first of the others, None where there is none.
    """

    name: str
    draws: tuple[str, ...]
    trouble: str | None


def accelerators() -> tuple[torch.device, ...]:
    """The devices of this process beside the CPU."""
    kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if kind is None:
        return ()
    count = torch.accelerator.device_count()
    return tuple(torch.device(kind.type, index) for index in range(count))


def report_on(device: torch.device) -> DeviceReport:
    """The trials of all float dtypes on ``device``.

    >>> report_on(torch.device("cpu")).draws
    ('float32', 'float64', 'bfloat16', 'float16')
    """
    found = {str(dtype).removeprefix("torch."): trouble(device, dtype) for dtype in FLOATS}
    draws = tuple(name for name, why in found.items() if why is None)
    first = next((f"{name}: {why}" for name, why in found.items() if why is not None), None)
    return DeviceReport(str(device), draws, first)


@cache
def trouble(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why ``device`` is not to draw tensors of ``dtype``; None where its bits are the CPU's.

    Tried once in a process. Whatever a device cannot do, or has no memory for, is a reason too.
    """
    try:
        return next(_differences(device, dtype), None)
    except Exception as error:  # noqa: BLE001 - a device is other people's code
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _differences(device: torch.device, dtype: torch.dtype) -> Iterator[str]:
    """The trials whose bits differ from those of the engine that defines them."""
    for what, distribution, parameters in VALUES if dtype.is_floating_point else (BITS,):
        for region in REGIONS:
            shape = (COUNT,) if region is None else region.shape
            there = torch.empty(shape, dtype=dtype, device=device)
            here = torch.empty(shape, dtype=dtype, device="cpu")
            TensorOperations().fill(there, region, KEY, 0, distribution, parameters)
            Plain().fill(here, region, KEY, 0, distribution, parameters)
            differing = int((_bits(there.cpu()) != _bits(here)).sum())
            if differing:
                yield f"{what}: {differing} of {COUNT} numbers differ from the CPU's"


def _bits(value: Tensor) -> Tensor:
    return value.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[value.element_size()])
