"""The numbers and words that `compare` and `sweep_scale` are given; wrong ones fail at once."""

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Final, get_args

from fanin._compare._records import Optimizer, Settings, Way
from fanin._compare._search import GRIDS, next_rate
from fanin._errors import FaninError, nearest
from fanin._numbers import is_number, is_whole

__all__ = ["positive", "require_run", "settings_of", "unusable"]

_MOST_SEEDS: Final = 1000
"""Scoring seeds are below 1000, so that they are never those of the tuning."""


def settings_of(
    where: str,
    *,
    optimizer: Optimizer,
    steps: int,
    target: float | None,
    rates: Sequence[float] | None,
    tuning_seeds: int,
    scoring_seeds: int,
    seed: int,
    wider: int = 0,
) -> Settings:
    """The settings of a comparison; without ``rates`` the optimizer's, ``wider`` on either side.

    Raises:
        FaninError: for what is no such number or optimizer, naming the argument of ``where``.
    """
    if optimizer not in GRIDS:
        fix = f"use one of: {nearest(str(optimizer), GRIDS)}"
        raise unusable("there is no such optimizer", f"{where}, optimizer=", optimizer, fix)
    for name, count in {"tuning_seeds": tuning_seeds, "scoring_seeds": scoring_seeds}.items():
        _require_count(where, name, count, most=_MOST_SEEDS)
    _require_count(where, "steps", steps)
    if not is_whole(seed):
        raise unusable("seed is no whole number", f"{where}, seed=", seed, "give 0 or more")
    _require_number(where, "target", target)
    return Settings(
        optimizer=optimizer,
        steps=steps,
        target=target,
        window=_window(steps),
        rates=_grid(optimizer, wider) if rates is None else positive(f"{where}, rates=", rates),
        tuning_seeds=tuple(seed + _MOST_SEEDS + n for n in range(tuning_seeds)),
        scoring_seeds=tuple(seed + n for n in range(scoring_seeds)),
    )


def require_run(
    where: str, *, batch: int, workers: int, way: Way | None, budget: float | None = None
) -> None:
    """What says how and for how long to train, not what.

    Raises:
        FaninError: for what makes no sense, naming the argument of ``where``.
    """
    _require_count(where, "batch", batch)
    if not is_whole(workers):
        raise unusable(
            "workers is no whole number", f"{where}, workers=", workers, "give 0 or more"
        )
    if way is not None and way not in get_args(Way):
        fix = f"use one of: {nearest(str(way), get_args(Way))}; None takes the faster one"
        raise unusable("there is no such way to train", f"{where}, way=", way, fix)
    _require_number(where, "budget", budget)
    if budget is not None and budget <= 0:
        raise unusable("there is no time", f"{where}, budget=", budget, "give seconds, or None")


def positive(where: str, given: Iterable[float]) -> tuple[float, ...]:
    """Positive numbers in order, each once.

    >>> positive("a test", (3, 1, 3.0))
    (1.0, 3.0)
    """
    found = list(given)
    if found and all(is_number(one) and isfinite(one) and one > 0 for one in found):
        return tuple(sorted({float(one) for one in found}))
    name = where.rpartition(", ")[2].removesuffix("=")
    raise unusable(f"{name} are positive numbers", where, given, "give some, such as (0.1, 1)")


def unusable(what: str, where: str, found: object, fix: str) -> FaninError:
    """The error for an argument."""
    return FaninError(what, where=where, found=repr(found)[:80], fix=fix)


def _require_count(where: str, name: str, count: int, most: int | None = None) -> None:
    if not is_whole(count, least=1):
        raise unusable(f"{name} is no number of them", f"{where}, {name}=", count, "give 1 or more")
    if most is not None and count > most:
        raise unusable("too many seeds", f"{where}, {name}=", count, f"give at most {most}")


def _require_number(where: str, name: str, value: float | None) -> None:
    if value is not None and not (is_number(value) and isfinite(value)):
        raise unusable(f"{name} is no number", f"{where}, {name}=", value, "give one, or None")


def _grid(optimizer: Optimizer, wider: int) -> tuple[float, ...]:
    rates = list(GRIDS[optimizer])
    for _ in range(wider):
        rates = [next_rate(rates[0], up=False), *rates, next_rate(rates[-1], up=True)]
    return tuple(rates)


def _window(steps: int) -> int:
    """Batches that the running loss is the mean of: 20, and at most a fifth of the steps."""
    return max(1, min(20, steps // 5))
