"""What a checkpoint is, and which of its files are complete: the journal, and the receipt."""

import json
from dataclasses import asdict, dataclass
from typing import Literal, final

from fanin._plan import Stamp

__all__ = ["CheckpointFile", "CheckpointFormat", "CheckpointReceipt", "said_bytes"]

CheckpointFormat = Literal["safetensors", "dcp"]


@final
@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """One complete file: its name, its size in bytes, and the stamps of its tensors."""

    name: str
    size: int
    tensors: tuple[Stamp, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class CheckpointReceipt:
    """What `fanin.write_checkpoint` wrote: equal receipts mean equal weights.

    ``plan`` is the plan's checksum, ``contents`` a digest of names, shapes, dtypes and of their
    order in files, ``kept`` of the numbers that are not drawn. ``size`` is that of all numbers, in
    bytes. ``files`` are those that are complete, with the CRC-32 of each tensor in them; those of
    the format ``dcp`` have none. ``dtype`` is what was asked for ("own": each parameter's own),
    ``shard_size`` in bytes; ``values`` are the stamps of what the model held and the plan keeps.
    Records of an older fanin have none of the three.

    >>> files = (CheckpointFile("model.safetensors", 880),)
    >>> print(CheckpointReceipt("a1b2c3d4e5f60718", 7, "safetensors", 3, 808, "", "", "", files))
    3 tensors, 808 bytes in 1 file (safetensors), seed 7, plan a1b2c3d4e5f60718
    """

    plan: str
    seed: int
    file_format: CheckpointFormat
    tensors: int
    size: int
    contents: str
    kept: str
    versions: str
    files: tuple[CheckpointFile, ...] = ()
    dtype: str = ""
    shard_size: int = 0
    values: tuple[Stamp, ...] = ()

    def to_json(self) -> str:
        """The receipt as JSON text."""
        return json.dumps(asdict(self), indent=1)

    def __str__(self) -> str:
        ending = "" if len(self.files) == 1 else "s"
        return (
            f"{self.tensors} tensors, {said_bytes(self.size)} in {len(self.files)} file{ending} "
            f"({self.file_format}), seed {self.seed}, plan {self.plan}"
        )


def said_bytes(size: int) -> str:
    """A number of bytes as one reads it.

    >>> said_bytes(808), said_bytes(2_500_000_000)
    ('808 bytes', '2.5 GB')
    """
    for unit, worth in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= worth:
            return f"{size / worth:.3g} {unit}"
    return f"{size} bytes"
