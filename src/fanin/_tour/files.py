"""Files that appear whole under their final names, or not at all."""

import os
from collections.abc import Callable
from errno import EACCES
from pathlib import Path

from fanin._errors import FaninError

__all__ = ["make_directory", "write_whole"]


def make_directory(path: Path) -> None:
    """Make the directory, or find it there.

    Raises:
        FaninError: where it cannot be made, or not be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(EACCES, "Permission denied")
    except OSError as error:
        raise FaninError(
            "the directory for the results cannot be made or written",
            where="fanin tour --out",
            found=f"{path}: {error.strerror}",
            fix="give --out a directory that can be written",
        ) from None


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a file beside ``path``, then give it its name; an old one is replaced."""
    unfinished = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
