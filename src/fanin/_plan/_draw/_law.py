"""How far the squares of a drawn tensor may be from the planned ones."""

from dataclasses import dataclass
from math import isnan, log, sqrt
from typing import Final, final

import torch

from fanin._layout import Layout
from fanin.initializers import (
    ICNR,
    Constant,
    DeltaOrthogonal,
    Initializer,
    LooksLinear,
    Normal,
    Orthogonal,
    ScaledOutputs,
    Sparse,
    Uniform,
    VarianceScaling,
)

__all__ = ["FALSE_ALARM", "Law", "law_of"]

FALSE_ALARM: Final = 1e-9
"""The chance that a right start of a whole model is called wrong."""
_SUMMED: Final = 1e-4
"""What float32 sums and matrix products may be off, relative."""


@final
@dataclass(frozen=True, slots=True)
class Law:
    """Σ |w - mean|² over ``number`` entries: expected number std², spread as independent draws.

    ``peak``: the largest variance of an entry, 0 where the sum is no matter of chance.
    ``kurtosis``: E x⁴ / (E x²)², at most.
    """

    mean: float
    std: float
    peak: float = 0.0
    kurtosis: float = 3.0

    def margin(self, number: float, dtype: torch.dtype, comparisons: int) -> float:
        """How far the sum may be from number std², but for one model in 1 / FALSE_ALARM.

        Each square less its mean is sub-gamma: of variance (kurtosis - 1) peak std² at most, and
        of scale 3 peak, for a normal (Laurent & Massart 2000, lemma 1) as for a uniform
        (Bernstein). Rounding to ``dtype`` comes on top.

        >>> law = Law(0.0, 1.0, peak=1.0)
        >>> round(law.margin(1e6, torch.float32, comparisons=100) / 1e6, 3)
        0.01
        """
        expected = number * self.std**2
        t = log(2 * max(comparisons, 1) / FALSE_ALARM)
        chance = sqrt(2 * (self.kurtosis - 1) * self.peak * expected * t) + 3 * self.peak * t
        return chance + _rounded(expected, number, dtype) + _SUMMED * expected


def _rounded(expected: float, number: float, dtype: torch.dtype) -> float:
    """How much rounding each entry may change the sum, by Cauchy and Schwarz."""
    limits = torch.finfo(dtype)
    step = limits.smallest_normal * limits.eps
    errors = (limits.eps / 2) ** 2 * expected + number * (step / 2) ** 2
    return 2 * sqrt(expected * errors) + errors


def law_of(initializer: Initializer, layout: Layout) -> Law | None:
    """The law of the squares; None where an initializer is known to draw, but not how.

    >>> law_of(Normal(0.1), Layout((5, 5), "out in"))
    Law(mean=0.0, std=0.1, peak=0.010000000000000002, kurtosis=3.0)
    """
    std = initializer.std(layout)
    if isnan(std):
        return None
    if isinstance(initializer, Constant):
        return Law(initializer.value, 0.0)
    if isinstance(initializer, (Orthogonal, DeltaOrthogonal, LooksLinear)):
        return Law(0.0, std)
    if isinstance(initializer, (ICNR, ScaledOutputs)):
        return _composed(initializer, layout, std)
    return _independent(initializer, layout, std)


def _independent(initializer: Initializer, layout: Layout, std: float) -> Law | None:
    """The law of entries drawn one by one."""
    if isinstance(initializer, Normal):
        return Law(initializer.mean, std, std**2)
    if isinstance(initializer, Uniform):
        return Law((initializer.low + initializer.high) / 2, std, std**2, kurtosis=1.8)
    if isinstance(initializer, VarianceScaling):
        peak = _peak(initializer, layout)
        return Law(0.0, std, peak, 1.8 if initializer.distribution == "uniform" else 3.0)
    if isinstance(initializer, Sparse):
        _, columns = layout.parts()[0].layout.matrix_shape()
        return Law(0.0, std, std**2 * columns / min(initializer.connections, columns))
    return None


def _composed(initializer: ICNR | ScaledOutputs, layout: Layout, std: float) -> Law | None:
    """The law of what repeats or multiplies the draws of another initializer."""
    if isinstance(initializer, ICNR):
        repeats = initializer.upscale**2
        base = law_of(initializer.base, layout.narrow_outputs(repeats))
        return base and Law(base.mean, base.std, base.peak * repeats, base.kurtosis)
    base = law_of(initializer.base, layout)
    if base is None or base.mean != 0:
        return None
    largest = max((abs(factor) for factor in initializer.factors), default=0.0)
    # Outputs of an orthogonal matrix share its norm evenly only on average.
    return Law(0.0, std, largest**2 * max(base.peak, base.std**2), base.kurtosis)


def _peak(initializer: Initializer, layout: Layout) -> float:
    """The largest variance of a block's entries."""
    if len({block.size for block in layout.blocks}) <= 1:
        return initializer.std(layout) ** 2
    return max(initializer.std(part.layout) for part in layout.parts()) ** 2
