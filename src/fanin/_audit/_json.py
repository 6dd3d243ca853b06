"""A report as JSON text and back, and as a file."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Final

from fanin._audit._limits import Limits
from fanin._audit._report import Report
from fanin._errors import FaninError
from fanin._records_json import Codec
from fanin._records_json import write_file as write_beside

__all__ = ["SCHEMA", "as_data", "from_data", "read", "read_file", "write", "write_file"]

SCHEMA: Final = 1
"""A report of another number is not read; a change of any record raises it."""
_CODEC: Final = Codec(Report, "report", "fanin audit", SCHEMA, again="audit again")


def as_data(report: Report) -> dict[str, object]:
    """The report as plain dictionaries, lists, texts and numbers, in the order of its fields.

    >>> as_data(Report(model="Net", batch="float32 2x3", mode="training mode"))["model"]
    'Net'
    """
    return _CODEC.as_data(report)


def write(report: Report, indent: int | None = None) -> str:
    """The JSON text of a report; without an indent a line for each place, parameter and finding."""
    return _CODEC.write(_in_floats(report), indent)


def _in_floats(report: Report) -> Report:
    """A caller's 1 as the 1.0 that it equals: equal reports are equal texts."""
    limits = {one.name: float(getattr(report.limits, one.name)) for one in fields(Limits)}
    return replace(report, learning_rate=float(report.learning_rate), limits=Limits(**limits))


def read(text: str) -> Report:
    """The report of a JSON text.

    Raises:
        FaninError: for text that is no report, of another schema, or with fields that are unknown.
    """
    return _CODEC.read(text)


def from_data(data: object) -> Report:
    """The report that `as_data` made ``data`` from; as `read`."""
    return _CODEC.from_data(data)


def read_file(path: Path) -> Report:
    """The report in a file; an error for one that is too long for a report, or no text."""
    return _CODEC.read_file(path)


def write_file(path: Path, text: str) -> None:
    """``text`` in the file, whole or not at all.

    Raises:
        FaninError: for a directory, or a file in one that is not there.
        OSError: where the machine would not write it, as on a full disk.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise FaninError(
            "the report cannot be saved here",
            where=str(path),
            found="a directory" if path.is_dir() else f"no directory {path.parent}",
            fix="name a file, in a directory that is there",
        )
    try:
        write_beside(path, text)
    except OSError as error:
        # It names the file beside it, of which nobody knows.
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
