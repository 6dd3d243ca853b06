"""What a directory holds: the run that writes there, and which of its files are complete."""

import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, final

from fanin._checkpoint._receipt import CheckpointFile, CheckpointReceipt, said_bytes
from fanin._checkpoint._shard import begun, room_in
from fanin._errors import FaninError
from fanin._records_json import Codec, write_file

__all__ = ["JOURNAL", "Journal", "locked", "refuse_others", "require_place", "write_small"]

JOURNAL: Final = "fanin-checkpoint.json"
_CODEC: Final = Codec(
    CheckpointReceipt, "checkpoint", "fanin-checkpoint", 1, "write the checkpoint anew"
)
_WEIGHTS: Final = (".safetensors", ".safetensors.index.json", ".bin", ".distcp", ".metadata")
_SAID: Final = {
    "plan": "the plan",
    "seed": "the seed",
    "file_format": "the format",
    "contents": "the names, shapes, dtypes or sizes of files",
    "kept": "what is kept",
    "versions": "the versions",
}


def require_place(directory: Path) -> None:
    """Raise FaninError where no directory can be."""
    if not directory.parent.is_dir() or (directory.exists() and not directory.is_dir()):
        raise FaninError(
            "this is no place for a checkpoint",
            where=str(directory),
            found="a file" if directory.exists() else f"no directory {directory.parent}",
            fix="name a directory that is empty, or a new one in a directory that exists",
        )


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Inside, the directory is there, and nobody else writes a checkpoint into it.

    Raises:
        FaninError: where it cannot be made, is a file, or another process writes there.
    """
    require_place(directory)
    with room_in(directory):
        directory.mkdir(exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FaninError(
                "another process writes a checkpoint here",
                where=str(directory),
                found="a lock on the directory",
                fix="wait for it, or give another directory; one process writes a checkpoint",
            ) from None
        yield
    finally:
        os.close(handle)  # which also opens the lock


@final
class Journal:
    """The journal of one run; a file is complete when it is in it, and has its own name."""

    def __init__(self, directory: Path, run: CheckpointReceipt) -> None:
        self._directory, self.run = directory, run

    def before(self) -> Mapping[str, CheckpointFile] | None:
        """The files that an earlier call has completed; None where there was none.

        Raises:
            FaninError: where that call wrote another checkpoint.
        """
        path = self._directory / JOURNAL
        if not path.exists():
            return None
        try:
            before = _CODEC.read_file(path)
        except FaninError as error:
            raise FaninError(
                "it cannot be read what this directory holds",
                where=str(path),
                found=f"{error.what}: {error.found}",
                fix="give another directory, or delete this one",
            ) from None
        _require_same(before, self.run, self._directory)
        return {file.name: file for file in before.files}

    def add(self, file: CheckpointFile) -> None:
        """A file that was written under its unfinished name gets its own."""
        path = self._directory / file.name
        try:
            self.keep(*self.run.files, file)
            with room_in(path):
                begun(path).rename(path)
                _sync(self._directory)
        finally:
            begun(path).unlink(missing_ok=True)

    def keep(self, *files: CheckpointFile) -> None:
        """These are complete."""
        self.run = replace(self.run, files=files)
        path = self._directory / JOURNAL
        with room_in(path):
            write_file(path, _CODEC.write(self.run))


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


def _require_same(before: CheckpointReceipt, run: CheckpointReceipt, directory: Path) -> None:
    for name, said in _SAID.items():
        was, now = getattr(before, name), getattr(run, name)
        if was != now:
            raise FaninError(
                "another checkpoint was begun in this directory",
                where=str(directory),
                found=f"{said}: {was!r} there, {now!r} here",
                fix="give another directory, or delete this one; to go on with what is there, "
                "give the same plan, seed, dtype and size of files",
            )


def write_small(path: Path, text: str) -> None:
    """The file has this text afterwards.

    Raises:
        FaninError: where it has another one.
    """
    with room_in(path):
        if not path.exists():
            write_file(path, text)
        elif path.read_text(encoding="utf-8") != text:
            raise FaninError(
                "there is another file of this name, and nothing is overwritten",
                where=str(path),
                found=f"a file of {said_bytes(path.stat().st_size)} with another text",
                fix="give another directory, or move the file away",
            )


def _sync(directory: Path) -> None:
    """Names are in the directory, which the disk does not hold before this."""
    if sys.platform != "win32":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
