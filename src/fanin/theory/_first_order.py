"""The noise that finite widths make, to first order in one over them."""

from dataclasses import dataclass
from typing import final

import numpy as np

from fanin.theory._activation import Resolved
from fanin.theory._cuts import Array
from fanin.theory._integrals import derivative_moments, moments_of_square, noise_moments

__all__ = ["Stack"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Layers 0 to L: the curve of q over all, the widths of all but the last.

    ln q of layer l + 1 strays by t_l times what it does in layer l, plus the noise e_l of a mean
    over n_l units.
    """

    phi: Resolved
    weight_variance: float
    curve: Array
    widths: Array

    @property
    def gradient_growth(self) -> float:
        """ln of the product of chi."""
        power = derivative_moments(self.phi, self.curve[:-1])[0]
        return float(np.log(self.weight_variance * power).sum())

    def signal_noise(self) -> float:
        """Var ln q of the last layer, from a given q of the first on."""
        own, passed, _ = self._steps()
        variance = 0.0
        for one, factor in zip(own, passed, strict=True):
            variance = factor**2 * variance + one
        return float(variance)

    def noise_of_both_ends(self) -> float:
        """What is added where both ends are means of z^2 over units: the first is a cause."""
        _, passed, _ = self._steps()
        first, last = self.widths[0], self.widths[-1]
        return float(2 / first + 2 / last - 4 * np.prod(passed) / first)

    def gradient_noise(self) -> float:
        """Var ln of the squared gradient: of phi'^2 v^2 over units, and of chi by q.

        v is the gradient of the activation, normal and, to this order, independent of z. The
        noise e_l moves q, and by it chi, in all layers after l.
        """
        second, fourth = derivative_moments(self.phi, self.curve[:-1])
        tilt, shared = noise_moments(self.phi, self.curve[:-1])
        own, passed, share = self._steps()
        variance, later = 0.0, 0.0  # later: d (sum of ln chi after layer l) / d ln q there
        for place in reversed(range(len(own))):
            width = self.widths[place]
            mask = (3 * fourth[place] / second[place] ** 2 - 1) / width
            both = 2 * later * share[place] * shared[place] / width
            variance += mask + both + later**2 * own[place]
            later = tilt[place] + passed[place] * later
        return float(variance)

    def _steps(self) -> tuple[Array, Array, Array]:
        """Var e_l; t_l = d ln q' / d ln q; the share of q' that the weights make."""
        q, following = self.curve[:-1], self.curve[1:]
        second, slope, fourth = moments_of_square(self.phi, q)
        share = self.weight_variance * second / following
        own = (fourth / second**2 - 1) * share**2 / self.widths
        return own, self.weight_variance * slope * q / following, share
