"""`compare`: short trainings of one model from several starts, and what may be said of them."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from torch import nn

from fanin._compare._arguments import require_run, settings_of, unusable
from fanin._compare._comparison import Comparison
from fanin._compare._contest import Contest, Progress, Recipes
from fanin._compare._data import Data, LossFunction, as_data
from fanin._compare._records import Optimizer, Way
from fanin._compare._workers import Executor
from fanin._errors import nearest
from fanin._trace._run import describe

__all__ = ["compare"]

_WHERE: Final = "fanin.compare"


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
    way: Way | None = None,
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
    ``way``: members of a seed ``"together"``, as one stack, or ``"one by one"``; None for the
    faster one where both give the same losses. Which it is depends on the machine's load, and the
    last digits on which it is: name one where a comparison is to repeat bit for bit.
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
    require_run(_WHERE, batch=batch, workers=workers, way=way, budget=budget)
    settings = settings_of(
        _WHERE,
        optimizer=optimizer,
        steps=steps,
        target=target,
        rates=rates,
        tuning_seeds=tuning_seeds,
        scoring_seeds=scoring_seeds,
        seed=seed,
    )
    asked = as_data(data, size=batch, loss=loss)
    contest = Contest.of(make_model, recipes, asked, settings)
    first = next(iter(contest.starts)) if reference is None else reference
    if first not in contest.starts:
        fix = f"use one of: {nearest(str(first), contest.starts)}"
        where = f"{_WHERE}, reference="
        raise unusable("there is no such start to compare to", where, first, fix)
    found = contest.run(
        first,
        budget=budget,
        resume=resume,
        workers=workers,
        executor=executor,
        way=way,
        progress=progress,
    )
    return replace(found, data=_said(asked), seconds=time.monotonic() - began)


def _said(data: Data) -> str:
    """What the batches are, and what is held out."""
    inputs, targets = data.example()
    text = f"a step: {describe(inputs)}, targets {describe(targets)}"
    if data.test is None:
        return f"{text}; nothing held out"
    return f"{text}; held out: {describe(data.test[0])}"
