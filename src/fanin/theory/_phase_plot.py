"""The picture of a phase diagram; needs matplotlib when drawing."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from fanin import _plot
from fanin._errors import FaninError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fanin.theory._phase import PhaseDiagram

__all__ = ["draw"]

_SCALES: Final = (30.0, 10.0, 3.0)
_STRONGEST: Final = np.log(4.0)  # |ln chi| beyond which the colour is full


def draw(
    diagram: "PhaseDiagram", axes: "Axes | None", points: Mapping[str, tuple[float, float]]
) -> "Figure":
    """On the axes, or in a new figure."""
    _require(diagram)
    from matplotlib.figure import Figure

    if axes is None:
        axes = Figure(figsize=(7.0, 5.0), facecolor="white", layout="constrained").add_subplot()
    figure = axes.figure if isinstance(axes.figure, Figure) else axes.figure.figure
    x, y = np.array(diagram.weight_variances), np.array(diagram.bias_variances)
    with np.errstate(all="ignore"):
        strength = np.clip(np.log(np.array(diagram.chi)), -_STRONGEST, _STRONGEST)
    colours = axes.pcolormesh(
        x, y, strength, cmap="RdBu_r", vmin=-_STRONGEST, vmax=_STRONGEST, shading="gouraud"
    )
    bar = figure.colorbar(colours, ax=axes, ticks=np.log([0.25, 0.5, 1.0, 2.0, 4.0]))
    bar.ax.set_yticklabels(["≤ 1/4", "1/2", "1", "2", "≥ 4"])
    bar.set_label("chi: squared gradient, each layer")
    _draw_scales(axes, diagram)
    _draw_lines(axes, diagram)
    _draw_points(axes, points)
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    axes.set_xlabel("weight variance  fan_in · Var W")
    axes.set_ylabel("bias variance  Var b")
    axes.set_title(f"{_name(diagram)}: ordered (blue, gradients vanish), chaotic (red, explode)")
    return figure


def _draw_scales(axes: "Axes", diagram: "PhaseDiagram") -> None:
    q, scales = np.array(diagram.q_star), np.array(diagram.depth_scale_c)
    with np.errstate(all="ignore"):
        # The rate is smooth across the critical line, where the scale is infinite.
        rates = np.where((q > 0) & np.isfinite(q), 1 / scales, np.nan)
    known = rates[np.isfinite(rates)]
    levels = [1 / scale for scale in _SCALES if (known < 1 / scale).any()]
    levels = [level for level in levels if (known > level).any()]
    if not levels:
        return
    lines = axes.contour(
        diagram.weight_variances,
        diagram.bias_variances,
        np.ma.masked_invalid(rates),
        levels=levels,
        colors=_plot.INK,
        linewidths=0.7,
        alpha=0.7,
    )
    axes.clabel(lines, fmt=lambda rate: f"{1 / rate:.0f} layers", fontsize=8)


def _draw_lines(axes: "Axes", diagram: "PhaseDiagram") -> None:
    for line, style, name in (
        (diagram.critical_line, "-", "critical"),
        (diagram.unstable_line, ":", "critical, q unstable"),
    ):
        if not line:
            continue
        weight, bias = np.array(line).T
        at_a_point = np.ptp(weight) < 1e-9 * weight[0]
        axes.plot(
            weight[:1] if at_a_point else weight,
            bias[:1] if at_a_point else bias,
            "o" if at_a_point else style,
            color="black",
            linewidth=2.2,
            label=name,
            clip_on=not at_a_point,
        )
    axes.legend(loc="upper right", fontsize=8)


def _draw_points(axes: "Axes", points: Mapping[str, tuple[float, float]]) -> None:
    for name, (weight, bias) in points.items():
        axes.plot([weight], [bias], "D", color="white", mec=_plot.INK, clip_on=False, zorder=5)
        axes.annotate(
            name,
            (weight, bias),
            xytext=(8, 7),
            textcoords="offset points",
            fontsize=9,
            zorder=6,
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none"},
        )


def _name(diagram: "PhaseDiagram") -> str:
    given = diagram.activation
    return given if isinstance(given, str) else getattr(given, "__name__", type(given).__name__)


def _require(diagram: "PhaseDiagram") -> None:
    _plot.require_for("PhaseDiagram.plot()")
    if min(len(diagram.weight_variances), len(diagram.bias_variances)) < 2:
        raise FaninError(
            "a diagram of one row or column cannot be drawn",
            where="PhaseDiagram.plot()",
            found=f"{len(diagram.weight_variances)} x {len(diagram.bias_variances)} points",
            fix="make the phase_diagram of at least two of both variances",
        )
