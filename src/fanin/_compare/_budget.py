"""Fewer seeds, and then fewer steps, so that a comparison keeps to its time."""

from dataclasses import replace

from fanin._compare._records import Settings

__all__ = ["member_steps", "within"]

_LEAST_SEEDS, _LEAST_STEPS = 4, 100


def member_steps(settings: Settings, starts: int) -> int:
    """Steps of all members together, at most, if no grid is widened."""
    tuning = len(settings.tuning_seeds) * len(settings.rates)
    return starts * (tuning + len(settings.scoring_seeds)) * settings.steps


def within(
    settings: Settings, starts: int, seconds_each: float, budget: float
) -> tuple[Settings, str]:
    """The settings cut to fit into ``budget`` seconds, and what was cut, in words.

    ``seconds_each``: of one step of one member. Scoring seeds go first, down to 4, then tuning
    seeds, down to 1, then steps, down to 100.

    >>> cut, said = within(Settings(rates=(0.1,)), 2, seconds_each=0.001, budget=6)
    >>> len(cut.scoring_seeds), len(cut.tuning_seeds), cut.steps, said
    (4, 2, 500, 'to keep to 6 s: 4 scoring seeds, 2 tuning seeds')
    """
    cut = settings
    while member_steps(cut, starts) * seconds_each > budget:
        if len(cut.scoring_seeds) > _LEAST_SEEDS:
            cut = replace(cut, scoring_seeds=cut.scoring_seeds[:-1])
        elif len(cut.tuning_seeds) > 1:
            cut = replace(cut, tuning_seeds=cut.tuning_seeds[:-1])
        elif cut.steps > _LEAST_STEPS:
            cut = replace(cut, steps=max(_LEAST_STEPS, int(cut.steps * 0.8)))
        else:
            break
    return cut, _said(settings, cut, budget)


def _said(before: Settings, after: Settings, budget: float) -> str:
    parts = []
    if after.scoring_seeds != before.scoring_seeds:
        parts.append(f"{len(after.scoring_seeds)} scoring seeds")
    if after.tuning_seeds != before.tuning_seeds:
        parts.append(f"{len(after.tuning_seeds)} tuning seeds")
    if after.steps != before.steps:
        parts.append(f"{after.steps} steps")
    return f"to keep to {budget:g} s: {', '.join(parts)}" if parts else ""
