"""How far one random net, of finite width, strays from the mean-field curve."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from math import erfc, log, sqrt
from typing import Final, Literal, TypeAlias, final

import numpy as np

from fanin._errors import FaninError
from fanin._numbers import is_number
from fanin.theory._activation import Resolved, resolved
from fanin.theory._checks import require_layers
from fanin.theory._cuts import Array
from fanin.theory._first_order import Stack
from fanin.theory._log_gamma import LogGamma, distribution, normal_score
from fanin.theory._mean_field import MeanField

__all__ = ["Holds", "LogGrowth", "Of", "log_growth"]

Of: TypeAlias = Literal["activations", "pre-activations", "gradients"]
Holds: TypeAlias = Literal["exactly", "in mean and variance", "to first order in depth / width"]

_EULER: Final = 0.5772156649015329
_SAME: Final = 1e-12


@final
@dataclass(frozen=True)
class LogGrowth:
    """The law of ln(mean square after the layers / before them), over draws of the weights.

    ``holds`` says what of it is so for any width: the law, or its mean and variance, or nothing
    but the first order.

    >>> from fanin.theory import MeanField, log_growth
    >>> law = log_growth(MeanField("relu", 2.0), depth=32, width=64)
    >>> [round(end, 2) for end in law.interval(0.99)], round(law.median, 2)
    ([-5.58, 2.82], -1.27)
    """

    mean: float
    variance: float
    holds: Holds
    _laws: tuple[tuple[LogGamma, int], ...] = field(repr=False, compare=False)

    @property
    def median(self) -> float:
        """Half the nets grow less."""
        return self.quantile(0.5)

    def interval(self, level: float = 0.99) -> tuple[float, float]:
        """Between which ends the log growth of one net lies with probability ``level``.

        As much is left below as above. Divide by the depth for the growth rate.

        Raises:
            FaninError: ``level`` is not between 0 and 1.
        """
        if not (is_number(level) and 0 < level < 1):
            raise FaninError(
                "not a probability between 0 and 1",
                where="interval(level)",
                found=repr(level),
                fix="give the share of nets inside, 0.99 by default",
            )
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)

    def quantile(self, probability: float) -> float:
        """The log growth that this share of nets does not reach, to 1e-4 standard deviations."""
        points, scores = self._distribution
        return float(np.interp(normal_score(np.array([probability]))[0], scores, points))

    def probability(self, growth: float) -> float:
        """The share of nets whose log growth is at most this."""
        points, scores = self._distribution
        return 0.5 * erfc(-float(np.interp(growth, points, scores)) / sqrt(2))

    @cached_property
    def _distribution(self) -> tuple[Array, Array]:
        """Growths, and where a normal variable has the same probability: almost a line."""
        points, below = distribution(self._laws)
        scores = normal_score(below)
        points, scores = points[np.isfinite(scores)], scores[np.isfinite(scores)]
        rising = np.diff(scores, prepend=scores[0] - 1) > 0
        shift = self.mean - sum(count * law.mean for law, count in self._laws)
        return points[rising] + shift, scores[rising]


def log_growth(
    net: MeanField, depth: int, width: int | Sequence[int], *, of: Of = "activations"
) -> LogGrowth:
    """The law of ln(mean square after ``depth`` layers / before) of one net: wide is not infinite.

    ``width`` is that of every layer, or a sequence of ``depth`` widths. ``of`` names what is
    measured, for one input, over the units of a layer:

    - ``"activations"``: phi(z), from a given input on;
    - ``"pre-activations"``: z, at both ends over as many units;
    - ``"gradients"``: dL/dz, from the last of the layers back to the first.

    For ReLU, its leaky kin and linear layers without biases the ratios of successive layers are
    independent: the law of ReLU, identity and abs is exact for normal weights of any width,
    and the mean and the variance of the others. For ReLU at weight variance 2 the variance is
    about 5 depth / width and the mean half of it below zero: the mean net keeps its signal,
    the median one does not (Hanin and Nica 2020).
    Otherwise the first order: each layer adds kappa / width, kappa = E phi^4 / (E phi^2)^2 - 1,
    multiplied by the squared slope of ln q' in each one after it. It is good while the variance
    is small against 1; the mean is only good against the standard deviation. Weights of another
    distribution have the same first order.

    Raises:
        FaninError: a depth or width below 1, another number of widths than ``depth``; an ``of``
            that is not one of these, or is "gradients" of a product unit; the signal dies or grows
            beyond what can be followed.

    >>> from fanin.theory import MeanField, log_growth
    >>> law = log_growth(MeanField("relu", 2.0), depth=32, width=64)
    >>> round(law.mean, 4), round(law.variance, 4), law.holds
    (-1.2835, 2.6559, 'exactly')
    >>> round(log_growth(MeanField("tanh", 2.5361754), depth=10, width=128).variance, 5)
    0.00622
    """
    widths = _widths(depth, width)
    if of not in ("activations", "pre-activations", "gradients"):
        raise FaninError(
            "nothing is measured by this name",
            where="log_growth(of=...)",
            found=repr(of),
            fix='"activations", "pre-activations" or "gradients"',
        )
    phi = resolved(net.activation)
    slopes = _two_slopes(phi) if net.bias_variance == 0 else None
    if of == "gradients" and phi.gated:
        raise FaninError(
            "the gradients of product units have no known law",
            where="log_growth(of=...)",
            found=f"activation {phi.name}",
            fix='give of="activations" or "pre-activations"',
        )
    if slopes is not None:
        return _of_independent(net, widths, slopes, of)
    return _to_first_order(net, phi, widths, of)


def _widths(depth: int, width: int | Sequence[int]) -> tuple[int, ...]:
    require_layers("log_growth(depth)", depth, least=1)
    widths = tuple(width) if isinstance(width, Sequence) else (width,) * depth
    for one in widths:
        require_layers("log_growth(width)", one, least=1)
    if len(widths) == depth:
        return widths
    raise FaninError(
        "as many widths as layers are needed",
        where="log_growth(width)",
        found=f"{len(widths)} widths for a depth of {depth}",
        fix="give one width for all, or a sequence of depth widths",
    )


def _two_slopes(phi: Resolved) -> tuple[float, float] | None:
    """The slopes above and below zero of a phi that has nothing else."""
    if phi.gated:
        return None
    u = np.array([0.01, 0.3, 1.0, 7.0, 500.0])
    above, below = phi.values(u) / u, phi.values(-u) / -u
    if np.ptp(above) > _SAME * abs(above[0]) or np.ptp(below) > _SAME * abs(below[0]):
        return None
    return float(above[0]), float(below[0])


def _of_independent(
    net: MeanField, widths: Sequence[int], slopes: tuple[float, float], of: Of
) -> LogGrowth:
    low, high = sorted(abs(slope) for slope in slopes)
    counts = [(units, len(list(same))) for units, same in groupby(sorted(widths))]
    laws = tuple((_layer(low / high, units), count) for units, count in counts)
    holds: Holds = "exactly" if low in (0.0, high) else "in mean and variance"
    if of == "gradients" and low != high:
        # Masks depend on the forward direction of the weights, by 1 / width of the whole.
        holds = "to first order in depth / width"
    power = len(widths) * log(net.weight_variance * (low**2 + high**2) / 2)
    return LogGrowth(
        mean=power + sum(count * law.mean for law, count in laws),
        variance=sum(count * law.variance for law, count in laws),
        holds=holds,
        _laws=laws,
    )


def _layer(ratio: float, units: int) -> LogGamma:
    """ln of the mean of phi(z)^2 over so many units, in units of its expectation."""
    if ratio == 0:
        return LogGamma.of_active(units)
    if ratio == 1:
        return LogGamma(np.ones(1), np.array([units / 2]), np.array([2 / units]))
    return LogGamma.of(*_log_moments(ratio, units))


def _log_moments(ratio: float, units: int) -> tuple[float, float]:
    """E ln S and Var ln S of S = mean phi(z)^2 / E phi^2, from its Laplace transform L.

    E S^-s = 1 / Gamma(s) int L(t) t^(s-1) dt; expanded at s = 0, with exp(-t) taken off:
    E ln S = -a and E (ln S)^2 = 2 (b + gamma a), a, b = int (L(t) - exp(-t)) (1, ln t) dt / t.
    """
    step = 0.05
    log_t = np.arange(-50.0, 90.0, step)
    t = np.exp(log_t) * 4 / ((1 + ratio**2) * units)
    one = ((1 + t) ** -0.5 + (1 + ratio**2 * t) ** -0.5) / 2
    rest = one**units - np.exp(-np.exp(log_t))
    first, second = step * rest.sum(), step * (rest * log_t).sum()
    return -float(first), float(2 * (second + _EULER * first) - first**2)


def _to_first_order(net: MeanField, phi: Resolved, widths: Sequence[int], of: Of) -> LogGrowth:
    curve = np.array(net.forward(len(widths)))
    if not (np.isfinite(curve).all() and curve.min() > 0):
        raise FaninError(
            "the signal dies or grows beyond what can be followed",
            where=f"log_growth({phi.name}, depth={len(widths)})",
            found=f"q goes from {curve[0]:.4g} to {curve[-1]:.4g}",
            fix="give a smaller depth, or variances that keep the signal",
        )
    stack = Stack(phi, net.weight_variance, curve, np.array(widths, dtype=np.float64))
    mean = stack.gradient_growth if of == "gradients" else log(curve[-1] / curve[0])
    if of == "gradients":
        variance = stack.gradient_noise()
        mean -= variance / 2
    else:
        variance = noise = stack.signal_noise()
        mean -= noise / 2
        if of == "pre-activations":
            variance += stack.noise_of_both_ends()
    return LogGrowth(
        mean=mean,
        variance=variance,
        holds="to first order in depth / width",
        _laws=((LogGamma.of(-variance / 2, variance), 1),),
    )
