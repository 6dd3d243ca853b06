"""Records as JSON text and back. What is read is data: nothing in it is imported, called or run.

A record is a dataclass of texts, numbers, truth values, tuples and records. JSON has no word for
what is not finite: in the place of a number it is the text "nan", "inf" or "-inf". Fields that are
None or empty are left out.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from math import inf, isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Any,
    Final,
    Generic,
    Literal,
    TypeVar,
    Union,
    cast,
    final,
    get_args,
    get_origin,
    get_type_hints,
)

from fanin._errors import FaninError, nearest
from fanin._version import __version__

__all__ = ["Codec", "write_file"]

Kind = TypeVar("Kind")

_FRAME: Final = ("format", "schema", "fanin")
_LONGEST: Final = 1 << 28
"""Characters; a report of 100,000 operations takes a fifth of this."""
_LARGEST: Final = 1 << 64
"""No whole number in a record is larger, nor a seed as large."""
_WORDS: Final = {"nan": float("nan"), "inf": inf, "-inf": -inf}


@final
@dataclass(frozen=True, slots=True)
class Codec(Generic[Kind]):
    """One kind of saved record: its name in the text, and the number of its schema.

    A text of another number is not read; a change of any record in it raises the number. ``noun``
    is what errors call it, ``again`` how it is made anew.
    """

    kind: type[Kind]
    noun: str
    format: str
    schema: int
    again: str

    def as_data(self, record: Kind) -> dict[str, object]:
        """The record as dictionaries, lists, texts and numbers, in the order of its fields."""
        frame = {"format": self.format, "schema": self.schema, "fanin": __version__}
        return {**frame, **cast("dict[str, object]", _plain(record))}

    def write(self, record: Kind, indent: int | None = None) -> str:
        """JSON text; without an indent a line for each record in a list of the outermost."""
        data = self.as_data(record)
        if indent is not None:
            return json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
        pieces = [f" {json.dumps(name)}: {_lines(value)}" for name, value in data.items()]
        return "{\n" + ",\n".join(pieces) + "\n}\n"

    def read(self, text: str) -> Kind:
        """The record of a JSON text.

        Raises:
            FaninError: for other text, another schema, or fields that are unknown.
        """
        try:
            return self.from_data(_parsed(text))
        except _UnlikeError as error:
            raise self.unreadable(self._where, error.found, error.wanted) from None

    def from_data(self, data: object) -> Kind:
        """The record that `as_data` made ``data`` from; as `read`."""
        if not isinstance(data, Mapping) or data.get("format") != self.format:
            raise self.unreadable(self._where, f"{data!r}"[:40], f'"format": "{self.format}"')
        if type(data.get("schema")) is not int or data["schema"] != self.schema:
            raise FaninError(
                f"the {self.noun} was saved in a schema that this fanin does not read",
                where=self._where,
                found=f"schema {data.get('schema')!r:.60}, by fanin {data.get('fanin')!r:.60}",
                fix=f"fanin {__version__} reads schema {self.schema}: use the other fanin, or "
                f"{self.again}",
            )
        content = {name: value for name, value in data.items() if name not in _FRAME}
        try:
            return _record(self.kind, content, "")
        except _UnlikeError as error:
            raise self.unreadable(self._where + error.where, error.found, error.wanted) from None

    def read_file(self, path: Path) -> Kind:
        """The record in a file; an error for one that is too long for it, or no text."""
        size = path.stat().st_size
        if size > 4 * _LONGEST:
            raise self.unreadable(str(path), f"{size} bytes", f"at most {4 * _LONGEST}")
        try:
            return self.read(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise self.unreadable(str(path), str(error)[:80], "UTF-8 text") from None

    def unreadable(self, where: str, found: str, wanted: str) -> FaninError:
        """The error for what is not such a text."""
        name = self.kind.__name__
        return FaninError(
            f"this is not the text of a {self.noun}",
            where=where,
            found=found,
            fix=f"expected here: {wanted}; give what {name}.save or {name}.to_json wrote",
        )

    @property
    def _where(self) -> str:
        return f"{self.kind.__name__}.from_json"


@final
class _UnlikeError(ValueError):
    """What was found where something else was wanted."""

    def __init__(self, where: str, found: str, wanted: str) -> None:
        super().__init__(where, found, wanted)
        self.where, self.found, self.wanted = where, found, wanted


def _lines(value: object) -> str:
    """A list of records with a line for each, so that versions are compared line by line."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        records = ",\n".join(f"  {_line(record)}" for record in value)
        return f"[\n{records}\n ]"
    return _line(value)


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, float) and not isfinite(value):
        return str(float(value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    record = cast("Any", value)
    known = ((field, getattr(record, field.name)) for field in fields(record))
    return {field.name: _plain(one) for field, one in known if not _is_absent(field, one)}


def _is_absent(field: "Field[object]", value: object) -> bool:
    """Whether the value is none and reading supplies it; numbers are always written."""
    is_empty = value is None or value in ("", ())
    return is_empty and field.default in (MISSING, value)


def _parsed(text: str) -> object:
    if len(text) > _LONGEST:
        raise _UnlikeError("", f"{len(text)} characters", f"at most {_LONGEST}")
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise _UnlikeError("", "lists within lists without end", "JSON") from None
    except ValueError as error:
        raise _UnlikeError("", str(error).splitlines()[0][:80], "JSON") from None


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


def _record(kind: type[Kind], data: object, where: str) -> Kind:
    if not isinstance(data, Mapping):
        raise _UnlikeError(where, f"{data!r}"[:60], "an object with fields")
    hints = get_type_hints(kind)
    known = [field for field in fields(cast("Any", kind)) if field.init]
    unknown = [str(name) for name in data if name not in {field.name for field in known}]
    if unknown:
        names = [field.name for field in known]
        raise _UnlikeError(where, f"the field {unknown[0]!r:.60}", nearest(unknown[0][:60], names))
    values = {
        field.name: _value(hints[field.name], data[field.name], f"{where}, {field.name}")
        for field in known
        if field.name in data
    }
    for field in known:
        optional = field.default is not MISSING or field.default_factory is not MISSING
        if field.name not in values and not optional:
            # What is empty was not written; what may not be empty is missing.
            values[field.name] = _empty(hints[field.name], field.name, where)
    try:
        return kind(**values)
    except FaninError as error:
        raise _UnlikeError(where, error.found[:60], error.fix) from None


def _empty(kind: object, name: str, where: str) -> object:
    if kind is str:
        return ""
    if get_origin(kind) is tuple:
        return ()
    if NoneType in get_args(kind):
        return None
    raise _UnlikeError(where, "no such field", f"the field {name!r}")


def _value(kind: Any, data: object, where: str) -> object:  # noqa: ANN401 - a type of any form
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _optional(get_args(kind), data, where)
    if origin is Literal:
        if isinstance(data, str) and data in get_args(kind):
            return data
        raise _UnlikeError(where, f"{data!r}"[:60], f"one of {', '.join(map(str, get_args(kind)))}")
    if origin is tuple:
        return _tuple(get_args(kind), data, where)
    if is_dataclass(kind):
        return _record(cast("type[object]", kind), data, where)
    return _simple(kind, data, where)


def _optional(kinds: tuple[Any, ...], data: object, where: str) -> object:
    if data is None and NoneType in kinds:
        return None
    (kind,) = (one for one in kinds if one is not NoneType)
    return _value(kind, data, where)


def _tuple(kinds: tuple[Any, ...], data: object, where: str) -> object:
    if not isinstance(data, list):
        raise _UnlikeError(where, f"{data!r}"[:60], "a list")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(data)
    if len(kinds) != len(data):
        raise _UnlikeError(where, f"{len(data)} values", f"{len(kinds)}")
    return tuple(_value(kind, one, where) for kind, one in zip(kinds, data, strict=True))


def _simple(kind: object, data: object, where: str) -> object:
    """Text, a truth value or a number, as they are; nothing is converted but a whole float."""
    if kind is float and isinstance(data, str) and data in _WORDS:
        return _WORDS[data]
    is_whole = type(data) is int and abs(data) < _LARGEST
    if kind is float and (is_whole or (type(data) is float and isfinite(data))):
        return float(cast("float", data))
    if (kind is int and is_whole) or (kind in (str, bool) and type(data) is kind):
        return data
    raise _UnlikeError(
        where, f"{data!r}"[:60], f"a value of type {getattr(kind, '__name__', kind)}"
    )


def write_file(path: Path, text: str) -> None:
    """``text`` in the file, whole or not at all: written beside it, then renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
