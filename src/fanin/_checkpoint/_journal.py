"""What a directory holds: the run that writes there, and which of its files are complete."""

import os
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, final

from fanin._checkpoint._directory import begun, room_in, write_text
from fanin._checkpoint._other import require_same
from fanin._checkpoint._receipt import CheckpointFile, CheckpointReceipt, said_bytes
from fanin._errors import FaninError
from fanin._records_json import Codec

__all__ = ["JOURNAL", "Journal", "read_journal", "refuse_others", "require_small", "write_small"]

JOURNAL: Final = "fanin-checkpoint.json"
_CODEC: Final = Codec(
    CheckpointReceipt, "checkpoint", "fanin-checkpoint", 1, "write the checkpoint anew"
)
_WEIGHTS: Final = (".safetensors", ".safetensors.index.json", ".bin", ".distcp", ".metadata")


def read_journal(
    directory: Path, fix: str = "give another directory, or delete this one"
) -> CheckpointReceipt | None:
    """What fanin wrote into the directory; None where it wrote nothing.

    Raises:
        FaninError: for a journal that cannot be read, with this ``fix``.
    """
    path = directory / JOURNAL
    if not path.exists():
        return None
    try:
        return _CODEC.read_file(path)
    except FaninError as error:
        raise FaninError(
            "it cannot be read what this directory holds",
            where=str(path),
            found=f"{error.what}: {error.found}",
            fix=fix,
        ) from None


@final
class Journal:
    """The journal of one run; a file is complete when it is in it, and has its own name.

    It is written with the first file that is complete, and only where it changes.
    """

    def __init__(self, directory: Path, run: CheckpointReceipt) -> None:
        self._directory, self.run = directory, run
        self._there: CheckpointReceipt | None = None

    def before(self) -> Mapping[str, CheckpointFile] | None:
        """The files that an earlier call has completed; None where there was none.

        Raises:
            FaninError: where that call wrote another checkpoint.
        """
        before = read_journal(self._directory)
        if before is None:
            return None
        require_same(before, self.run, self._directory)
        self._there = before
        return {file.name: file for file in before.files}

    def go_on(self, files: Iterable[CheckpointFile]) -> None:
        """These are complete, of those that the journal has."""
        self.run = replace(self._there or self.run, files=tuple(files))

    def add(self, file: CheckpointFile) -> None:
        """A file that was written where it is begun gets its own place."""
        path = self._directory / file.name
        self.keep(*sorted((*self.run.files, file), key=lambda one: one.name))
        with room_in(path):
            begun(path).rename(path)
            _sync(self._directory)

    def keep(self, *files: CheckpointFile) -> None:
        """These are complete."""
        self.go_on(files)
        if self.run == self._there:
            return
        path = self._directory / JOURNAL
        with room_in(path):
            write_text(path, _CODEC.write(self.run))
        self._there = self.run


def refuse_others(directory: Path, known: Collection[str]) -> None:
    """Raise FaninError for weights in the directory that are not among the ``known``."""
    for path in sorted(directory.iterdir()):
        if path.name.endswith(_WEIGHTS) and path.name not in known:
            raise FaninError(
                "there are weights in the directory, and nothing is overwritten",
                where=str(path),
                found=f"{said_bytes(path.stat().st_size)} that are not of this checkpoint",
                fix="give another directory, or move the file away",
            )


def require_small(path: Path, text: str) -> None:
    """Raise FaninError where the file is there with another text."""
    with room_in(path):
        if path.exists() and path.read_bytes() != text.encode():
            raise FaninError(
                "there is another file of this name, and nothing is overwritten",
                where=str(path),
                found=f"a file of {said_bytes(path.stat().st_size)} with another text",
                fix="give another directory, or move the file away",
            )


def write_small(path: Path, text: str) -> None:
    """The file has this text afterwards; as `require_small`."""
    require_small(path, text)
    with room_in(path):
        if not path.exists():
            write_text(path, text)


def _sync(directory: Path) -> None:
    """Names are in the directory, which the disk does not hold before this."""
    if sys.platform != "win32":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
