"""The trainings of a comparison, in order: a target, a rate for each start, and the scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from statistics import fmean
from typing import TYPE_CHECKING, Final, TypeAlias, final

import torch

from fanin._compare._budget import LEAST_SEEDS, Clock, to_keep
from fanin._compare._comparison import Comparison, Contestant
from fanin._compare._records import Member, Outcome, Settings, Trial
from fanin._compare._runs import Decided, Runs
from fanin._compare._search import Trials, best_rate, is_on_edge, search
from fanin._compare._train import Job
from fanin._compare._workers import RunJobs
from fanin._version import __version__

if TYPE_CHECKING:
    from fanin._compare._contest import Contest

__all__ = ["STACK", "Progress", "Told", "Trainer"]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told of a phase ("rates", "scores"), and of the whole: member steps done, and how many there
are, as far as is known."""
STACK: Final = 8
"""Members of one stack, at most: few enough to be spread over workers."""
_SHARE: Final = 0.75
"""Of the steps, after which the reference's loss becomes the target."""
_FALLEN: Final = 0.9
"""Of the first batch's loss; a batch of 64 is off by some percent."""


@final
@dataclass(slots=True)
class Told:
    """Passes on how far the trainings are."""

    progress: Progress | None
    phase: str = ""
    done: int = 0
    total: int = 0

    def expect(self, phase: str, amount: int) -> None:
        """So much is still to be done."""
        self.phase, self.total = phase, self.done + amount
        self.add(0)

    def add(self, amount: int) -> None:
        """So much was done."""
        self.done += amount
        if self.progress is not None:
            self.progress(self.phase, self.done, max(self.total, self.done))


@final
@dataclass(slots=True, kw_only=True)
class Trainer:
    """Trains members that are not known yet, a stack or a worker at a time."""

    contest: "Contest"
    runs: Runs
    run_jobs: RunJobs
    told: Told
    clock: Clock
    at_once: int
    asked: set[Member] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        """With the target, once there is one."""
        return self.contest.settings

    @property
    def decided(self) -> Decided:
        """How members are trained."""
        assert self.runs.decided is not None  # noqa: S101 - before there is a trainer
        return self.runs.decided

    def comparison(self, reference: str) -> Comparison:
        """The target, the rates, the scores."""
        if self.decided.cut:
            self.notes.append(self.decided.cut)
        trials = self._searched(dict.fromkeys(self.contest.starts, self.settings.rates))
        said = "given"
        if self.settings.target is None:
            said = self._aim(reference, trials)
            trials = self._searched(
                {name: [trial.rate for trial in own] for name, own in trials.items()}
            )
        rates = {name: best_rate(own, self.settings) for name, own in trials.items()}
        outcomes = self._scored(rates)
        return Comparison(
            model=self.contest.model,
            reference=reference,
            starts=tuple(self._contestant(name, trials, rates) for name in trials),
            settings=self.settings,
            trials=tuple(trial for own in trials.values() for trial in own),
            outcomes=tuple(outcomes),
            target=said,
            way=f"{self.decided.way}: {self.decided.why}",
            notes=tuple(self.notes),
            versions=(("fanin", __version__), ("torch", torch.__version__)),
        )

    def _contestant(self, name: str, trials: Trials, rates: dict[str, float]) -> Contestant:
        start = self.contest.starts[name]
        return Contestant(
            name=name,
            formula=self.contest.formulas[name],
            rate=rates[name],
            on_edge=is_on_edge(trials[name], self.settings),
            plan="" if start is None else start.checksum,
        )

    def _searched(self, grids: Mapping[str, Sequence[float]]) -> Trials:
        tuning, scoring = len(self.settings.tuning_seeds), len(self.settings.scoring_seeds)
        share = tuning / (tuning + scoring / len(self.settings.rates))

        def outcomes(members: Sequence[Member]) -> list[Outcome]:
            return self._outcomes(members, "rates", self._scoring_steps)

        def may_widen() -> bool:
            if self.clock.allows(0, share):
                return True
            self._keep_to_budget("the grids of rates were not widened further")
            return False

        return search(grids, self.settings, outcomes, may_widen)

    @property
    def _scoring_steps(self) -> int:
        seeds = self.settings.scoring_seeds
        return len(seeds) * len(self.contest.starts) * self.settings.steps

    def _aim(self, reference: str, trials: Trials) -> str:
        """The reference's loss with a quarter of the steps to go, on its worst tuning seed.

        After all of its steps, it would be a matter of luck whether it gets there again. Where its
        loss does not fall, it would be there at once, and so would all: then it is another start's.
        """
        curves = {name: self._tuned(name, trials[name]) for name in trials}
        place = max(ceil(_SHARE * self.settings.steps), self.settings.window)
        fallen = (name for name in (reference, *trials) if _falls(curves[name], place))
        name = next(fallen, reference)
        if any(len(curve) < place for curve in curves[name]):
            return f"none: {name} diverges at every rate"
        target = float(f"{max(curve[place - 1] for curve in curves[name]):.4g}")
        self.contest = replace(self.contest, settings=replace(self.settings, target=target))
        said = f"the loss of {name} after {place} steps, worst of the tuning seeds"
        return said if name == reference else f"{said}; that of {reference} does not fall"

    def _tuned(self, name: str, trials: Sequence[Trial]) -> list[tuple[float, ...]]:
        """The losses of a start at its best rate, seed by seed."""
        rate = best_rate(trials, self.settings)
        members = [Member(name, rate, seed) for seed in self.settings.tuning_seeds]
        return [one.losses for one in self._outcomes(members, "rates", self._scoring_steps)]

    def _scored(self, rates: dict[str, float]) -> list[Outcome]:
        """Seed by seed where there is a budget, and no more of them than it has time for."""
        seeds, found = self.settings.scoring_seeds, list[Outcome]()
        size = len(seeds) if self.clock.budget is None else self.at_once
        for first in range(0, len(seeds), max(size, 1)):
            began, group = self.clock.spent, seeds[first : first + size]
            members = [Member(name, rates[name], seed) for seed in group for name in rates]
            later = (len(seeds) - first - len(group)) * len(rates) * self.settings.steps
            found += self._outcomes(members, "scores", later)
            done = first + len(group)
            last = self.clock.spent - began
            if LEAST_SEEDS <= done < len(seeds) and not self.clock.allows(last):
                self._keep_to_budget(f"{done} of {len(seeds)} scoring seeds")
                settings = replace(self.settings, scoring_seeds=seeds[:done])
                self.contest = replace(self.contest, settings=settings)
                break
        return found

    def _keep_to_budget(self, what: str) -> None:
        assert self.clock.budget is not None  # noqa: S101 - else there is time for everything
        note = to_keep(self.clock.budget, what)
        if note not in self.notes:
            self.notes.append(note)

    def _outcomes(self, members: Sequence[Member], phase: str, later: int) -> list[Outcome]:
        """What came of each member, with the steps to the target there is now."""
        jobs = self._jobs(members)
        self.told.expect(phase, sum(job.size for job in jobs) + later)
        self.run_jobs(jobs, self.runs.add)
        found = [self.runs.get(member) for member in members]
        target, window = self.settings.target, self.settings.window
        return [one.reaching(target, window) for one in found if one is not None]

    def _jobs(self, members: Sequence[Member]) -> list[Job]:
        """Stacks of members of one seed; those that only choose a rate stop at the target.

        What is in the file is left out by whole stacks: what a member comes to depends, in the last
        digits, on how many are in the stack.
        """
        new = [member for member in dict.fromkeys(members) if member not in self.asked]
        self.asked.update(new)
        tuning = set(self.settings.tuning_seeds)
        size = STACK if self.decided.way == "together" else 1
        jobs = []
        for seed in dict.fromkeys(member.seed for member in new):
            own = [member for member in new if member.seed == seed]
            stacks = [own[first : first + size] for first in range(0, len(own), size)]
            for stack in stacks:
                if not all(self._is_known(member, stops=seed in tuning) for member in stack):
                    job = self.contest.job(stack, self.decided.way)
                    jobs.append(replace(job, stops=seed in tuning))
        return jobs

    def _is_known(self, member: Member, *, stops: bool) -> bool:
        """Whether it was trained to its end, or to the target, where that is what it is for."""
        found, settings = self.runs.get(member), self.settings
        if found is None:
            return False
        if found.diverged or len(found.losses) >= settings.steps:
            return True
        return stops and found.reaching(settings.target, settings.window).steps is not None


def _falls(curves: Sequence[tuple[float, ...]], place: int) -> bool:
    """Whether losses at this step are below the first ones, beyond the noise of a batch."""
    if any(len(curve) < place for curve in curves):
        return False
    return fmean(c[place - 1] for c in curves) < _FALLEN * fmean(c[0] for c in curves)
