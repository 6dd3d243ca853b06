"""The trainings of one task that are done, in one file, by plan, rate and seed."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import final

from starts import Start

from fanin._compare._records import Member, Outcome

__all__ = ["Store"]

_Found = tuple[int | None, float | None]
"""Steps, None for never; and the last running loss, None for one that diverged."""
_Training = tuple[str, float, int]
"""The key of a plan, a rate, a seed."""
_NOBODY = Member("", 0.0, 0)


@final
class Store:
    """Outcomes of members, without their losses step by step.

    They are kept by the keys of the plans. Starts of one plan are one training, and where a recipe
    has changed since, what it came to before is not found.
    """

    def __init__(self, path: Path, starts: Mapping[str, Start]) -> None:
        self._path, self._starts = path, starts
        self._found: dict[_Training, Outcome] = {}
        self.read()

    def read(self) -> None:
        """What others may have written meanwhile."""
        for key, own in self._written().items():
            for run, found in own["runs"].items():
                rate, seed = run.split()
                self._found[key, float(rate), int(seed)] = _outcome(found)

    def training(self, member: Member) -> _Training:
        """What members of one plan share."""
        return self._starts[member.start].key, member.rate, member.seed

    def get(self, member: Member) -> Outcome | None:
        """What came of it, if it was trained."""
        found = self._found.get(self.training(member))
        return None if found is None else replace(found, member=member)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Keep these, in the file too, beside what others have written there meanwhile."""
        written = self._written()
        for one in outcomes:
            key, rate, seed = self.training(one.member)
            # As the file has it, so that what follows does not depend on when it was stopped.
            self._found[key, rate, seed] = _outcome(_kept(one))
            own = written.setdefault(key, {"of": one.member.start, "runs": {}})
            own["runs"][f"{rate:g} {seed}"] = _kept(one)
        lines = [
            f"{json.dumps(key)}: {_text(own)}" for key, own in sorted(written.items(), key=_of)
        ]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(f".{os.getpid()}.part")
        part.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        part.replace(self._path)

    def _written(self) -> dict[str, dict]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}


def _of(item: tuple[str, dict]) -> tuple[str, str]:
    key, own = item
    return own["of"], key


def _kept(outcome: Outcome) -> _Found:
    return outcome.steps, None if outcome.diverged else float(f"{outcome.loss:.4g}")


def _outcome(found: _Found) -> Outcome:
    steps, loss = found
    return Outcome(member=_NOBODY, steps=steps, loss=inf if loss is None else loss)


def _text(own: dict) -> str:
    """A line for each training, by rate and seed."""
    runs = sorted(own["runs"].items(), key=_rate_and_seed)
    lines = [f"  {json.dumps(run)}: {json.dumps(found)}" for run, found in runs]
    return f'{{"of": {json.dumps(own["of"])}, "runs": {{\n' + ",\n".join(lines) + "\n}}"


def _rate_and_seed(item: tuple[str, _Found]) -> tuple[float, int]:
    rate, seed = item[0].split()
    return float(rate), int(seed)
