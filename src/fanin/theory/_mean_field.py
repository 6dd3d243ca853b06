"""What becomes of signals and gradients in a deep plain net whose layers are wide."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, isclose, isfinite, isinf, isnan, log, nan
from typing import Final, Literal, TypeAlias, final

import numpy as np

from fanin._gains import Activation
from fanin._gains.recognize import canonical
from fanin.theory._activation import Resolved, resolved
from fanin.theory._checks import require_correlation, require_layers, require_variance
from fanin.theory._correlation_map import CRITICAL, CorrelationMap
from fanin.theory._integrals import curvature, gradient_power
from fanin.theory._variance_map import FixedPoint, VarianceMap, study

__all__ = ["MeanField", "Phase", "depth_scale", "finite"]

Phase: TypeAlias = Literal["ordered", "critical", "chaotic"]

# Variances that stand for the limits at zero and at infinity.
_SMALL, _LARGE, _LARGER = 1e-24, 1e22, 1e24
_ONE: Final = 1e-12  # a factor, or its distance from 1, that is rounding


@final
@dataclass(frozen=True)
class MeanField:
    """z' = W phi(z) + b with W ~ N(0, weight_variance / fan_in), b ~ N(0, bias_variance), wide.

    The theory of Poole et al. (2016) and Schoenholz et al. (2017) for a plain stack of layers
    without normalization, at infinite width; a convolution is the same for each channel.
    ``weight_variance`` is sigma_w^2 = fan_in Var(W): 2 is He's start, 1 LeCun's, 1/3 torch's.
    A variance q is an E z^2 of pre-activations. ``q0`` is that of the first layer,
    sigma_w^2 E x^2 + sigma_b^2, from which the net is followed. Where a method is not given q
    it takes ``q_star``, to which q0 is led.

    An activation with a name compares by it, any other by identity. Both projections of a
    product unit, such as "swiglu", have variance q.

    Raises:
        FaninError: as ``fanin.moments`` for the activation; ``weight_variance`` or ``q0`` is not
            a number above 0, ``bias_variance`` not one of at least 0.

    >>> from fanin.theory import MeanField
    >>> print(MeanField("tanh", weight_variance=1.5, bias_variance=0.05))
    tanh, weight variance 1.5, bias 0.05: ordered
      q* = 0.418037   deviation  x 0.552 each layer: 1/e in 1.683 layers
      chi = 0.938636  gradient^2 x 0.9386 each layer: 1/e in 15.79 layers
      c* = 1          deviation  x 0.9386 each layer: 1/e in 15.79 layers
    """

    activation: Activation
    weight_variance: float
    bias_variance: float = 0.0
    q0: float = 1.0
    _phi: Resolved = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_variance("MeanField(weight_variance=...)", self.weight_variance)
        require_variance("MeanField(bias_variance=...)", self.bias_variance, above_zero=False)
        require_variance("MeanField(q0=...)", self.q0)
        object.__setattr__(self, "_phi", resolved(self.activation))
        object.__setattr__(self, "activation", canonical(self.activation))

    def __reduce__(self) -> tuple[object, ...]:
        return MeanField, (self.activation, self.weight_variance, self.bias_variance, self.q0)

    # Signals

    def q_map(self, q: float) -> float:
        """q' = sigma_w^2 E phi(sqrt(q) z)^2 + sigma_b^2: Poole et al. (2016), eq. 3.

        nan where phi oscillates too fast to be integrated.

        >>> round(MeanField("relu", 2.0, 0.1).q_map(3.0), 12)
        3.1
        """
        require_variance("q_map(q)", q, above_zero=False)
        return self._layer(q)

    @property
    def q_fixed_points(self) -> tuple[FixedPoint, ...]:
        """Every q with q' = q, increasing; the one at q0 where every q is kept.

        >>> points = MeanField("silu", 3.0).q_fixed_points
        >>> [(round(point.q, 4), point.stability) for point in points]
        [(0.0, 'stable'), (0.682, 'unstable')]
        """
        return self._study[0]

    @property
    def q_star(self) -> float:
        """The variance to which q0 is led by depth; 0 if the signal dies, inf if it grows for ever.

        >>> MeanField("gelu", 2.0).q_star, MeanField("elu", 2.0).q_star
        (0.0, inf)
        """
        return self._study[1]

    @property
    def q_slope(self) -> float:
        """dq'/dq at q_star: the factor of a small deviation of the variance, layer by layer.

        sigma_w^2 E phi^2 (z^2 - 1) / (2 q), which by parts is sigma_w^2 E[phi'^2 + phi phi''].

        >>> round(MeanField("tanh", 1.5, 0.05).q_slope, 6)
        0.551983
        """
        return _limit(self._layer.slope, self.q_star)

    @property
    def depth_scale_q(self) -> float:
        """xi_q = -1 / ln |dq'/dq|: layers in which a deviation of q falls by e; below 0 it grows.

        >>> round(MeanField("tanh", 1.5, 0.05).depth_scale_q, 6)
        1.682828
        """
        return depth_scale(self.q_slope)

    def forward(self, depth: int, q0: float | None = None) -> tuple[float, ...]:
        """q of layers 0 to ``depth``, from q0 on; inf from where it is too large to follow.

        >>> [round(q, 3) for q in MeanField("gelu", 2.0).forward(3)]
        [1.0, 0.85, 0.706, 0.569]
        """
        require_layers("forward(depth)", depth)
        curve = [self._first(q0)]
        for _ in range(depth):
            following = self._layer(curve[-1]) if isfinite(curve[-1]) else inf
            curve.append(inf if isnan(following) else following)
        return tuple(curve)

    # Gradients

    def chi(self, q: float | None = None) -> float:
        """chi = sigma_w^2 E phi'(sqrt(q) z)^2: the factor of squared gradients, layer by layer.

        Poole et al. (2016), eq. 5, as chi_1 at q_star. phi' is autograd's: a step adds nothing.
        At 0 and inf the limit.

        >>> round(MeanField("relu", 2.0).chi(), 9), round(MeanField("tanh", 1.0).chi(q=1.0), 6)
        (1.0, 0.464403)
        """
        if q is None:
            q = self.q_star
        elif q != inf:
            require_variance("chi(q)", q, above_zero=False)
        factor = _limit(self._chi, _SMALL if q == 0 else q)
        return 0.0 if factor < _ONE else factor

    @property
    def depth_scale_gradient(self) -> float:
        """xi = -1 / ln chi: layers in which squared gradients fall by e; below 0 they grow.

        >>> round(MeanField("tanh", 2.0, 0.05).depth_scale_gradient, 3)
        -21.475
        """
        return depth_scale(self.chi())

    @property
    def phase(self) -> Phase:
        """Ordered if chi < 1 at q_star, chaotic if chi > 1, critical within 1e-9.

        Of a phi that steps, such as a sign, two inputs always part: chaotic, whatever chi.

        >>> [MeanField("tanh", w, 0.05).phase for w in (1.5, 1.7609546396067386, 2.0)]
        ['ordered', 'critical', 'chaotic']
        """
        if len(self._phi.steps) and 0 < self.q_star < inf:
            return "chaotic"
        chi = self.chi()
        if abs(chi - 1) <= CRITICAL:
            return "critical"
        return "ordered" if chi < 1 else "chaotic"

    def backward(self, depth: int, q0: float | None = None) -> tuple[float, ...]:
        """E (dL/dz)^2 of layers 0 to ``depth``, in units of the last; of one width.

        Entry l is the product of chi(q) over layers l to depth - 1 (Schoenholz et al. 2017).
        Where widths differ, multiply by n_depth / n_l.

        >>> [round(power, 3) for power in MeanField("tanh", 1.0).backward(3)]
        [0.215, 0.463, 0.727, 1.0]
        """
        curve = [1.0]
        for q in reversed(self.forward(depth, q0)[:-1]):
            curve.append(curve[-1] * self.chi(q))
        return tuple(reversed(curve))

    # Two inputs

    def c_map(self, c: float, q: float | None = None) -> float:
        """c' = (sigma_w^2 E phi(u1) phi(u2) + sigma_b^2) / q', u1, u2 of variance q, correlation c.

        Poole et al. (2016), eq. 4. At a q_star of 0 or inf the limit.

        >>> round(MeanField("relu", 2.0).c_map(0.0), 6)
        0.31831
        """
        require_correlation("c_map(c)", c)
        if q is None:
            return self._correlations(c)
        require_variance("c_map(q=...)", q)
        return CorrelationMap(self._layer, q)(c)

    @property
    def c_star(self) -> float:
        """The correlation to which two inputs are led: 1, or less in the chaotic phase.

        nan where every c is kept, as by the identity.

        >>> round(MeanField("tanh", 2.0, 0.05).c_star, 6)
        0.744082
        """
        return self._c_limit[0]

    @property
    def c_slope(self) -> float:
        """dc'/dc at c_star.

        >>> round(MeanField("tanh", 2.0, 0.05).c_slope, 6)
        0.961115
        """
        return self._c_limit[1]

    @property
    def depth_scale_c(self) -> float:
        """xi_c = -1 / ln (dc'/dc): layers in which c - c_star falls by e; inf if critical.

        A plain net trains down to about six of them (Schoenholz et al. 2017).

        >>> round(MeanField("tanh", 2.0, 0.05).depth_scale_c, 3)
        25.213
        """
        return depth_scale(self.c_slope)

    @property
    def critical_rate(self) -> float:
        """kappa_1 = 2 / (sigma_w^2 q E phi''^2): on the critical line 1 - c -> kappa_1 / layers.

        Hayou et al. (2019), for a smooth phi at a q_star above 0; otherwise nan. ReLU and others
        that bend lose 1 - c as 1 / layers^2.

        >>> from fanin.theory import edge_of_chaos
        >>> round(edge_of_chaos("tanh", bias_variance=0.05).critical_rate, 4)
        6.1711
        """
        if self.phase != "critical" or not 0 < self.q_star < inf or len(self._phi.bends):
            return nan
        power = self.weight_variance * self.q_star * curvature(self._phi, self.q_star)
        return 2 / power if power > CRITICAL else inf

    def correlation(self, c0: float, depth: int, q0: float | None = None) -> tuple[float, ...]:
        """c of layers 0 to ``depth``, of two inputs of variance q0 and correlation c0.

        >>> [round(c, 4) for c in MeanField("relu", 2.0).correlation(0.0, depth=4)]
        [0.0, 0.3183, 0.4937, 0.6048, 0.681]
        """
        require_correlation("correlation(c0)", c0)
        curve = [float(c0)]
        for q in self.forward(depth, q0)[:-1]:
            curve.append(min(1.0, CorrelationMap(self._layer, finite(q))(curve[-1])))
        return tuple(curve)

    def __str__(self) -> str:
        rows = [
            ("q*", self.q_star, "deviation", self.q_slope),
            ("chi", self.chi(), "gradient^2", self.chi()),
            ("c*", self.c_star, "deviation", self.c_slope),
        ]
        variances = f"weight variance {self.weight_variance:.6g}, bias {self.bias_variance:.6g}"
        lines = [f"{self._phi.name}, {variances}: {self.phase}"]
        for name, value, what, factor in rows:
            number = "any" if isnan(value) else f"{value:.6g}"
            lines.append(f"  {f'{name} = {number}':<16}{what:<11}{_by_layer(factor)}")
        return "\n".join(lines)

    # The parts

    @cached_property
    def _layer(self) -> VarianceMap:
        return VarianceMap(self._phi, self.weight_variance, self.bias_variance)

    @cached_property
    def _study(self) -> tuple[tuple[FixedPoint, ...], float]:
        return study(self._layer, self.q0)

    @cached_property
    def _correlations(self) -> CorrelationMap:
        return CorrelationMap(self._layer, finite(self.q_star))

    @cached_property
    def _c_limit(self) -> tuple[float, float]:
        return self._correlations.limit()

    def _first(self, q0: float | None) -> float:
        if q0 is None:
            return float(self.q0)
        require_variance("q0", q0)
        return float(q0)

    def _chi(self, q: float) -> float:
        return self.weight_variance * float(gradient_power(self._phi, np.array([q]))[0])


def finite(q: float) -> float:
    """q, or a variance that stands for the limit at zero or infinity."""
    return min(max(q, _SMALL), _LARGER)


def depth_scale(factor: float) -> float:
    """-1 / ln |factor|: the layers by which this factor makes 1 / e; below 0 if it makes e."""
    if isnan(factor):
        return nan
    if abs(factor) in (0.0, inf):
        return 0.0
    return inf if abs(abs(factor) - 1) < _ONE else -1 / log(abs(factor))


def _limit(function: Callable[[float], float], q: float) -> float:
    """The value at q, or at infinity what two large variances agree upon, else inf or 0."""
    if q != inf:
        return function(q)
    near, far = function(_LARGE), function(_LARGER)
    if isnan(far) or isclose(near, far, rel_tol=1e-6):
        return far
    return inf if far > near else 0.0


def _by_layer(factor: float) -> str:
    scale = depth_scale(factor)
    if isnan(scale) or isinf(scale):
        return "kept"
    unit = "e" if scale < 0 else "1/e"
    return f"x {factor:.4g} each layer: {unit} in {abs(scale):.4g} layers"
