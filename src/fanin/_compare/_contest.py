"""What is compared, and where and how it is trained."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, final

from torch import nn

from fanin._compare._budget import Clock, within
from fanin._compare._comparison import Comparison
from fanin._compare._data import Data
from fanin._compare._facts import facts_of, first_batch, made
from fanin._compare._records import Member, Settings, Way
from fanin._compare._runs import Decided, Runs
from fanin._compare._train import Job, Start
from fanin._compare._trainer import STACK, Progress, Told, Trainer
from fanin._compare._way import choose_way
from fanin._compare._workers import Executor, running, threads_for
from fanin._errors import FaninError
from fanin._plan import plan
from fanin.recipes import Recipe, RecipeLike, as_recipe

__all__ = ["Contest", "Progress", "Recipes"]

Recipes: TypeAlias = Mapping[str, RecipeLike | None] | Sequence[RecipeLike]
"""Starts by name, None for the model as it is made; of a sequence, the recipes' own names."""


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
        model, (inputs, _) = made(make_model), first_batch(data)
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
        way: Way | None = None,
        progress: Progress | None = None,
    ) -> Comparison:
        """Train what is not known yet, and say what came of it."""
        clock = Clock(budget)
        runs = Runs(resume, self._facts(budget, way))
        if runs.decided is None:
            runs.begin(self._decided(clock, workers, way))
        told = Told(progress)
        with running(workers, executor, told.add) as run_jobs:
            trainer = Trainer(
                contest=replace(self, settings=_cut(self.settings, runs.decided)),
                runs=runs,
                run_jobs=run_jobs,
                told=told,
                clock=clock,
                at_once=max(workers, 1),
            )
            return trainer.comparison(reference)

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

    def _decided(self, clock: Clock, workers: int, asked: Way | None) -> Decided:
        """By training a few members for a few steps."""
        seed, rate = self.settings.tuning_seeds[0], min(self.settings.rates)
        starts = (list(self.starts) * STACK)[:STACK]
        with threads_for(workers):
            few = self.job([Member(one, rate, seed) for one in starts])
            way, why, seconds = choose_way(few, asked)
        if clock.budget is None:
            return Decided(way=way, why=why)
        left = max(clock.budget - clock.spent, 0.0)
        each = seconds / max(workers, 1)
        settings, cut = within(self.settings, len(self.starts), each, left, clock.budget)
        return Decided(
            way=way,
            why=why,
            steps=settings.steps,
            tuning=len(settings.tuning_seeds),
            scoring=len(settings.scoring_seeds),
            cut=cut,
        )

    def _facts(self, budget: float | None, way: Way | None) -> dict[str, object]:
        """What an outcome depends on, beside its member; a budget decides on the steps."""
        settings = self.settings
        return facts_of(self.make_model, self.starts, self.data) | {
            "optimizer": settings.optimizer,
            "steps": [settings.steps, settings.window, settings.diverged],
            "budget": budget,
            "way": way,
        }


def _cut(settings: Settings, decided: Decided | None) -> Settings:
    if decided is None or decided.steps is None:
        return settings
    return replace(
        settings,
        steps=decided.steps,
        tuning_seeds=settings.tuning_seeds[: decided.tuning],
        scoring_seeds=settings.scoring_seeds[: decided.scoring],
    )


def _named(recipes: Recipes) -> dict[str, Recipe | None]:
    given: object = recipes
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
        raise _no_recipes("these are no recipes", repr(given)[:80])
    if isinstance(recipes, Mapping):
        found = {name: None if one is None else as_recipe(one) for name, one in recipes.items()}
    else:
        own = [as_recipe(one) for one in recipes]
        found = {one.name: one for one in own}
        if len(found) < len(own):
            raise _no_recipes("two recipes have one name", ", ".join(one.name for one in own))
    if not found:
        raise _no_recipes("there is nothing to compare", repr(recipes)[:80])
    return found


def _no_recipes(what: str, found: str) -> FaninError:
    return FaninError(
        what,
        where="fanin.compare, recipes=",
        found=found,
        fix="give recipes by name, such as {'torch': None, 'steady': fanin.recipes.steady}",
    )
