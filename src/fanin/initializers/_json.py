"""Initializers back from JSON text; reading runs no code that the text brings."""

import json
from collections.abc import Mapping

from fanin._errors import FaninError, nearest
from fanin.initializers._base import Initializer
from fanin.initializers._biases import Chrono, ForgetGate, PriorProbability
from fanin.initializers._elementwise import Constant, Normal, Uniform
from fanin.initializers._fans import VarianceScaling
from fanin.initializers._matrices import (
    DeltaOrthogonal,
    Hadamard,
    Identity,
    LooksLinear,
    Orthogonal,
)
from fanin.initializers._scaled import ScaledOutputs
from fanin.initializers._structured import ICNR, Sparse

__all__ = ["from_json"]

_CLASSES = (
    Chrono,
    Constant,
    DeltaOrthogonal,
    ForgetGate,
    Hadamard,
    ICNR,
    Identity,
    LooksLinear,
    Normal,
    Orthogonal,
    PriorProbability,
    ScaledOutputs,
    Sparse,
    Uniform,
    VarianceScaling,
)
_KNOWN: dict[str, type[Initializer]] = {kind.__name__: kind for kind in _CLASSES}


def from_json(text: str) -> Initializer:
    """The initializer that `Initializer.to_json` wrote.

    Raises:
        FaninError: for text that is not one, an unknown initializer or argument.

    >>> from_json('{"initializer": "VarianceScaling", "gain": "relu"}')
    VarianceScaling('relu')
    """
    try:
        found = json.loads(text)
        return _from_dict(found)
    except json.JSONDecodeError as error:
        raise _unreadable(text, f"{error}") from None
    except RecursionError:
        raise _unreadable(text, "entries within entries without end") from None


def _from_dict(found: object) -> Initializer:
    if not isinstance(found, Mapping) or not isinstance(found.get("initializer"), str):
        raise _unreadable(str(found), "no 'initializer' entry with a name")
    arguments = {key: _value(value) for key, value in found.items() if key != "initializer"}
    name = found["initializer"]
    if name not in _KNOWN:
        raise FaninError(
            "there is no such initializer",
            where="from_json",
            found=repr(name),
            fix=f"use one of: {nearest(name, _KNOWN)}",
        )
    try:
        return _KNOWN[name](**arguments)
    except TypeError as error:
        raise _unreadable(str(found), str(error)) from None


def _value(value: object) -> object:
    if isinstance(value, Mapping):
        return _from_dict(value)
    return tuple(value) if isinstance(value, list) else value


def _unreadable(text: str, found: str) -> FaninError:
    return FaninError(
        "this is not an initializer's JSON",
        where=f"from_json({text[:60]!r})",
        found=found,
        fix="give what Initializer.to_json wrote",
    )
