"""The directory of a checkpoint: made where it is not, one process at a time, and no half file."""

import errno
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fanin._checkpoint._receipt import said_bytes
from fanin._errors import FaninError

__all__ = [
    "UNFINISHED",
    "begun",
    "opened",
    "require_place",
    "require_room",
    "room_in",
    "unwritten",
    "write_text",
]

UNFINISHED: Final = ".fanin-unfinished"
"""The directory beside the files, of fanin alone, where each is until it is complete."""
_GOES_ON: Final = "the same call then goes on from what is complete"
_CLOSED: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
_FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def begun(path: Path) -> Path:
    """Where a file is while it is not complete.

    >>> begun(Path("start/model.safetensors")).as_posix()
    'start/.fanin-unfinished/model.safetensors'
    """
    return path.parent / UNFINISHED / path.name


def require_place(directory: Path) -> None:
    """Raise FaninError where no directory can be."""
    for one in (directory, *directory.parents):
        if one.is_dir():
            return
        if one.exists() or one.is_symlink():
            raise FaninError(
                "this is no place for a checkpoint",
                where=str(directory),
                found=f"{one}, {'a file' if one.exists() else 'a link to nothing'}",
                fix="name a directory that is empty, or a new one",
            )


@contextmanager
def opened(directory: Path) -> Iterator[None]:
    """Inside, the directory is there, and nobody else writes a checkpoint into it.

    Afterwards nothing unfinished is in it. Where the call fails, and completed no file, directories
    that were made for it are gone again.

    Raises:
        FaninError: where it cannot be made, is a file, or another process writes there.
    """
    require_place(directory)
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    try:
        with room_in(directory):
            directory.mkdir(parents=True, exist_ok=True)
    except FaninError:
        _remove(missing)
        raise
    with _locked(directory):
        # What a process that was killed has left.
        _tidy(directory)
        try:
            yield
        except BaseException:
            _tidy(directory)
            _remove(missing)
            raise
        _tidy(directory)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with room_in(directory):
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


def _tidy(directory: Path) -> None:
    shutil.rmtree(directory / UNFINISHED, ignore_errors=True)


def _remove(directories: Sequence[Path]) -> None:
    """Those that are empty, the innermost first."""
    with suppress(OSError):
        for one in directories:
            one.rmdir()


def write_text(path: Path, text: str) -> None:
    """The file has this text when its bytes are on the disk, or is as it was."""
    beside = begun(path)
    beside.parent.mkdir(exist_ok=True)
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def require_room(directory: Path, size: int) -> None:
    """Raise FaninError where the disk cannot hold so many bytes more."""
    free = shutil.disk_usage(directory).free
    if size > free:
        raise FaninError(
            "there is not enough room for the checkpoint",
            where=str(directory),
            found=f"{said_bytes(free)} free, {said_bytes(size)} to write",
            fix="make room, or give a directory on another disk",
        )


@contextmanager
def room_in(path: Path) -> Iterator[None]:
    """An error of the system inside is raised as one of fanin's."""
    try:
        yield
    except OSError as error:
        raise unwritten(path, error) from error


def unwritten(path: Path, error: OSError) -> FaninError:
    """The error in four beats; its way out is that of what happened."""
    fix = f"mend it; {_GOES_ON}"
    if error.errno in _FULL:
        fix = f"make room, or give a directory on another disk; {_GOES_ON}"
    elif error.errno == errno.EFBIG:
        fix = f"allow larger files (ulimit -f), or smaller ones of safetensors; {_GOES_ON}"
    elif error.errno in _CLOSED:
        fix = "give a directory that can be written to"
    return FaninError(
        "the checkpoint could not be written",
        where=str(path),
        found=f"{type(error).__name__}: {error.strerror or error}",
        fix=fix,
    )
