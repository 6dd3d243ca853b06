"""From a model to its plan, and to its start."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from fanin._errors import FaninError
from fanin._fill import padding_row
from fanin._plan._decide import Facts, decide
from fanin._plan._plan import Plan
from fanin._site import Site
from fanin._trace import trace
from fanin._trace._names import tensors_of
from fanin.initializers._base import take_seed
from fanin.initializers._target import has_no_data
from fanin.recipes import RecipeLike, as_recipe, steady

__all__ = ["facts_of", "initialize", "plan", "plan_from_sites"]


def plan(
    model: nn.Module,
    batch: object,
    *more: object,
    recipe: RecipeLike = steady,
    training: bool | None = None,
) -> Plan:
    """For every parameter and buffer of ``model`` how it starts, by ``recipe``; nothing is drawn.

    ``model`` runs once on ``batch`` (a tensor, a tuple of positional or a mapping of keyword
    arguments) and is left bit for bit as it was; both may be on the meta device. ``training`` is
    the mode it runs in. A start that the model declares for itself is kept: marked tensors,
    norms, learned scales, weights of zeros, buffers. What neither the model nor the recipe claims
    is listed as unclaimed.

    Raises:
        FaninError: for a model that does not run, for a recipe that does not apply to it, and for
            ``more``: what a model is called with is one batch.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    >>> found = plan(net, torch.randn(8, 20))
    >>> print(found.coverage())
    4 tensors: 4 filled, 0 kept, 0 unclaimed
    """
    _refuse_more(more, "fanin.plan")
    seen = trace(model, batch, training=training)
    return _planned(
        seen.sites, recipe, facts_of(model), model=seen.model, mode=seen.mode, batch=seen.batch
    )


def _refuse_more(more: Sequence[object], where: str) -> None:
    if more:
        kinds = ", ".join(type(one).__name__ for one in more)
        raise FaninError(
            "a model runs on one batch",
            where=where,
            found=f"{len(more)} more after the batch: {kinds}",
            fix=f"several inputs are a tuple, {where}(model, (x, y)), or a mapping of keyword "
            "arguments; the recipe is given as recipe=",
        )


def plan_from_sites(
    sites: Sequence[Site],
    recipe: RecipeLike,
    *,
    model: str = "",
    mode: str = "",
    batch: str = "",
) -> Plan:
    """The plan of hand-made or traced sites: `plan` without the run, to try a recipe.

    >>> from fanin import Layout
    >>> from fanin.initializers import Orthogonal
    >>> sites = [Site(name="weight", layout=Layout((3, 2), "out in"))]
    >>> plan_from_sites(sites, lambda site: Orthogonal())["weight"].initializer
    Orthogonal()
    """
    return _planned(sites, recipe, Facts(), model=model, mode=mode, batch=batch)


def _planned(
    sites: Sequence[Site], given: RecipeLike, facts: Facts, *, model: str, mode: str, batch: str
) -> Plan:
    recipe = as_recipe(given)
    entries = decide(sites, recipe, facts)
    return Plan(entries, recipe.name, recipe.formula, model, mode, batch)


def facts_of(model: nn.Module) -> Facts:
    """What a plan needs of ``model`` beside its sites."""
    found = tensors_of(model)
    rows = {one.name: padding_row(one.owner) for one in found if not one.is_buffer}
    return Facts(
        without_values={one.name for one in found if any(map(has_no_data, one.tensors))},
        padding_rows={name: row for name, row in rows.items() if row is not None},
    )


def initialize(
    model: nn.Module,
    batch: object,
    *more: object,
    recipe: RecipeLike = steady,
    seed: int | None = None,
    training: bool | None = None,
    allow_unclaimed: bool = False,
) -> Plan:
    """`plan`, `Plan.calibrate` where the recipe measures, `Plan.apply`; returns the applied plan.

    The weights are a function of ``seed`` and the parameters' names; without a seed one number is
    taken from torch's global generator. The plan's ``receipt`` says which, and what was done.

    Raises:
        FaninError: as these three; also for a parameter that nobody claims, unless
            ``allow_unclaimed``, which leaves it as it is.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    >>> print(initialize(net, torch.randn(8, 20), seed=0).receipt.seed)
    0
    """
    _refuse_more(more, "fanin.initialize")
    found = plan(model, batch, recipe=recipe, training=training)
    if any(entry.awaits_calibration for entry in found):
        seed = take_seed(seed)
        found = found.calibrate(model, batch, seed=seed, training=bool(training))
    return replace(found, receipt=found.apply(model, seed=seed, allow_unclaimed=allow_unclaimed))
