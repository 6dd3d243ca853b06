"""The phase diagram: what each pair of variances makes of a deep plain net."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeAlias, final

import numpy as np

from fanin._errors import FaninError
from fanin._gains import Activation
from fanin._gains.recognize import canonical
from fanin.theory._activation import Resolved, resolved
from fanin.theory._checks import require_variance
from fanin.theory._correlation_map import CorrelationMap
from fanin.theory._critical import critical_line
from fanin.theory._cuts import Array
from fanin.theory._grid import limits
from fanin.theory._integrals import gradient_power, moments_of_square
from fanin.theory._mean_field import depth_scale, finite
from fanin.theory._phase_plot import draw
from fanin.theory._variance_map import VarianceMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PhaseDiagram", "phase_diagram"]

Grid: TypeAlias = tuple[tuple[float, ...], ...]
Line: TypeAlias = tuple[tuple[float, float], ...]

_ON_LINE: Final = np.logspace(-8, 4, 481)


@final
@dataclass(frozen=True, slots=True)
class PhaseDiagram:
    """q_star, chi and depth_scale_c over a grid: a row for each bias variance.

    ``critical_line`` holds (weight variance, bias variance) with chi = 1 at a stable fixed
    point, ``unstable_line`` those at one that deviations leave; both by q.

    >>> from fanin.theory import phase_diagram
    >>> diagram = phase_diagram("tanh", [1.0, 2.0], [0.0, 0.05])
    >>> [[round(chi, 3) for chi in row] for row in diagram.chi]
    [[1.0, 1.106], [0.759, 1.048]]
    """

    activation: Activation
    weight_variances: tuple[float, ...]
    bias_variances: tuple[float, ...]
    q_star: Grid
    chi: Grid
    depth_scale_c: Grid
    critical_line: Line
    unstable_line: Line

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        points: Mapping[str, tuple[float, float]] | None = None,
    ) -> "Figure":
        """The diagram, its critical line, and ``points`` by name.

        A point is its two variances: {"torch": (1 / 3, 1 / 3 / fan_in)}. On ``ax``, or in a
        figure of its own; returns the figure. Colours are chi, thin lines depth_scale_c.

        Raises:
            FaninError: matplotlib is not installed; fewer than two of either variance.

        >>> from fanin.theory import phase_diagram
        >>> diagram = phase_diagram("tanh", [1.0, 2.0], [0.0, 0.1])
        >>> figure = diagram.plot(points={"LeCun": (1.0, 0.0)})
        >>> figure.axes[0].get_xlabel()
        'weight variance  fan_in · Var W'
        """
        return draw(self, ax, points or {})


def phase_diagram(
    activation: Activation,
    weight_variances: Sequence[float],
    bias_variances: Sequence[float],
    *,
    q0: float = 1.0,
) -> PhaseDiagram:
    """MeanField's q_star, chi and depth_scale_c for each pair of variances, from one q0.

    40 x 40 take some seconds: the correlation is followed point by point.

    Raises:
        FaninError: as MeanField; variances that do not increase.

    >>> from fanin.theory import phase_diagram
    >>> diagram = phase_diagram("relu", [1.0, 2.0, 2.5], [0.1])
    >>> [round(q, 6) for q in diagram.q_star[0]]
    [0.2, inf, inf]
    """
    weights = _increasing("phase_diagram(weight_variances)", weight_variances, above_zero=True)
    biases = _increasing("phase_diagram(bias_variances)", bias_variances, above_zero=False)
    require_variance("phase_diagram(q0=...)", q0)
    phi = resolved(activation)
    weight, bias = (axis.ravel() for axis in np.meshgrid(np.array(weights), np.array(biases)))
    q = limits(phi, weight, bias, float(q0))
    stable, unstable = _lines(phi)
    return PhaseDiagram(
        activation=canonical(activation),
        weight_variances=weights,
        bias_variances=biases,
        q_star=_rows(q, len(weights)),
        chi=_rows(weight * gradient_power(phi, np.array([finite(one) for one in q])), len(weights)),
        depth_scale_c=_rows(_depth_scales(phi, weight, bias, q), len(weights)),
        critical_line=stable,
        unstable_line=unstable,
    )


def _increasing(where: str, given: Sequence[float], *, above_zero: bool) -> tuple[float, ...]:
    values = tuple(given)
    for one in values:
        require_variance(where, one, above_zero=above_zero)
    if values and all(a < b for a, b in pairwise(values)):
        return tuple(float(one) for one in values)
    raise FaninError(
        "not variances in increasing order",
        where=where,
        found=f"{len(values)} numbers" if values else "none",
        fix="give each once, the smallest first",
    )


def _rows(values: Array, columns: int) -> Grid:
    return tuple(tuple(row) for row in values.reshape(-1, columns).tolist())


def _depth_scales(phi: Resolved, weight: Array, bias: Array, q: Array) -> Array:
    scales, near = [], 0.0
    for one_weight, one_bias, one_q in zip(weight, bias, q, strict=True):
        layer = VarianceMap(phi, float(one_weight), float(one_bias))
        near, slope = CorrelationMap(layer, finite(float(one_q))).limit(near)
        scales.append(depth_scale(slope))
    return np.array(scales)


def _lines(phi: Resolved) -> tuple[Line, Line]:
    weight, bias = critical_line(phi, _ON_LINE)
    slope = weight * moments_of_square(phi, _ON_LINE)[1]
    possible = bias >= -1e-11 * _ON_LINE
    lines = []
    for chosen in (possible & (slope <= 1 + 1e-9), possible & (slope > 1 + 1e-9)):
        pairs = zip(weight[chosen].tolist(), np.maximum(bias[chosen], 0.0).tolist(), strict=True)
        lines.append(tuple(pairs))
    return lines[0], lines[1]
