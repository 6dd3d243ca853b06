"""A plan as JSON text and back. What is read is data: nothing in it is imported, called or run."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import Any, Final, cast, final

from fanin._errors import FaninError
from fanin._gains import Convention
from fanin._layout import Layout
from fanin._plan._entry import DecidedBy, Entry, Factor, State, Unclaimed
from fanin._plan._records import plain, restored, unreadable
from fanin._records_json import write_file as write_whole
from fanin._site import Site
from fanin._version import __version__
from fanin.initializers import Initializer, from_json
from fanin.initializers._fans import gain_number
from fanin.recipes import Choice, Keep

__all__ = ["Header", "checksum_of", "read", "read_file", "write", "write_file"]

_FORMAT: Final = "fanin plan"
_VERSION: Final = 1
_FRAME: Final = ("format", "version", "fanin", "entries")
_LONGEST: Final = 1 << 30
"""Characters; a plan of 100,000 experts takes a tenth of this."""
_ELEMENTS: Final = 1 << 48
_PARTS: Final = 1 << 20
"""Matrices a weight may be made of: each is looked at, so one number alone could take hours."""


@final
@dataclass(frozen=True, slots=True)
class Header:
    """The texts of a plan."""

    recipe: str = ""
    formula: str = ""
    model: str = ""
    mode: str = ""
    batch: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Saved:
    """An entry as it is written: flat, with one field for each thing that a reader looks for."""

    site: Site
    state: State
    by: DecidedBy
    why: str
    initializer: Initializer | None = None
    paper: str = ""
    target_std: float | None = None
    rule: str = ""
    padding_row: int | None = None
    factor: Factor | None = None
    measured: float | None = None

    @classmethod
    def of(cls, entry: Entry) -> "_Saved":
        """What is written of ``entry``."""
        decision = entry.decision
        drawn = decision if isinstance(decision, Choice) else None
        return cls(
            site=entry.site,
            state=entry.state,
            by=entry.by,
            why=entry.why,
            initializer=_as_data(entry, drawn.initializer) if drawn else None,
            paper=drawn.paper if drawn else "",
            target_std=drawn.target_std if drawn else None,
            rule=entry.rule,
            padding_row=entry.padding_row,
            factor=entry.factor,
            measured=entry.measured,
        )

    def entry(self, where: str) -> Entry:
        """The entry that was written."""
        decision: Choice | Keep | Unclaimed
        if self.state == "filled":
            if self.initializer is None:
                raise unreadable(where, "a filled entry without one", "an initializer")
            decision = Choice(self.initializer, self.why, self.paper, self.target_std)
        elif self.initializer is not None:
            raise unreadable(where, f"an initializer, and the state {self.state}", "none")
        else:
            decision = Keep(self.why) if self.state == "kept" else Unclaimed(self.why)
        return Entry(
            site=self.site,
            decision=decision,
            by=self.by,
            rule=self.rule,
            padding_row=self.padding_row,
            factor=self.factor,
            measured=self.measured,
        )


def write(header: Header, entries: Sequence[Entry], indent: int | None) -> str:
    """The JSON text of a plan.

    Raises:
        FaninError: for a function of the user's, naming the parameter.
    """
    records = [plain(_Saved.of(entry)) for entry in entries]
    whole = {"format": _FORMAT, "version": _VERSION, "fanin": __version__, **asdict(header)}
    if indent is not None:
        return json.dumps({**whole, "entries": records}, indent=indent, ensure_ascii=False)
    # A line for each entry, so that versions are compared line by line.
    head = json.dumps(whole, indent=1, ensure_ascii=False).removesuffix("\n}")
    lines = ",\n".join("  " + json.dumps(record, ensure_ascii=False) for record in records)
    return f'{head},\n "entries": [\n{lines}\n ]\n}}\n'


def _as_data(entry: Entry, initializer: Initializer) -> Initializer:
    """The initializer with numbers in place of functions, if it then comes back as it was."""
    value = numeric(initializer)
    with suppress(FaninError):
        if from_json(value.to_json()) == value:
            return value
    raise FaninError(
        "this start cannot be saved: it is code, and a plan is data",
        where=entry.name,
        found=repr(initializer),
        fix="replace it by one of fanin.initializers: plan.replace({name: ...})",
    )


def numeric(initializer: Initializer) -> Initializer:
    """The same start with each function in place of a gain replaced by its number.

    >>> from fanin.initializers import VarianceScaling
    >>> numeric(VarianceScaling(lambda x: 2 * x))
    VarianceScaling(0.5)
    """
    changes: dict[str, object] = {}
    if not is_dataclass(cast("object", initializer)):
        return initializer
    for field in fields(cast("Any", initializer)):
        value = getattr(initializer, field.name)
        if isinstance(value, Initializer):
            changes[field.name] = numeric(value)
        elif field.name == "gain" and not isinstance(value, (float, str)):
            convention = cast("Convention", getattr(initializer, "convention", "forward"))
            changes[field.name] = gain_number(value, convention)
    if not changes:
        return initializer
    changed: Initializer = replace(cast("Any", initializer), **changes)
    return changed


def checksum_of(entries: Sequence[Entry]) -> str:
    """BLAKE2b-64 of what is drawn and kept, by name; reasons and the order do not count."""
    known: dict[object, str] = {}
    lines = []
    for entry in entries:
        key = entry.state, entry.initializer, entry.site.layout, entry.padding_row
        if key not in known:
            known[key] = _effect(entry)
        lines.append(f"{entry.name}\t{known[key]}")
    lines.sort()
    return blake2b("\n".join(lines).encode(errors="replace"), digest_size=8).hexdigest()


def _effect(entry: Entry) -> str:
    if entry.initializer is None:
        return entry.state
    value = numeric(entry.initializer)
    try:
        start: object = plain(value)
    except FaninError:
        start = repr(value)
    # What is default is left out, so that a later field changes no checksum.
    return json.dumps([start, plain(entry.site.layout), entry.padding_row])


def read(text: str) -> tuple[Header, tuple[Entry, ...]]:
    """The header and the entries of a plan's JSON text.

    Raises:
        FaninError: for text that is no plan, of another version, or with fields that are unknown.
    """
    whole = _parsed(text)
    if not isinstance(whole, Mapping) or whole.get("format") != _FORMAT:
        raise unreadable("Plan.from_json", repr(text[:40]), f'"format": "{_FORMAT}"')
    if type(whole.get("version")) is not int or whole["version"] != _VERSION:
        raise FaninError(
            "the plan was saved in a version that this fanin does not read",
            where="Plan.from_json",
            found=f"version {whole.get('version')!r:.60}, by fanin {whole.get('fanin')!r:.60}",
            fix=f"fanin {__version__} reads version {_VERSION}: use the other fanin, or plan again",
        )
    records = whole.get("entries")
    if not isinstance(records, list):
        raise unreadable("Plan.from_json", "no entries", '"entries": [...]')
    entries = tuple(_entry(record, number) for number, record in enumerate(records))
    header = {key: value for key, value in whole.items() if key not in _FRAME}
    return restored(Header, header, "Plan.from_json"), entries


def _parsed(text: str) -> object:
    if len(text) > _LONGEST:
        raise unreadable("Plan.from_json", f"{len(text)} characters", f"at most {_LONGEST}")
    try:
        return json.loads(text)
    except RecursionError:
        raise unreadable("Plan.from_json", "entries within entries without end", "a plan") from None
    except ValueError as error:
        raise unreadable("Plan.from_json", str(error).splitlines()[0][:80], "JSON") from None


def _entry(record: object, number: int) -> Entry:
    where = f"Plan.from_json, entry {number}"
    saved = restored(_Saved, record, where)
    if saved.site.layout is not None:
        _require_modest(saved.site.layout, f"{where}, {saved.site.name}")
    entry = saved.entry(where)
    entry.check()
    return entry


def _require_modest(layout: Layout, where: str) -> None:
    batch = (n for n, word in zip(layout.shape, layout.axes, strict=True) if word == "batch")
    parts = prod(batch) * layout.groups * max(1, len(layout.blocks))
    if prod(layout.shape) > _ELEMENTS or parts > _PARTS:
        found = f"shape {layout.shape}, {parts} matrices"[:80]
        raise unreadable(where, found, f"at most {_ELEMENTS} elements and {_PARTS} matrices")


def write_file(path: str | os.PathLike[str], text: str) -> None:
    """``text`` in the file, whole or not at all: written beside it, then renamed.

    Raises:
        FaninError: where its directory does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FaninError(
            "there is no directory to save the plan in",
            where="plan.save",
            found=f"{target}, seen from {Path.cwd()}",
            fix="make it first, or name a file in one that exists",
        )
    write_whole(target, text)


def read_file(path: str | os.PathLike[str]) -> str:
    """The text of the file; an error for one that is missing, too long for a plan, or no text."""
    source = Path(path)
    if not source.is_file():
        raise FaninError(
            "there is no such file",
            where="Plan.load",
            found=f"{source}, seen from {Path.cwd()}",
            fix="name a file that plan.save wrote",
        )
    if source.stat().st_size > 4 * _LONGEST:
        raise unreadable(str(source), f"{source.stat().st_size} bytes", f"at most {_LONGEST}")
    try:
        return source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise unreadable(str(source), str(error)[:80], "UTF-8 text") from None
