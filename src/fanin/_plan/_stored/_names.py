"""Which tensor a name in a checkpoint means, with the prefixes of wrappers or without."""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from fanin._errors import nearest
from fanin._trace._names import Tensors, unwrapped

__all__ = ["Slot", "assigned", "renaming", "slots_of", "unknown_names"]

Slot: TypeAlias = tuple[str, int]
"""The name of an entry or of a tensor, and which of the tensors kept for it."""
_SHOWN: Final = 5


def slots_of(key: str, target: Tensors, *, renamed: bool = False) -> dict[str, Slot]:
    """The names under which a state dict has the tensors of ``target``.

    ``renamed``: the model's own names are not those of the plan, and do not count.
    """
    before = f"{target.path}." if target.path else ""
    owner = target.name.removesuffix(target.local)
    if target.stored:
        ours = [owner + name.removeprefix(before) for name in target.stored]
        names = {name: (key, index) for index, name in enumerate(ours)}
        own = {name: (key, index) for index, name in enumerate(target.stored)}
        return names if renamed else own | names
    names = dict.fromkeys((target.name, *target.tied), (key, 0))
    return names if renamed else {before + target.local: (key, 0)} | names


def assigned(
    keys: Iterable[str], slots: Mapping[str, Slot]
) -> tuple[dict[Slot, list[str]], tuple[str, ...]]:
    """The keys that mean each slot, and those that mean none.

    A key that is a name means it; else the only one that it is without the prefixes of wrappers.

    >>> assigned(["module.a", "b"], {"a": ("a", 0)})
    ({('a', 0): ['module.a']}, ('b',))
    """
    bare: dict[str, set[Slot]] = {}
    for name, slot in slots.items():
        bare.setdefault(unwrapped(name), set()).add(slot)
    found: dict[Slot, list[str]] = {}
    unknown = []
    for key in keys:
        meant = {slots[key]} if key in slots else bare.get(unwrapped(key), set())
        if len(meant) == 1:
            found.setdefault(next(iter(meant)), []).append(key)
        else:
            unknown.append(key)
    return found, tuple(unknown)


def unknown_names(unknown: Iterable[str], known: Iterable[str]) -> str:
    """The first of these names, each with the nearest of the others.

    >>> unknown_names(["fc.wieght"], ["fc.weight"])
    'fc.wieght (nearest: fc.weight)'
    """
    names, others = list(unknown), list(known)
    shown = [
        f"{name} (nearest: {nearest(name, others, most=1).split(',')[0]})" if others else name
        for name in names[:_SHOWN]
    ]
    return ", ".join(shown) + (f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else "")


def renaming(unknown: Iterable[str], known: Iterable[str]) -> str:
    """What makes known names of all the unknown ones, as Python; empty where no prefix does.

    >>> renaming(["bert.a.w", "bert.b"], ["a.w", "b"]), renaming(["a.w"], ["bert.a.w"])
    ("name.removeprefix('bert.')", "'bert.' + name")
    """
    names, others = list(unknown), set(known)
    parts = names[0].split(".")
    for cut in range(1, len(parts)):
        prefix = ".".join(parts[:cut]) + "."
        if all(one.startswith(prefix) and one.removeprefix(prefix) in others for one in names):
            return f"name.removeprefix({prefix!r})"
    for other in others:
        prefix = other.removesuffix(names[0])
        if prefix.endswith(".") and all(prefix + one in others for one in names):
            return f"{prefix!r} + name"
    return ""
