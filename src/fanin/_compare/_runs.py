"""The trainings that are done already, in memory and, if asked, in a file of JSON lines."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any, final

from fanin._compare._records import Member, Outcome
from fanin._errors import FaninError

__all__ = ["Runs", "digest"]

_VERSION = 1


def digest(facts: Mapping[str, object]) -> str:
    """A short name of everything that a training's outcome depends on, beside its member.

    >>> digest({"steps": 3}) == digest({"steps": 4})
    False
    """
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@final
class Runs:
    """Outcomes by member; each is in the file before the next one is begun.

    A line that was cut off, by a power failure or a kill, is left out and trained again.

    Raises:
        FaninError: for a file of another comparison, or of something else.
    """

    def __init__(self, path: str | os.PathLike[str] | None, facts: Mapping[str, object]) -> None:
        self._path = None if path is None else Path(path)
        self._found: dict[Member, Outcome] = {}
        if self._path is None:
            return
        header = {"fanin": "comparison", "version": _VERSION, "digest": digest(facts)}
        if self._path.exists():
            self._read(self._path, header)
        else:
            _append(self._path, [header])

    def __contains__(self, member: Member) -> bool:
        return member in self._found

    def __getitem__(self, member: Member) -> Outcome:
        return self._found[member]

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Keep these."""
        new = list(outcomes)
        if self._path is not None:
            _append(self._path, [_record(one) for one in new])
        self._found.update({one.member: one for one in new})

    def _read(self, path: Path, header: Mapping[str, object]) -> None:
        first, *lines = path.read_text().splitlines() or [""]
        if _parsed(first) != header:
            raise FaninError(
                "this file is of another comparison",
                where=str(path),
                found=f"the first line {first[:80]!r}",
                fix="give the model, recipes, data and settings that it was begun with, or a new "
                "file",
            )
        for line in lines:
            record = _parsed(line)
            if record is not None:
                outcome = _outcome(record)
                self._found[outcome.member] = outcome
        if not path.read_text().endswith("\n"):
            # What follows must not be joined to a line that was cut off.
            with path.open("a") as file:
                file.write("\n")


def _append(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
    except OSError as error:
        raise FaninError(
            "the outcomes cannot be kept",
            where=str(path),
            found=f"{type(error).__name__}: {error.strerror}",
            fix="give a path that can be written, or resume=None",
        ) from error


def _parsed(line: str) -> Any:  # noqa: ANN401 - JSON is anything
    try:
        return json.loads(line)
    except ValueError:
        return None


def _record(outcome: Outcome) -> dict[str, object]:
    record = asdict(outcome)
    record["loss"] = None if outcome.diverged else outcome.loss
    return record


def _outcome(record: Mapping[str, Any]) -> Outcome:
    loss = inf if record["loss"] is None else record["loss"]
    changed = {
        "member": Member(**record["member"]),
        "loss": loss,
        "losses": tuple(record["losses"]),
    }
    return Outcome(**{**record, **changed})
