"""The C core, through ctypes: the same bits as the definition, at the speed of the machine."""

import ctypes
import struct
from pathlib import Path
from typing import Final, final

import torch

from fanin._engine._distribution import Distribution, Parameters
from fanin._engine._region import Region

__all__ = ["LEVELS", "Native", "library_path"]

# The instruction levels of the core, slowest first; off x86 only the first exists.
LEVELS: Final = ("baseline", "avx2", "avx512")
# The codes of core.c.
DTYPES: Final = {
    torch.int32: 0,
    torch.float32: 1,
    torch.float64: 2,
    torch.bfloat16: 3,
    torch.float16: 4,
}
# The struct of core.c: out, from, to, count, the parameters, key, substream, and how.
REQUEST: Final = struct.Struct("@P3Q4dIQ16sI5i")
# A thread with fewer elements than this costs more than it saves.
PER_THREAD: Final = 1 << 18
# A call into the core cannot be interrupted: at most a second or so on one slow core.
UNINTERRUPTED: Final = 1 << 27


def library_path() -> Path:
    """Where the build puts the compiled core."""
    return Path(__file__).with_name("libcore.so")


def _pack(region: Region) -> tuple[int, bytes]:
    """How many axes are left after joining those that are one run; and base, sizes, strides."""
    base, joined = region.runs()
    numbers = [base, *(number for axis in joined for number in axis)]
    return len(joined), struct.pack(f"={len(numbers)}Q", *numbers)


@final
class Native:
    """Fills tensors by the compiled core at one instruction level (None: the best there is).

    Raises OSError where the library is missing or does not load.
    """

    name = "native"

    def __init__(self, level: str | None = None) -> None:
        path = str(library_path())
        library = ctypes.CDLL(path)
        if getattr(library, "fanin_request_size", int)() != REQUEST.size:
            raise OSError(f"{path}: compiled for another version of fanin")
        best = library.fanin_level()
        self.level = best if level is None else LEVELS.index(level)
        if self.level > best:
            raise OSError(f"this processor has no {level}")
        self._fill = library.fanin_fill
        self._fill.restype = None
        self._fill.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        self._beyond = library.fanin_beyond
        self._beyond.restype = ctypes.c_uint32
        self._beyond.argtypes = [ctypes.c_double, ctypes.c_int]

    @property
    def instructions(self) -> str:
        """The instruction level in use."""
        return LEVELS[self.level]

    def interval(self, low: float, high: float) -> tuple[int, int]:
        """How many words, from the bottom, have z < low; and from the top, z > high."""
        return self._beyond(low, 1), self._beyond(high, -1)

    def fill(
        self,
        out: torch.Tensor,
        region: Region | None,
        key: bytes,
        substream: int,
        distribution: Distribution,
        parameters: Parameters,
    ) -> None:
        """Write the numbers of ``region`` (None: the whole) into contiguous ``out``."""
        count = out.numel()
        axes, packed = (0, None) if region is None else _pack(region)
        threads = 1 if count < 2 * PER_THREAD else min(torch.get_num_threads(), count // PER_THREAD)
        how = distribution, DTYPES[out.dtype], self.level, threads, axes
        for begin in range(0, count, UNINTERRUPTED):
            end = min(begin + UNINTERRUPTED, count)
            place = out.data_ptr(), begin, end, count
            self._fill(REQUEST.pack(*place, *parameters, key, substream, *how), packed)
