"""`compare`: short trainings of one model from several starts, and what may be said of them."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from fanin._compare._comparison import Comparison
from fanin._compare._contest import Contest, Progress, Recipes
from fanin._compare._data import LossFunction, as_data
from fanin._compare._records import Optimizer, Settings
from fanin._compare._search import GRIDS
from fanin._compare._workers import Executor
from fanin._errors import FaninError, nearest

__all__ = ["compare"]


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
    widened while the best one is on its edge; what counts are ``scoring_seeds`` other seeds, with
    the same batches for all starts. What is compared is steps until the running loss is at most
    ``target``; without one, the loss that the reference has after ``steps`` on the tuning seeds.
    Runs that diverge or do not arrive are outcomes, and counted.

    ``budget``: seconds that this may take, about; seeds, and then steps, are cut to keep it.
    ``workers``: processes to train in; 0 for this one. ``executor``: anything with ``submit``.
    ``resume``: a file that keeps every training as it ends, also when interrupted; with the same
    arguments it is gone on with.

    Raises:
        FaninError: for a model, recipe, data or file that does not fit, and unknown names.
    """
    asked = as_data(data, size=batch, loss=loss)
    settings = Settings(
        optimizer=_known(optimizer),
        steps=steps,
        target=target,
        rates=tuple(sorted(rates or GRIDS[optimizer])),
        tuning_seeds=tuple(seed + 1000 + n for n in range(tuning_seeds)),
        scoring_seeds=tuple(seed + n for n in range(scoring_seeds)),
    )
    contest = Contest.of(make_model, recipes, asked, settings)
    first = next(iter(contest.starts)) if reference is None else reference
    if first not in contest.starts:
        raise FaninError(
            "there is no such start to compare to",
            where="fanin.compare, reference=",
            found=repr(first),
            fix=f"use one of: {nearest(first, contest.starts)}",
        )
    began = time.monotonic()
    found = contest.run(
        first,
        budget=budget,
        resume=resume,
        workers=workers,
        executor=executor,
        progress=progress,
    )
    return replace(found, seconds=time.monotonic() - began)


def _known(optimizer: Optimizer) -> Optimizer:
    if optimizer in GRIDS:
        return optimizer
    raise FaninError(
        "there is no such optimizer",
        where="fanin.compare, optimizer=",
        found=repr(optimizer),
        fix=f"use one of: {', '.join(GRIDS)}",
    )
