"""From the name of a model to the model."""

import ast
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import nn

from fanin._errors import FaninError
from fanin._target import _hugging_face, _timm
from fanin._target._python import call, find

__all__ = ["Target", "build", "settings_of"]

OPTION: Final = "TARGET"


@final
@dataclass(frozen=True, slots=True)
class Target:
    """A model, and in words the code that made it."""

    model: nn.Module
    made_by: str


def build(spec: str, settings: Sequence[str] = (), *, meta: bool = False) -> Target:
    """The model that ``spec`` names, made with ``settings`` ("depth=10"), without memory if asked.

    ``package.module:name`` and ``file.py:name``: a function, a class, or a model.
    ``hf:CONFIG``: a model type of transformers, one of its classes, or a config.json.
    ``timm:NAME``: an architecture of timm.

    Raises:
        FaninError: for a name that is not found, and for code that raises or makes no model.
    """
    values = settings_of(settings)
    model: object
    host, _, name = spec.partition(":")
    with _device(meta=meta):
        if host == "hf":
            model, made_by = _hugging_face.build(name, values, meta=meta)
        elif host == "timm":
            model, made_by = _timm.build(name, values)
        else:
            model, made_by = _from_python(spec, values, meta=meta)
    if not isinstance(model, nn.Module):
        raise FaninError(
            f"{made_by} made no model",
            where=OPTION,
            found=f"{type(model).__name__}, not a torch.nn.Module",
            fix="name a function that returns the model, its class, or the model",
        )
    return Target(model, made_by)


def settings_of(texts: Sequence[str]) -> dict[str, Any]:
    """``["depth=10", "norm=batch"]`` as keywords: Python's literals, true and false, else text.

    >>> settings_of(["depth=10", "sizes=[1, 2]", "bias=false", "norm=batch"])
    {'depth': 10, 'sizes': [1, 2], 'bias': False, 'norm': 'batch'}
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in values or _MORE.search(value):
            raise FaninError(
                "a setting is NAME=VALUE, each name once",
                where="--set",
                found=text,
                fix="write for example --set depth=10 --set norm=batch",
            )
        values[name] = _value(value)
    return values


_MORE: Final = re.compile(r",[A-Za-z_][\w.]*=")
_WORDS: Final = {"true": True, "false": False, "null": None, "none": None}


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return _WORDS.get(text.lower(), text)


def _device(*, meta: bool) -> AbstractContextManager[object]:
    return torch.device("meta") if meta else nullcontext()


def _from_python(spec: str, values: Mapping[str, Any], *, meta: bool) -> tuple[object, str]:
    found = find(spec, option=OPTION)
    if isinstance(found, nn.Module):
        if values or meta:
            raise FaninError(
                f"{spec} is a model already",
                where="--set" if values else "--meta",
                found=f"{type(found).__name__}, made when its module was imported",
                fix="name a function that makes it, or leave the option out",
            )
        return found, spec
    if not callable(found):
        return found, spec
    return call(found, values, spec=spec, option=OPTION), f"{spec}({_arguments(values)})"


def _arguments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
