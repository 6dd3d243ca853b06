"""Recipes by name: fanin's own, and those that installed packages register as entry points."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Final

from fanin._errors import FaninError, nearest
from fanin.recipes._deepnorm import deepnorm
from fanin.recipes._fixup import fixup
from fanin.recipes._gpt2 import depth_scaled, gpt2
from fanin.recipes._keras_default import keras_default
from fanin.recipes._orthogonal import lsuv, orthogonal
from fanin.recipes._recipe import Recipe, as_recipe
from fanin.recipes._siren import siren
from fanin.recipes._small_init import gpt_neox, small_init
from fanin.recipes._steady import steady
from fanin.recipes._torch_default import torch_default
from fanin.recipes._variance import kaiming, lecun, xavier
from fanin.recipes._zero_branches import skip_init, zero_residual

__all__ = ["named", "names"]

_GROUP: Final = "fanin.recipes"

_OWN: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            deepnorm,
            depth_scaled,
            fixup,
            gpt2,
            gpt_neox,
            kaiming,
            keras_default,
            lecun,
            lsuv,
            orthogonal,
            siren,
            skip_init,
            small_init,
            steady,
            torch_default,
            xavier,
            zero_residual,
        )
    }
)


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unknown distribution"


def _registered() -> dict[str, EntryPoint]:
    """Every third party's recipe, by its name, or by ``distribution/name`` where names meet."""
    found = tuple(entry_points(group=_GROUP))
    times = Counter([*_OWN, *(entry.name for entry in found)])
    return {
        entry.name if times[entry.name] == 1 else f"{_distribution(entry)}/{entry.name}": entry
        for entry in found
    }


def names() -> tuple[str, ...]:
    """The names that `named` knows, sorted: fanin's own, and those of installed packages.

    Another package's recipe whose name is taken is called ``distribution/name``. Nothing is
    imported to list them.

    >>> "gpt2" in names()
    True
    """
    return tuple(sorted((*_OWN, *_registered())))


def named(name: str) -> Recipe:
    """The recipe of this name; another package is imported only when its recipe is asked for.

    A package registers a `Recipe`, or a function from a `Site` to a decision, as an entry point of
    the group ``fanin.recipes``.

    Raises:
        FaninError: for an unknown name, with the nearest ones; if the package that registered it
            cannot be imported, or what it registered is no recipe.

    >>> print(named("xavier").formula)
    w ~ U(-b, b), b = sqrt(6 / (fan_in + fan_out)); b = 0
    """
    if name in _OWN:
        return _OWN[name]
    registered = _registered()
    if name not in registered:
        raise FaninError(
            "there is no recipe of this name",
            where="recipes.named",
            found=repr(name),
            fix=f"use one of: {nearest(str(name), [*_OWN, *registered])}",
        )
    return _load(name, registered[name])


def _load(name: str, entry: EntryPoint) -> Recipe:
    # Whatever another package raises while it is imported.
    try:
        return replace(as_recipe(entry.load()), name=name)
    except Exception as error:
        raise FaninError(
            "a recipe of another package does not load",
            where=f"{name}, of {_distribution(entry)}: {entry.value}",
            found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            fix=f"update or remove {_distribution(entry)}, or use another recipe",
        ) from error
