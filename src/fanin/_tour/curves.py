"""Training losses made smooth, and the step at which they reach a target."""

from collections.abc import Sequence
from itertools import accumulate

__all__ = ["running_mean", "steps_to"]


def running_mean(losses: Sequence[float], window: int) -> list[float]:
    """Mean of the last ``window`` losses; entry 0 belongs to step ``window``.

    >>> running_mean([4.0, 2.0, 0.0, 0.0], window=2)
    [3.0, 1.0, 0.0]
    """
    sums = [0.0, *accumulate(losses)]
    return [(sums[end] - sums[end - window]) / window for end in range(window, len(sums))]


def steps_to(losses: Sequence[float], target: float, window: int) -> int | None:
    """The first step whose running mean is at or below ``target``; None if there is none.

    >>> steps_to([4.0, 2.0, 0.0, 0.0], target=1.0, window=2)
    3
    """
    smooth = running_mean(losses, window)
    return next((step for step, mean in enumerate(smooth, start=window) if mean <= target), None)
