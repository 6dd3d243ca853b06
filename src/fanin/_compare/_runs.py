"""The trainings that are done already, in memory and, if asked, in a file of JSON lines."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any, Final, final

from fanin._compare._records import Member, Outcome, Way
from fanin._errors import FaninError

__all__ = ["Decided", "Runs"]

_KIND: Final = {"fanin": "trainings of a comparison", "version": 1}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What a comparison decides by the speed of the machine, once: it is kept when it goes on.

    ``steps``, ``tuning`` and ``scoring``: steps and numbers of seeds that a budget has left; None
    where there is none. ``cut`` says so in words.
    """

    way: Way
    why: str
    steps: int | None = None
    tuning: int | None = None
    scoring: int | None = None
    cut: str = ""


@final
class Runs:
    """Outcomes by member; each is in the file before the next one is begun.

    The first line has what they depend on, and what was decided; the others are an outcome each. A
    line that was cut off, by a power failure or a kill, is left out and trained again.

    Raises:
        FaninError: for a file of another comparison, or of something else.
    """

    def __init__(self, path: str | os.PathLike[str] | None, facts: Mapping[str, object]) -> None:
        self._path = None if path is None else Path(path)
        # As JSON has them: tuples come back as lists.
        self._facts = json.loads(json.dumps(facts))
        self._found: dict[Member, Outcome] = {}
        self.decided: Decided | None = None
        if self._path is not None and self._path.exists():
            self._read(self._path)

    def begin(self, decided: Decided) -> None:
        """Make the file, if there is to be one."""
        self.decided = decided
        if self._path is None:
            return
        header = {**_KIND, "of": self._facts, "decided": asdict(decided)}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Whole or not at all: a first line that was cut off would be another comparison's.
            part = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
            part.write_text(json.dumps(header) + "\n")
            part.replace(self._path)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def get(self, member: Member) -> Outcome | None:
        """What came of it, if it was trained."""
        return self._found.get(member)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self._found.values())

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Keep these."""
        new = list(outcomes)
        if self._path is not None:
            lines = "".join(json.dumps(_record(one)) + "\n" for one in new)
            try:
                with self._path.open("a") as file:
                    file.write(lines)
            except OSError as error:
                raise _unwritable(self._path, error) from error
        self._found.update({one.member: one for one in new})

    def _read(self, path: Path) -> None:
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise _another(path, f"{type(error).__name__}, it cannot be read") from error
        if not text:
            return
        first, *lines = text.splitlines()
        self.decided = self._decided(path, _parsed(first), first)
        for line in lines:
            outcome = _outcome(_parsed(line))
            if outcome is not None:
                self._found[outcome.member] = outcome
        if not text.endswith("\n"):
            # What follows must not be joined to a line that was cut off.
            with path.open("a") as file:
                file.write("\n")

    def _decided(self, path: Path, header: Any, line: str) -> Decided:  # noqa: ANN401 - JSON
        is_ours = isinstance(header, dict) and _KIND.items() <= header.items()
        if not is_ours or not isinstance(header.get("of"), dict):
            raise _another(path, f"the first line {line[:60]!r}")
        of = header["of"]
        other = [key for key in {**of, **self._facts} if of.get(key) != self._facts.get(key)]
        if other:
            raise _another(path, f"it was begun with another {', '.join(other)}")
        return Decided(**header["decided"])


def _another(path: Path, found: str) -> FaninError:
    return FaninError(
        "this file is of another comparison",
        where=str(path),
        found=found,
        fix="give the model, recipes, data and settings that it was begun with, or a new file",
    )


def _unwritable(path: Path, error: OSError) -> FaninError:
    return FaninError(
        "the outcomes cannot be kept",
        where=str(path),
        found=f"{type(error).__name__}: {error.strerror}",
        fix="give a path that can be written, or resume=None",
    )


def _parsed(line: str) -> Any:  # noqa: ANN401 - JSON is anything
    try:
        return json.loads(line)
    except ValueError:
        return None


def _record(outcome: Outcome) -> dict[str, object]:
    record = asdict(outcome)
    record["loss"] = None if outcome.diverged else outcome.loss
    return record


def _outcome(record: Any) -> Outcome | None:  # noqa: ANN401 - JSON is anything
    """None for a line that is none."""
    try:
        changed = {
            "member": Member(**record["member"]),
            "loss": inf if record["loss"] is None else record["loss"],
            "losses": tuple(record["losses"]),
        }
        return Outcome(**{**record, **changed})
    except (TypeError, KeyError):
        return None
