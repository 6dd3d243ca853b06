"""``fanin doctor``: what is installed, which engine draws, whether it draws the right numbers."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import torch

from fanin._engine import DeviceReport, EngineReport, describe, devices
from fanin._stream import Stream, fill_bits
from fanin._text import plain
from fanin._version import __version__

__all__ = ["doctor"]

OPTIONAL: Final = ("matplotlib",)

GOLDEN_WORDS: Final = (0x4CF27738, 0x3DABD88C, 0x0D7FD5BB, 0xA19B6DC9)
"""The first words of the stream of seed 0 and name "weight", as docs/reference/stream.md says."""


def doctor() -> bool:
    """Print the report; returns whether the random numbers drawn here are the documented ones.

    Raises:
        FaninError: where the environment asks for an engine that cannot be had.
    """
    healthy = words() == GOLDEN_WORDS
    rows = [
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *((name, _installed(name)) for name in ("torch", "numpy")),
        ("fanin", __version__),
        *_engine_rows(describe()),
        ("torch threads", str(torch.get_num_threads())),
        *_device_rows(devices(), describe().name),
        *((name, _installed(name)) for name in OPTIONAL),
        ("self-check", _verdict(healthy=healthy)),
    ]
    for name, value in rows:
        print(plain(f"{name:<14} {value}", sys.stdout.encoding or "utf-8"))  # noqa: T201
    return healthy


def words() -> tuple[int, ...]:
    """The first words of the stream of seed 0 and name "weight", drawn now.

    >>> words() == GOLDEN_WORDS
    True
    """
    out = torch.empty(len(GOLDEN_WORDS), dtype=torch.int32)
    fill_bits(out, Stream(0, "weight"))
    return tuple(word & 0xFFFFFFFF for word in out.tolist())


def _engine_rows(report: EngineReport) -> list[tuple[str, str]]:
    rows = [
        ("engine", f"{report.name} ({report.instructions}), up to {_count(report.threads)}"),
    ]
    if report.library:
        rows.append(("library", report.library))
    if report.why_not_native:
        rows.append(("not native", report.why_not_native))
    return rows


def _device_rows(reports: tuple[DeviceReport, ...], engine: str) -> list[tuple[str, str]]:
    """What is drawn on devices beside the CPU, and what would be."""
    rows = []
    for report in reports:
        names = ", ".join(report.draws)
        said = ["drawn on the CPU and copied"]
        if report.draws and engine == "tensors":
            said = [f"draws {names}; other dtypes are copied"]
        elif report.draws:
            said.append(f"FANIN_ENGINE=tensors would draw {names} there")
        if report.trouble:
            said.append(f"not there: {report.trouble}")
        rows.append((report.name, "; ".join(said)))
    return rows or [("other devices", "none")]


def _count(threads: int) -> str:
    return f"{threads} thread{'s' if threads != 1 else ''}"


_NO_PICTURES = ": no pictures, see pip install 'fanin[plot]'"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed" + (_NO_PICTURES if package == "matplotlib" else "")


def _verdict(*, healthy: bool) -> str:
    if healthy:
        return "ok: the random numbers are the documented ones"
    return "FAILED: the random numbers are not the documented ones; please report this"
