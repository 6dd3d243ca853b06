"""A report as JSON text and back, and as a file."""

from pathlib import Path
from typing import Final

from fanin._audit._report import Report
from fanin._records_json import Codec, write_file

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
    return _CODEC.write(report, indent)


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
