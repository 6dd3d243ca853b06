"""`compare`: short trainings of one model from several starts, and what may be said of them."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isfinite
from typing import Final

from torch import nn

from fanin._compare._comparison import Comparison
from fanin._compare._contest import Contest, Progress, Recipes
from fanin._compare._data import Data, LossFunction, as_data
from fanin._compare._records import Optimizer, Settings
from fanin._compare._search import GRIDS
from fanin._compare._workers import Executor
from fanin._errors import FaninError, nearest
from fanin._numbers import is_number, is_whole
from fanin._trace._run import describe

__all__ = ["compare", "window_of"]


def compare(
    make_model: Callable[[], nn.Module],
    recipes: Recipes,
    data: object,
    *,
    loss: LossFunction | None = None,
    optimizer: Optimizer = "adam",
    rates: Sequence[float] | None = None,
    target: float | None = None,
    steps: int = 500,
    batch: int = 64,
    budget: float | None = None,
    tuning_seeds: int = 3,
    scoring_seeds: int = 8,
    seed: int = 0,
    reference: str | None = None,
    workers: int = 0,
    executor: Executor | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Which start trains this model fastest: short trainings, each start at its own best rate.

    ``make_model`` makes the model anew for each training. ``recipes``: by name, None for the model
    as it is made. ``data``: tensors (inputs, targets), two such pairs of which the second is held
    out, or a function of a seed that returns a function of the step; ``batch`` examples a step.
    ``loss`` of (result, targets); without it cross-entropy or the mean squared error.

    The rate of each start is chosen on ``tuning_seeds`` seeds, from a grid of half decades that is
    widened while the best one is on its edge; of ``rates`` with one rate it is that. What counts
    are ``scoring_seeds`` other seeds, with the same batches for all starts. What is compared is
    steps until the running loss is at most ``target``; without one, the loss that the reference has
    after three quarters of ``steps``, on its worst tuning seed. Runs that diverge or do not arrive
    are outcomes, and counted.

    ``budget``: seconds that this may take, about; seeds, and then steps, are cut to keep it.
    ``workers``: processes to train in; 0 for this one. ``executor``: anything with ``submit``.
    ``resume``: a file that keeps every training as it ends, also when interrupted; with the same
    arguments it is gone on with. ``progress`` is told of the phase, the steps of all trainings that
    are done, and how many there are.

    Raises:
        FaninError: for a model, recipe, data or file that does not fit, for unknown names, and for
            a training that fails, with its start, rate, seed and step.

    >>> import fanin, torch
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> make = lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> zeros = lambda site: fanin.initializers.Zeros
    >>> found = compare(make, {"own": None, "zeros": zeros}, (x, (x[:, 0] > 0).long()),
    ...     steps=60, rates=(0.01, 0.03), tuning_seeds=1, scoring_seeds=4)
    >>> [sum(one.steps is not None for one in found.of(name)) for name in ("own", "zeros")]
    [4, 0]
    """
    began = time.monotonic()
    _require_numbers(steps, batch, tuning_seeds, scoring_seeds, seed, workers, budget, target)
    settings = Settings(
        optimizer=_known(optimizer),
        steps=steps,
        target=target,
        window=window_of(steps),
        rates=_rates(optimizer, rates),
        tuning_seeds=tuple(seed + 1000 + n for n in range(tuning_seeds)),
        scoring_seeds=tuple(seed + n for n in range(scoring_seeds)),
    )
    asked = as_data(data, size=batch, loss=loss)
    contest = Contest.of(make_model, recipes, asked, settings)
    first = next(iter(contest.starts)) if reference is None else reference
    if first not in contest.starts:
        raise _unusable(
            "there is no such start to compare to",
            "reference",
            first,
            f"use one of: {nearest(str(first), contest.starts)}",
        )
    found = contest.run(
        first,
        budget=budget,
        resume=resume,
        workers=workers,
        executor=executor,
        progress=progress,
    )
    return replace(found, data=_said(asked), seconds=time.monotonic() - began)


def window_of(steps: int) -> int:
    """Batches that the running loss is the mean of: 20, and at most a fifth of the steps.

    >>> window_of(500), window_of(50)
    (20, 10)
    """
    return max(1, min(20, steps // 5))


def _said(data: Data) -> str:
    """What the batches are, and what is held out."""
    inputs, targets = data.example()
    text = f"a step: {describe(inputs)}, targets {describe(targets)}"
    if data.test is None:
        return f"{text}; nothing held out"
    return f"{text}; held out: {describe(data.test[0])}"


def _rates(optimizer: Optimizer, rates: Sequence[float] | None) -> tuple[float, ...]:
    if rates is None:
        return GRIDS[optimizer]
    if rates and all(is_number(one) and isfinite(one) and one > 0 for one in rates):
        return tuple(sorted({float(one) for one in rates}))
    raise _unusable("rates are positive numbers", "rates", rates, "give some, such as (0.01, 0.1)")


_MOST_SEEDS: Final = 1000
"""Scoring seeds are below 1000, so that they are never those of the tuning."""


def _require_numbers(
    steps: int,
    batch: int,
    tuning_seeds: int,
    scoring_seeds: int,
    seed: int,
    workers: int,
    budget: float | None,
    target: float | None,
) -> None:
    """What would fail late, or make no sense, fails at once."""
    counts = {"steps": steps, "batch": batch, "tuning_seeds": tuning_seeds}
    counts["scoring_seeds"] = scoring_seeds
    for name, count in counts.items():
        if not is_whole(count, least=1):
            raise _unusable(f"{name} is no number of them", name, count, "give at least 1")
    if scoring_seeds > _MOST_SEEDS:
        raise _unusable("too many seeds", "scoring_seeds", scoring_seeds, "give at most 1000")
    for name, count in {"seed": seed, "workers": workers}.items():
        if not is_whole(count):
            raise _unusable(f"{name} is no whole number", name, count, "give 0 or more")
    for name, value in {"budget": budget, "target": target}.items():
        if value is not None and not (is_number(value) and isfinite(value)):
            raise _unusable(f"{name} is no number", name, value, "give one, or None")
    if budget is not None and budget <= 0:
        raise _unusable("there is no time", "budget", budget, "give seconds, or None")


def _known(optimizer: Optimizer) -> Optimizer:
    if optimizer in GRIDS:
        return optimizer
    fix = f"use one of: {', '.join(GRIDS)}"
    raise _unusable("there is no such optimizer", "optimizer", optimizer, fix)


def _unusable(what: str, name: str, found: object, fix: str) -> FaninError:
    return FaninError(what, where=f"fanin.compare, {name}=", found=repr(found)[:80], fix=fix)
