"""The trainings of one task: a rate for each start on tuning seeds, then the scores on others."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import torch
from starts import Start, start_of
from store import Store
from tasks import SCORING, Task

from fanin._compare._comparison import Comparison, Contestant
from fanin._compare._records import Member, Outcome, Settings, Trial
from fanin._compare._search import best_rate, is_on_edge, search
from fanin._compare._train import Job
from fanin._compare._workers import RunJobs, running
from fanin.recipes import Recipe

__all__ = ["Race", "train"]


class _UnknownError(Exception):
    """A training that is asked for is not known, and none are to be made."""


@final
@dataclass
class _Clock:
    """Says on standard error how far the trainings of a task are."""

    name: str
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 0
    said: float = 0.0

    def add(self, amount: int) -> None:
        """So many steps of members were done."""
        self.done += amount
        now = time.monotonic()
        if now - self.said > 10 and self.done:
            self.said = now
            left = (now - self.began) / self.done * max(0, self.total - self.done)
            share = min(1.0, self.done / max(1, self.total))
            print(f"{self.name}: {share:.0%}, {left:.0f} s left", file=sys.stderr, flush=True)


@final
class Race:
    """The starts of one task; what its file has is not trained again."""

    def __init__(
        self,
        task: Task,
        recipes: Mapping[str, Recipe | None],
        folder: Path,
        settings: Settings | None = None,
    ) -> None:
        self.task = task
        self.settings = settings or task.settings
        self.starts = {name: start_of(task, name, recipe) for name, recipe in recipes.items()}
        self._store = Store(folder / f"{task.name}.json", self.starts)

    def train(
        self, run_jobs: RunJobs, clock: _Clock, only: Sequence[str] | None = None
    ) -> Comparison:
        """Train what is not known yet, of all starts or of these."""
        self._store.read()

        def outcomes(members: Sequence[Member]) -> list[Outcome]:
            new = {self._store.training(one): one for one in members}
            jobs = self._jobs([one for one in new.values() if self._store.get(one) is None])
            clock.total = clock.done + sum(job.size for job in jobs)
            run_jobs(jobs, self._store.add)
            return self._known(members)

        possible = [
            name for name, start in self.starts.items() if start.installed and not start.absent
        ]
        names = [name for name in possible if name in (only or possible)]
        return self._comparison(names, self.settings, outcomes)

    def known(self) -> Comparison:
        """Of the starts whose trainings are all in the file, or else are for the first seeds.

        Trainings go seed by seed, and stop at any time.
        """
        whole = self.settings
        first, others = whole.tuning_seeds[:2], whole.scoring_seeds[:5]
        part = replace(whole, tuning_seeds=first, scoring_seeds=others)
        most = replace(whole, scoring_seeds=whole.scoring_seeds[: len(SCORING)])
        found = [
            self._comparison(
                [name for name in self.starts if self._is_done(name, one)], one, self._known
            )
            for one in (whole, most, part)
        ]
        return max(found, key=lambda one: len(one.starts))

    @property
    def absent(self) -> dict[str, str]:
        """The starts that can be neither trained here nor read from the file, with why."""
        found = {name: start.absent for name, start in self.starts.items() if start.absent}
        return {name: why for name, why in found.items() if not self._is_done(name, self.settings)}

    @property
    def missing(self) -> list[str]:
        """The starts that are still to be trained, on some seed."""
        rest = [name for name, start in self.starts.items() if not start.absent]
        return [name for name in rest if not self._is_done(name, self.settings)]

    def _is_done(self, name: str, settings: Settings) -> bool:
        try:
            self._comparison([name], settings, self._known)
        except _UnknownError:
            return False
        return True

    def _known(self, members: Sequence[Member]) -> list[Outcome]:
        found = [self._store.get(member) for member in members]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            raise _UnknownError(f"{self.task.name}: {len(found) - len(known)} trainings to be made")
        return known

    def _comparison(
        self,
        names: Sequence[str],
        settings: Settings,
        outcomes: Callable[[Sequence[Member]], list[Outcome]],
    ) -> Comparison:
        trials = search(dict.fromkeys(names, settings.rates), settings, outcomes)
        rates = {name: best_rate(own, settings) for name, own in trials.items()}
        members = [
            Member(name, rates[name], seed) for seed in settings.scoring_seeds for name in names
        ]
        return Comparison(
            model=self.task.name,
            reference="steady",
            starts=tuple(self._contestant(self.starts[name], trials[name]) for name in names),
            settings=settings,
            trials=tuple(trial for own in trials.values() for trial in own),
            outcomes=tuple(outcomes(members)),
            target="fixed before any run",
        )

    def _contestant(self, start: Start, own: Sequence[Trial]) -> Contestant:
        return Contestant(
            name=start.name,
            formula=start.formula,
            rate=best_rate(own, self.settings),
            on_edge=is_on_edge(own, self.settings),
            plan=start.key,
        )

    def _jobs(self, members: Sequence[Member]) -> list[Job]:
        """Stacks of members of one seed whose models are made alike."""
        groups: dict[tuple[int, object], list[Member]] = {}
        for member in members:
            make = self.starts[member.start].make
            groups.setdefault((member.seed, make), []).append(member)
        return [
            Job(
                make_model=make,
                starts={one.start: self.starts[one.start].plan for one in part},
                data=self.task.data,
                settings=self.settings,
                members=tuple(part),
                way="together",
                stops=True,
            )
            for (_, make), own in groups.items()
            for part in _parts(own, self.task.stack)
        ]


def train(race: Race, workers: int = 0, only: Sequence[str] | None = None) -> None:
    """Train what is not known yet, of all starts or of these, and say what it cost."""
    clock, began = _Clock(race.task.name), sum(os.times()[:4])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with running(workers, None, clock.add) as run_jobs:
            race.train(run_jobs, clock, only)
    finally:
        torch.set_num_threads(threads)
    if clock.done:
        seconds = sum(os.times()[:4]) - began
        print(f"{race.task.name}: {seconds:.0f} s of processor time", file=sys.stderr, flush=True)


def _parts(members: Sequence[Member], size: int) -> list[Sequence[Member]]:
    return [members[first : first + size] for first in range(0, len(members), size)]
