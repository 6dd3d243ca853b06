"""`sweep_scale`: which scales of a start still train, with and without norm layers."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite, log10, sqrt
from pathlib import Path
from typing import Final, final

import torch

from fanin._compare._arguments import positive, require_run, settings_of, unusable
from fanin._compare._comparison import Comparison
from fanin._compare._contest import Contest, Progress
from fanin._compare._data import Data, LossFunction, as_data
from fanin._compare._facts import first_batch, made
from fanin._compare._norms import NAMES, AnyMaker, Norm, has_norms, maker_of
from fanin._compare._records import Member, Optimizer, Settings, Way
from fanin._compare._scale_result import ScaleSweep, factor_name
from fanin._compare._train import built
from fanin._compare._workers import Executor
from fanin._errors import FaninError
from fanin._observe import run
from fanin._plan import Entry, Plan, plan
from fanin.recipes import Recipe, RecipeLike, as_recipe, steady

__all__ = ["FACTORS", "sweep_scale"]

FACTORS: Final = tuple(10 ** (k / 2) for k in range(-4, 5))
"""Half decades from 0.01 to 100."""
_WIDER: Final = 2
"""Half decades that the grid of rates is wider by on either side: scales move the best rate."""
_SHOWN: Final = 6
"""Names that a note lists."""
_WHERE: Final = "fanin.sweep_scale"


def sweep_scale(
    make_model: AnyMaker,
    data: object,
    *,
    norms: Sequence[Norm] = (None, "batch", "layer"),
    factors: Sequence[float] = FACTORS,
    hidden_only: bool = False,
    recipe: RecipeLike = steady,
    target: float | None = None,
    steps: int = 250,
    batch: int = 64,
    loss: LossFunction | None = None,
    optimizer: Optimizer = "adam",
    rates: Sequence[float] | None = None,
    tuning_seeds: int = 2,
    scoring_seeds: int = 5,
    seed: int = 0,
    workers: int = 0,
    executor: Executor | None = None,
    way: Way | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> ScaleSweep:
    """W <- c W for each factor c: which scales reach the target, each at its own best rate.

    ``make_model`` makes the model: of one argument, the norm (None, ``"batch"`` or ``"layer"``);
    or of none, and then norm layers are put behind each Linear and convolution whose output goes
    through an activation to another weight. Every weight that multiplies is scaled, with
    ``hidden_only`` neither the first ones nor the readout; biases are not.

    A scale trains where all ``scoring_seeds`` seeds have a running loss of ``target`` at most
    within ``steps``, at the rate that is best for it and its norm on ``tuning_seeds`` other seeds.
    The grid of rates is widened while the best one is on its edge. Without a ``target``: halfway,
    in ratio, from the loss before training to the one that the first norm's unscaled start has
    after ``steps``. The band is the run of neighbours that train around 1; a finer grid of
    ``factors`` finds its ends more closely.

    ``data``, ``loss``, ``batch``, ``workers``, ``executor``, ``way`` and ``progress`` are as in
    `fanin.compare`. ``resume``: a directory that keeps every training as it ends.

    Raises:
        FaninError: for a model in which norm layers cannot be placed, or without weights to scale;
            for factors, norms and data that do not fit.

    >>> from torch import nn
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> make = lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> sweep = sweep_scale(make, (x, (x[:, 0] > 0).long()), norms=(None,), factors=(1, 1000),
    ...     target=0.35, steps=60, rates=(0.01, 0.03), tuning_seeds=1, scoring_seeds=2)
    >>> [cell.trains for cell in sweep.cells(None)]
    [True, False]
    """
    began = time.monotonic()
    require_run(_WHERE, batch=batch, workers=workers, way=way)
    scaling = _Scaling(
        recipe=as_recipe(recipe),
        factors=_distinct(factors),
        hidden_only=hidden_only,
        data=as_data(data, size=batch, loss=loss),
        settings=settings_of(
            _WHERE,
            optimizer=optimizer,
            steps=steps,
            target=target,
            rates=rates,
            tuning_seeds=tuning_seeds,
            scoring_seeds=scoring_seeds,
            seed=seed,
            wider=_WIDER,
        ),
    )
    runner = _Runner(workers, executor, way, resume, progress)
    with torch.random.fork_rng(devices=[]):
        fields = [scaling.field(make_model, norm) for norm in _checked_norms(norms)]
    said = "given"
    if target is None:
        goal, said = _goal(fields[0], runner)
        fields = [field.reaching(goal) for field in fields]
    comparisons = (replace(runner.run(field), target=said) for field in fields)
    return ScaleSweep(
        model=fields[0].contest.model,
        recipe=scaling.recipe.name,
        factors=scaling.factors,
        norms=tuple(field.norm for field in fields),
        comparisons=tuple(comparisons),
        scaled="hidden weights" if hidden_only else "all weights",
        own_norms=any(field.normed for field in fields if field.norm is None),
        notes=tuple(note for field in fields for note in field.notes),
        seconds=time.monotonic() - began,
    )


@final
@dataclass(frozen=True, slots=True)
class _Field:
    """The contest of all scales with one norm."""

    norm: Norm
    contest: Contest
    middle: str
    """The start that is scaled least."""
    normed: bool
    """Whether the model normalizes."""
    notes: tuple[str, ...]

    def reaching(self, target: float) -> "_Field":
        """The same with this target."""
        settings = replace(self.contest.settings, target=target)
        return replace(self, contest=replace(self.contest, settings=settings))


@final
@dataclass(frozen=True, slots=True)
class _Scaling:
    """What makes a contest for each norm."""

    recipe: Recipe
    factors: tuple[float, ...]
    hidden_only: bool
    data: Data
    settings: Settings

    def field(self, make_model: AnyMaker, norm: Norm) -> _Field:
        """The starts of the model with this norm."""
        inputs, _ = first_batch(self.data)
        maker, paths = maker_of(make_model, norm, inputs)
        model = made(maker)
        start = plan(model, inputs, recipe=self.recipe)
        if any(entry.awaits_calibration for entry in start):
            start = start.calibrate(model, inputs)
        names, kept = self._scaled(start)
        starts = {
            factor_name(factor): start.scaled(dict.fromkeys(names, factor))
            for factor in self.factors
        }
        formulas = dict.fromkeys(starts, self.recipe.formula)
        contest = Contest(maker, starts, formulas, self.data, self.settings, type(model).__name__)
        return _Field(
            norm,
            contest,
            middle=factor_name(min(self.factors, key=lambda factor: abs(log10(factor)))),
            normed=has_norms(entry.site for entry in start),
            notes=_notes(norm, paths, kept),
        )

    def _scaled(self, start: Plan) -> tuple[list[str], list[str]]:
        """The weights that are multiplied, and those that stay because nothing is drawn."""
        weights = [entry for entry in start if _multiplies(entry)]
        if self.hidden_only:
            weights = [entry for entry in weights if _is_hidden(entry)]
        drawn = [entry.name for entry in weights if entry.state == "filled"]
        if drawn:
            return drawn, [entry.name for entry in weights if entry.state != "filled"]
        raise FaninError(
            "there is no weight to scale",
            where="fanin.sweep_scale",
            found=f"{len(weights)} weights that multiply, none of them drawn by the recipe",
            fix="use a deeper model, another recipe, or hidden_only=False",
        )


def _multiplies(entry: Entry) -> bool:
    return entry.site.layout is not None and entry.site.layout.has_fans


def _is_hidden(entry: Entry) -> bool:
    site = entry.site
    at_an_end = {"readout", "embedding"} & {site.role, *site.other_roles}
    return site.depth > 1 and not at_an_end


def _notes(norm: Norm, paths: Sequence[str], kept: Sequence[str]) -> tuple[str, ...]:
    notes = []
    if paths:
        put = f"{NAMES[norm]} norm was put behind {len(paths)} layers"
        notes.append(f"{put.capitalize()}: {_listed(paths)}.")
    if kept:
        notes.append(f"Not scaled, as nothing is drawn for them: {_listed(kept)}.")
    return tuple(notes)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


@final
@dataclass(frozen=True, slots=True)
class _Runner:
    """Where and how contests are run; each norm has a file of its own in ``resume``."""

    workers: int
    executor: Executor | None
    way: Way | None
    resume: str | os.PathLike[str] | None
    progress: Progress | None

    def run(self, field: _Field, *, what: str = "") -> Comparison:
        """The trainings of one norm."""
        name = what or NAMES[field.norm]
        return field.contest.run(
            field.middle,
            workers=self.workers,
            executor=self.executor,
            way=self.way,
            resume=None if self.resume is None else Path(self.resume) / f"{name}.jsonl",
            progress=self.progress and partial(_told, self.progress, name),
        )


def _told(progress: Progress, name: str, phase: str, done: int, total: int) -> None:
    progress(f"{name}, {phase}", done, total)


def _goal(field: _Field, runner: _Runner) -> tuple[float, str]:
    """A target halfway, in ratio, to what the start that is scaled least comes to; and in words."""
    contest, name = field.contest, field.middle
    alone = replace(
        contest,
        starts={name: contest.starts[name]},
        settings=replace(contest.settings, scoring_seeds=()),
    )
    end = runner.run(replace(field, contest=alone), what="target").settings.target
    first = _first_loss(alone, name)
    if end is None or not (isfinite(first) and 0 < end < first):
        raise FaninError(
            "there is no target, and the start does not train, from which one would be taken",
            where="fanin.sweep_scale, target=",
            found=f"a loss of {first:.4g} before training and {end} after",
            fix="give target=, the running loss to reach, or more steps",
        )
    said = f"halfway, in ratio, from {first:.3g} before training to {end:.3g}"
    return float(f"{sqrt(first * end):.3g}"), said


def _first_loss(contest: Contest, name: str) -> float:
    """The loss on the first batch, in training mode, before any step."""
    seed, rate = contest.settings.tuning_seeds[0], contest.settings.rates[0]
    model = built(contest.job([]), Member(name, rate, seed))
    inputs, targets = contest.data.batches(seed)(1)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        return float(contest.data.loss(run(model, inputs), targets))


def _distinct(factors: Sequence[float]) -> tuple[float, ...]:
    """In order; three digits are what factors are called by."""
    where = f"{_WHERE}, factors="
    found = positive(where, factors)
    if len({factor_name(one) for one in found}) == len(found):
        return found
    fix = "give some that are further apart, such as (0.1, 1, 10)"
    raise unusable("factors are told apart by three digits", where, factors, fix)


def _checked_norms(norms: Sequence[Norm]) -> list[Norm]:
    found = list(dict.fromkeys(norms))
    strange = [one for one in found if one not in NAMES]
    if found and not strange:
        return found
    raise FaninError(
        "there is no such norm",
        where="fanin.sweep_scale, norms=",
        found=repr(strange[0] if strange else norms)[:60],
        fix="use some of: None, 'batch', 'layer'",
    )
