"""One file of a checkpoint: each part is drawn while the one before is written."""

import os
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import BinaryIO, Final, Self, TypeAlias, final

import torch
from torch import Tensor

from fanin._checkpoint._check import Check
from fanin._checkpoint._directory import begun, room_in
from fanin._checkpoint._format import header_of
from fanin._checkpoint._items import Item
from fanin._checkpoint._receipt import CheckpointFile
from fanin._checkpoint._sources import Drawn, Through
from fanin._plan import Stamp
from fanin._plan._draw._measure import bytes_of

__all__ = ["Report", "is_intact", "stamped", "write_shard"]

_BUFFER: Final = 1 << 23
"""Bytes of a part."""
_BUFFERS: Final = 4
"""Parts in memory at a time: a disk takes them with pauses."""
_WAITING: Final = 1 << 26
"""Bytes that are written before the system is asked to bring them to the disk."""

Report: TypeAlias = Callable[[int], None]
"""Takes a number of bytes that are done."""


def write_shard(
    path: Path, items: Sequence[Item], *, comparisons: int, report: Report
) -> CheckpointFile:
    """Write the file where it is begun; nothing is left of one that fails.

    Raises:
        FaninError: where it cannot be written, and for numbers that are not as planned.
    """
    unfinished = begun(path)
    with room_in(path), torch.no_grad():
        try:
            unfinished.parent.mkdir(exist_ok=True)
            with unfinished.open("wb") as file, _Pipe(file, report) as pipe:
                file.write(header_of(items))
                for item in items:
                    pipe.write(item, Check(item, comparisons))
                pipe.finish()
                size = file.tell()
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    return CheckpointFile(path.name, size, stamped(items, pipe.checksums))


def stamped(items: Sequence[Item], checksums: dict[str, int]) -> tuple[Stamp, ...]:
    """A stamp for each tensor; ``checksums`` are CRC-32."""
    return tuple(
        Stamp(
            item.name,
            "filled" if isinstance(item.source, (Drawn, Through)) else "kept",
            f"{checksums.get(item.name, 0):08x}",
        )
        for item in items
    )


@final
class _Pipe:
    """Draws into one buffer while a thread writes what is in the others.

    Another thread asks the system to bring to the disk what is written: by itself it begins only
    when gigabytes wait, and the disk would rest until then.
    """

    def __init__(self, file: BinaryIO, report: Report) -> None:
        self._file, self._report = file, report
        self._writer, self._syncer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._buffers = [torch.empty(_BUFFER, dtype=torch.uint8) for _ in range(_BUFFERS)]
        self._pending: deque[Future[None]] = deque()
        self._synced: Future[None] | None = None
        self._waiting = 0
        self.checksums: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown()
        self._syncer.shutdown()

    def write(self, item: Item, check: Check) -> None:
        """All parts of one tensor."""
        for region in item.source.regions(item.shape, _BUFFER // item.dtype.itemsize):
            out = self._memory(region.count, item.dtype)
            item.source.take(region, out)
            check.add(out, region)
            self._pending.append(self._writer.submit(self._put, item.name, out))
        check.finish()

    def _memory(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory that is written already: the next buffer, or for a large part its own."""
        size = prod(shape) * dtype.itemsize
        is_large = size > _BUFFER
        self._wait(but=0 if is_large else _BUFFERS - 1)
        if is_large:
            return torch.empty(shape, dtype=dtype)
        self._buffers.append(self._buffers.pop(0))
        return self._buffers[-1][:size].view(dtype).view(shape)

    def _put(self, name: str, part: Tensor) -> None:
        data, size = bytes_of(part), part.nbytes
        self.checksums[name] = zlib.crc32(data, self.checksums.get(name, 0))
        self._file.write(data)
        self._waiting += size
        if self._waiting >= _WAITING and (self._synced is None or self._synced.done()):
            self._sync()
        self._report(size)

    def _sync(self) -> Future[None]:
        if self._synced is not None:
            self._synced.result()
        self._waiting = 0
        self._synced = self._syncer.submit(os.fsync, self._file.fileno())
        return self._synced

    def _wait(self, *, but: int) -> None:
        """Until what was drawn is written, but for the last so many parts."""
        while len(self._pending) > but:
            self._pending.popleft().result()

    def finish(self) -> None:
        """Until all is on the disk."""
        self._wait(but=0)
        self._file.flush()
        self._sync().result()


def is_intact(path: Path, said: CheckpointFile, items: Sequence[Item], report: Report) -> bool:
    """Whether the file holds what was written, byte for byte; ``items`` as they lie in it."""
    header = header_of(items)
    with path.open("rb") as file:
        if path.stat().st_size != said.size or file.read(len(header)) != header:
            return False
        checksums = {item.name: _checksum(file, item.size, report) for item in items}
    return stamped(items, checksums) == said.tensors


def _checksum(file: BinaryIO, size: int, report: Report) -> int:
    found = 0
    while size:
        block = file.read(min(size, _BUFFER))
        if not block:
            break
        found = zlib.crc32(block, found)
        size -= len(block)
        report(len(block))
    return found
