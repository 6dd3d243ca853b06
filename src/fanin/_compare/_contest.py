"""The trainings of a comparison, in order: a target, a rate for each start, and the scores."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TypeAlias, final

import torch
from torch import nn

from fanin._compare._budget import member_steps, within
from fanin._compare._comparison import Comparison, Contestant
from fanin._compare._data import Data
from fanin._compare._records import Member, Outcome, Settings, Way
from fanin._compare._runs import Runs
from fanin._compare._search import is_on_edge, search, trials_of
from fanin._compare._train import Job, Start
from fanin._compare._way import choose_way
from fanin._compare._workers import Executor, RunJobs, running
from fanin._errors import FaninError
from fanin._plan import plan
from fanin._version import __version__
from fanin.recipes import Recipe, RecipeLike, as_recipe

__all__ = ["Contest", "Progress", "Recipes"]

Recipes: TypeAlias = Mapping[str, RecipeLike | None] | Sequence[RecipeLike]
"""Starts by name, None for the model as it is made; of a sequence, the recipes' own names."""
Progress: TypeAlias = Callable[[str, int, int], None]
"""Told of a phase, the member steps done in it, and how many there are at most."""
_TOGETHER = 8
"""Members of one stack, at most: few enough to be spread over workers."""


@final
@dataclass(frozen=True, slots=True)
class Contest:
    """What is compared: a model, its starts, the data and the settings."""

    make_model: Callable[[], nn.Module]
    starts: Mapping[str, Start]
    formulas: Mapping[str, str]
    data: Data
    settings: Settings
    model: str

    @classmethod
    def of(
        cls,
        make_model: Callable[[], nn.Module],
        recipes: Recipes,
        data: Data,
        settings: Settings,
    ) -> "Contest":
        """The contest, with every start planned on the first batch."""
        named = _named(recipes)
        model, (inputs, _) = make_model(), data.example()
        plans = {
            name: None if recipe is None else plan(model, inputs, recipe=recipe)
            for name, recipe in named.items()
        }
        formulas = {name: "" if one is None else one.formula for name, one in named.items()}
        return cls(make_model, plans, formulas, data, settings, type(model).__name__)

    def run(
        self,
        reference: str,
        *,
        budget: float | None = None,
        resume: str | os.PathLike[str] | None = None,
        workers: int = 0,
        executor: Executor | None = None,
        progress: Progress | None = None,
    ) -> Comparison:
        """Train what is not known yet, and say what came of it."""
        way, why, seconds = choose_way(self._probe())
        settings, cut = self.settings, ""
        if budget is not None:
            each = seconds / max(workers, 1)
            settings, cut = within(settings, len(self.starts), each, budget)
        runs = Runs(resume, self._facts(settings))
        contest = replace(self, settings=settings)
        told = _Told(progress)
        with running(workers, executor, told.add) as run_jobs:
            trainer = _Trainer(contest, way, runs, run_jobs, told)
            return trainer.comparison(reference, f"{way}: {why}", cut)

    def job(self, members: Sequence[Member], way: Way = "one by one") -> Job:
        """The training of some members of one seed."""
        return Job(
            make_model=self.make_model,
            starts=self.starts,
            data=self.data,
            settings=self.settings,
            members=tuple(members),
            way=way,
        )

    def _probe(self) -> Job:
        """A few members, to learn how they are trained fastest."""
        seed, rate = self.settings.tuning_seeds[0], min(self.settings.rates)
        starts = list(self.starts) * _TOGETHER
        return self.job([Member(start, rate, seed) for start in starts[:_TOGETHER]])

    def _facts(self, settings: Settings) -> dict[str, object]:
        """What an outcome depends on, beside its member."""
        inputs, targets = self.data.example()
        return {
            "model": self.model,
            "starts": {
                name: None if start is None else start.checksum
                for name, start in self.starts.items()
            },
            "optimizer": settings.optimizer,
            "steps": settings.steps,
            # Tuning stops at a target that was given.
            "target": self.settings.target,
            "window": settings.window,
            "first batch": [repr(inputs), repr(targets)],
        }


def _named(recipes: Recipes) -> dict[str, Recipe | None]:
    if isinstance(recipes, Mapping):
        found = {name: None if one is None else as_recipe(one) for name, one in recipes.items()}
    else:
        own = [as_recipe(one) for one in recipes]
        found = {one.name: one for one in own}
        if len(found) < len(own):
            raise FaninError(
                "two recipes have one name",
                where="fanin.compare, recipes=",
                found=", ".join(one.name for one in own),
                fix="give a mapping from names to recipes",
            )
    if found:
        return found
    raise FaninError(
        "there is nothing to compare",
        where="fanin.compare, recipes=",
        found=repr(recipes)[:80],
        fix="give recipes by name, such as {'torch': None, 'steady': fanin.recipes.steady}",
    )


@final
@dataclass(slots=True)
class _Told:
    """Passes on how far the trainings are."""

    progress: Progress | None
    phase: str = ""
    done: int = 0
    total: int = 0

    def begin(self, phase: str, total: int) -> None:
        self.phase, self.done, self.total = phase, 0, total
        self.add(0)

    def add(self, amount: int) -> None:
        self.done += amount
        if self.progress is not None:
            self.progress(self.phase, min(self.done, self.total), self.total)


@final
@dataclass(slots=True)
class _Trainer:
    """Trains members that are not known yet, a stack or a worker at a time."""

    contest: Contest
    way: Way
    runs: Runs
    run_jobs: RunJobs
    told: _Told
    notes: list[str] = field(default_factory=list)

    def comparison(self, reference: str, way: str, cut: str) -> Comparison:
        """The target, the rates, the scores."""
        contest, settings = self.contest, self.contest.settings
        names = list(contest.starts)
        self.told.begin("rates", member_steps(replace(settings, scoring_seeds=()), len(names)))
        said = "given"
        rates = search(names, settings, self.outcomes)
        if settings.target is None:
            settings, said = self._targeted(reference, rates[reference])
            self.contest = replace(contest, settings=settings)
            rates = search(names, settings, self.outcomes)
        self.told.begin("scores", len(names) * len(settings.scoring_seeds) * settings.steps)
        outcomes = self.outcomes(
            [Member(name, rates[name], seed) for seed in settings.scoring_seeds for name in names]
        )
        tried = {name: self._tried(name) for name in names}
        trials = trials_of(tried, settings, self.outcomes)
        return Comparison(
            model=contest.model,
            reference=reference,
            starts=tuple(
                Contestant(
                    name=name,
                    formula=contest.formulas[name],
                    rate=rates[name],
                    on_edge=is_on_edge(trials[name], settings),
                    plan="" if start is None else start.checksum,
                )
                for name, start in contest.starts.items()
            ),
            settings=settings,
            trials=tuple(trial for name in names for trial in trials[name]),
            outcomes=tuple(outcomes),
            target=said,
            way=way,
            notes=(cut,) if cut else (),
            versions=(("fanin", __version__), ("torch", torch.__version__)),
        )

    def outcomes(self, members: Sequence[Member]) -> list[Outcome]:
        """What came of each member, with the steps to the target there is now."""
        new = [member for member in members if member not in self.runs]
        self.run_jobs(self._jobs(new), self.runs.add)
        settings = self.contest.settings
        return [self.runs[one].reaching(settings.target, settings.window) for one in members]

    def _jobs(self, members: Sequence[Member]) -> list[Job]:
        """Stacks of members of one seed; those that only choose a rate stop at the target."""
        jobs = []
        tuning = set(self.contest.settings.tuning_seeds)
        for seed in dict.fromkeys(member.seed for member in members):
            own = [member for member in members if member.seed == seed]
            for first in range(0, len(own), _TOGETHER):
                job = self.contest.job(own[first : first + _TOGETHER], self.way)
                jobs.append(replace(job, stops=seed in tuning))
        return jobs

    def _targeted(self, reference: str, rate: float) -> tuple[Settings, str]:
        """The worst loss that the reference ends with on a tuning seed becomes the target."""
        settings = self.contest.settings
        own = self.outcomes([Member(reference, rate, seed) for seed in settings.tuning_seeds])
        loss = max(one.loss for one in own)
        if not isfinite(loss):
            return settings, f"none: {reference} diverges at every rate"
        target = float(f"{loss:.4g}")
        said = f"the loss of {reference} after {settings.steps} steps, worst of the tuning seeds"
        return replace(settings, target=target), said

    def _tried(self, name: str) -> list[float]:
        """The rates of one start that every tuning seed has seen."""
        seeds = self.contest.settings.tuning_seeds
        found = {one.member for one in self.runs}
        rates = {member.rate for member in found if member.start == name}
        return sorted(r for r in rates if all(Member(name, r, seed) in found for seed in seeds))
