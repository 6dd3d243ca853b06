"""Frozen values to plain JSON data and back, by the types of their fields; nothing else is made."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from fanin._errors import FaninError, nearest
from fanin.initializers import Initializer, from_json

__all__ = ["plain", "restored", "unreadable"]

Kind = TypeVar("Kind")

_LARGEST: Final = 1 << 62
"""No number of a plan is larger: sizes of tensors, rows, counts."""


def plain(value: object) -> object:
    """``value`` as JSON data; of a record only the fields that differ from their default.

    A function becomes its name, which is read back as text.

    >>> from fanin import Layout
    >>> plain(Layout((2, 3), "out in"))["shape"]
    [2, 3]
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Initializer):
        return cast("object", json.loads(value.to_json()))
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name))
            for field in fields(value)
            if field.default is MISSING or getattr(value, field.name) != field.default
        }
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"the function {name}"


def restored(kind: type[Kind], data: object, where: str) -> Kind:
    """The record of class ``kind`` that `plain` made ``data`` from.

    Raises:
        FaninError: for anything else, naming the field.

    >>> from fanin import Layout
    >>> print(restored(Layout, {"shape": [2, 3], "axes": ["out", "in"]}, "a test"))
    matrix product [out=2, in=3]
    """
    if not isinstance(data, Mapping):
        raise unreadable(where, f"{data!r}"[:60], "an object with fields")
    hints = get_type_hints(kind)
    known = [field for field in fields(cast("Any", kind)) if field.init]
    unknown = [str(name) for name in data if name not in {field.name for field in known}]
    if unknown:
        names = [field.name for field in known]
        raise unreadable(where, f"the field {unknown[0]!r}", nearest(unknown[0], names))
    missing = [field.name for field in known if field.default is MISSING and field.name not in data]
    if missing:
        raise unreadable(where, "no such field", f"the field {missing[0]!r}")
    values = {name: _value(hints[name], data[name], f"{where}, {name}") for name in data}
    try:
        return kind(**values)
    except (AssertionError, OverflowError, TypeError, ValueError) as error:
        found = error.found if isinstance(error, FaninError) else str(error)
        raise unreadable(where, found.splitlines()[0][:80], "values that fit together") from None


def _value(kind: Any, data: object, where: str) -> object:  # noqa: ANN401 - a type of any form
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _one_of(get_args(kind), data, where)
    if origin is Literal:
        if isinstance(data, str) and data in get_args(kind):
            return data
        raise unreadable(where, f"{data!r}"[:60], f"one of {', '.join(map(str, get_args(kind)))}")
    if origin is tuple and isinstance(data, list):
        return tuple(_value(get_args(kind)[0], one, where) for one in data)
    if kind is Initializer:
        return _initializer(data, where)
    if is_dataclass(kind):
        return restored(cast("type[object]", kind), data, where)
    return _simple(kind, data, where)


def _one_of(kinds: tuple[Any, ...], data: object, where: str) -> object:
    if data is None and NoneType in kinds:
        return None
    # A function is written as text; no text makes a function.
    possible = [kind for kind in kinds if kind is not NoneType and not _is_function(kind)]
    for kind in possible[:-1]:
        try:
            return _value(kind, data, where)
        except FaninError:
            continue
    return _value(possible[-1], data, where)


def _initializer(data: object, where: str) -> Initializer:
    try:
        return from_json(json.dumps(data))
    except FaninError as error:
        raise unreadable(where, error.found.splitlines()[0][:80], "an initializer") from None


def _is_function(kind: object) -> bool:
    return getattr(get_origin(kind), "__name__", "") == "Callable"


def _simple(kind: object, data: object, where: str) -> object:
    """Text, a truth value or a number, as they are; nothing is converted but a whole float."""
    if kind is float and type(data) in (int, float):
        number = float(cast("float", data)) if abs(cast("float", data)) < _LARGEST else float("inf")
        if isfinite(number):
            return number
    is_whole = kind is int and type(data) is int and abs(data) < _LARGEST
    if is_whole or (kind in (str, bool) and type(data) is kind):
        return data
    raise unreadable(where, f"{data!r}"[:60], f"a value of type {getattr(kind, '__name__', kind)}")


def unreadable(where: str, found: str, wanted: str) -> FaninError:
    """The error for text that is no plan."""
    return FaninError(
        "this is not the text of a plan",
        where=where,
        found=found,
        fix=f"expected here: {wanted}; give what Plan.save or Plan.to_json wrote",
    )
