"""What differs between two plans."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import final

from fanin._plan._entry import Entry
from fanin._plan._told._folding import fold_formulas, fold_names, name_skeleton, skeleton
from fanin._text import number

__all__ = ["Difference", "difference"]

_WIDTH = 100


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """What another plan has more, less, and otherwise; empty where both draw and keep the same.

    ``changed`` holds pairs, this plan's entry and the other's. Reasons are not compared.

    >>> len(Difference((), (), ()))
    0
    """

    added: tuple[Entry, ...]
    removed: tuple[Entry, ...]
    changed: tuple[tuple[Entry, Entry], ...]

    def __len__(self) -> int:
        return len(self.added) + len(self.removed) + len(self.changed)

    def __str__(self) -> str:
        if not self:
            return "no difference"
        counts = (("changed", self.changed), ("added", self.added), ("removed", self.removed))
        lines = [", ".join(f"{len(found)} {word}" for word, found in counts if found)]
        groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for sign, name, text in self._lines():
            groups.setdefault((sign + name_skeleton(name), skeleton(text)), []).append((name, text))
        for (sign, _), group in groups.items():
            names, texts = [name for name, _ in group], [text for _, text in group]
            count = f" ({len(group)})" if group[1:] else ""
            text = f"{sign[0]} {fold_names(names)}{count}: {fold_formulas(texts)}"
            lines.append(text if len(text) <= _WIDTH else text.replace(" → ", "\n    → "))
        return "\n".join(lines)

    def _lines(self) -> list[tuple[str, str, str]]:
        lines = [("~", old.name, _changed(old, new)) for old, new in self.changed]
        lines += [("+", entry.name, _said(entry)) for entry in self.added]
        return lines + [("-", entry.name, _said(entry)) for entry in self.removed]


def _changed(old: Entry, new: Entry) -> str:
    before, after = _said(old), _said(new)
    if before == after:
        before, after = f"{before}, {old.site.layout}", f"{after}, {new.site.layout}"
    return f"{before} → {after}"


def difference(old: Sequence[Entry], new: Sequence[Entry]) -> Difference:
    """What ``new`` adds to, removes from and changes in ``old``, by the names of the parameters."""
    before = {entry.name: entry for entry in old}
    after = {entry.name: entry for entry in new}
    both = [(before[name], after[name]) for name in before if name in after]
    return Difference(
        added=tuple(entry for name, entry in after.items() if name not in before),
        removed=tuple(entry for name, entry in before.items() if name not in after),
        changed=tuple((a, b) for a, b in both if _effect(a) != _effect(b)),
    )


def _effect(entry: Entry) -> tuple[object, ...]:
    """All of an entry that reaches the weights."""
    target = getattr(entry.decision, "target_std", None) if entry.awaits_calibration else None
    return entry.state, entry.initializer, entry.site.layout, entry.padding_row, target


def _said(entry: Entry) -> str:
    if entry.initializer is None:
        return entry.state
    std = "" if isnan(entry.std) else f" (std {number(entry.std)})"
    return f"{entry.initializer}{std}"
