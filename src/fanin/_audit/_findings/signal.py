"""The signal forward: one layer that is too large or small, runs that grow, fade or collapse."""

import re
from collections.abc import Iterator, Sequence
from math import exp, log, prod, sqrt
from statistics import median

from fanin._audit import _remedies
from fanin._audit._findings.anew import anew, anew_as
from fanin._audit._findings.law import chance
from fanin._audit._findings.net import Layer, Net, varies
from fanin._audit._findings.runs import logs, runs, start_of_peers, steepest
from fanin._audit._records import Finding, Place, Severity
from fanin._text import number

__all__ = [
    "collapsed_inputs", "fading_or_growing", "limits_of", "odd_layers", "severity_of",
    "wrong_fans",
]  # fmt: skip

_TEN = log(10.0)
_NUMBER = re.compile(r"\d+")
_SHARED = frozenset({"query", "key", "query_key_value", "key_value", "router", "embedding"})
"""What feeds a softmax or is looked up: judged by what comes of it."""


def severity_of(net: Net, total: float) -> Severity | None:
    """How bad a factor e^total of E x² over a run is; None for what nobody has to know."""
    size = abs(total)
    if size > log(net.limits.hopeless):
        return "error"
    if size > log(net.limits.total):
        return "warning"
    return "note" if size > log(net.limits.layer) else None


def limits_of(net: Net, severity: Severity) -> str:
    """The limit that a factor over a run has passed, by its severity."""
    if severity == "note":
        return f"within a factor of {number(net.limits.layer, 2)} in all"
    usual = f"within a factor of {number(net.limits.total, 2)} in all"
    if severity == "warning":
        return usual
    return f"{usual}; over {number(net.limits.hopeless, 2)} is an error"


# One layer ------------------------------------------------------------------------------------


def odd_layers(net: Net) -> Iterator[Finding]:
    """Layers that alone multiply E x² by more than the limit for one, and more than their run."""
    in_runs = _in_runs(net)
    found: dict[tuple[str, bool, bool], list[tuple[Layer, float]]] = {}
    for layer, own in _odd_ones(net):
        if layer.site.normalized_output or layer.site.role in _SHARED or not _matters(layer, own):
            continue
        # What is small matters where others are behind it, and no norm or sum mends it.
        harmless = own < 0 and layer.site.name not in in_runs
        found.setdefault((_NUMBER.sub("#", layer.site.name), own > 0, harmless), []).append(
            (layer, own)
        )
    for (_, _, harmless), layers in found.items():
        yield _odd(net, layers, harmless=harmless)


def _odd_ones(net: Net) -> Iterator[tuple[Layer, float]]:
    """Each with the ln of its E y² / E x² over what keeps the signal."""
    middles = _middles(net)
    for layer in net.layers:
        own = _departure(layer)
        if own is None:
            continue
        beside = own - middles.get(layer.site.name, 0.0)
        least = min(abs(own), abs(beside)) if own * beside > 0 else 0.0
        if least > log(net.limits.layer):
            yield layer, own


def _departure(layer: Layer) -> float | None:
    """ln of E y² / E x² over what keeps the signal."""
    return log(layer.ratio / layer.usual) if layer.ratio and layer.usual > 0 else None


def _in_runs(net: Net) -> set[str]:
    found = [run for run in runs(net, across_norms=False) if len(run) > 2]
    return {layer.site.name for run in found for layer in run}


def _middles(net: Net) -> dict[str, float]:
    found: dict[str, float] = {}
    for run in runs(net, across_norms=False):
        departures = [one for one in map(_departure, run) if one is not None]
        if len(departures) > 2:
            found |= {layer.site.name: median(departures) for layer in run}
    return found


def _matters(layer: Layer, own: float) -> bool:
    """Whether the output is far from 1 on that side, and something depends on its size."""
    leaves = layer.sums.signal.second_moment
    if leaves <= 0:
        return False
    if own > 0:
        return log(leaves) > _TEN
    is_main = layer.site.branch is None and layer.site.role in ("weight", "shortcut")
    return is_main and log(leaves) < -_TEN


def _odd(net: Net, layers: Sequence[tuple[Layer, float]], *, harmless: bool) -> Finding:
    layer, own = layers[0]
    large, hopeless = own > 0, abs(own) > log(net.limits.hopeless)
    cause = (
        "Its weights are too large: what comes after it starts saturated, or with outputs far "
        "from what the loss expects."
        if large
        else "Its weights are too small: little of the signal passes, and as little of the "
        "gradient comes back."
    )
    usual = number(layer.usual)
    return Finding(
        code="outlier-layer",
        severity="note" if harmless else "error" if hopeless else "warning",
        where=layer.place.name,
        measured=f"multiplies E x² by {number(layer.usual * exp(own))}",
        expected=f"about {usual}, which keeps the signal; within a factor of "
        f"{number(net.limits.layer, 2)}",
        reason=cause,
        remedy=_redrawn(net, [one for one, _ in layers]),
        place=layer.place.index,
        also=tuple(one.place.name for one, _ in layers[1:]),
    )


def _redrawn(net: Net, layers: Sequence[Layer]) -> str:
    """These layers as a plan draws them, or as those of the other blocks are."""
    starts = [(one.site.name, start_of_peers(net, one)) for one in layers]
    alike = [(name, start) for name, start in starts if start is not None]
    if len(alike) == len(starts):
        return anew_as(net, alike)
    return anew(net, [name for name, _ in starts])


# A run ----------------------------------------------------------------------------------------


def fading_or_growing(net: Net) -> Iterator[Finding]:
    """Runs over which E x² grows or fades, layer by layer: at the first layer of the trend."""
    odd = {layer.site.name for layer, _ in _odd_ones(net)}
    for run in runs(net, across_norms=False):
        changes = logs([layer.factor for layer in run])
        regular = [
            0.0 if layer.site.name in odd else one for layer, one in zip(run, changes, strict=True)
        ]
        start, end, total = steepest(regular)
        severity = severity_of(net, total)
        # What one layer does alone is judged beside its weights.
        if severity is None or end - start < 2 or not _is_unfair(net, run[start:end], total):
            continue
        if total < 0 and run[0].site.branch is not None:
            continue  # A branch may be as small as it likes: something goes around it.
        yield _trend(net, run[start:end], total, severity)


def _is_unfair(net: Net, layers: Sequence[Layer], total: float) -> bool:
    low, high = chance(layers, net.limits.by_chance)
    return not low <= total <= high


def _trend(net: Net, layers: Sequence[Layer], total: float, severity: Severity) -> Finding:
    fades, count = total < 0, len(layers)
    code = "vanishing-signal" if fades else "exploding-signal"
    each = number(exp(total / count))
    reason = (
        "Each layer passes on a part of the signal, so that little is left at the end and the "
        "first layers get as little gradient."
        if fades
        else "Each layer makes the signal larger, so that outputs and loss start far off and "
        "steps are as large."
    )
    return Finding(
        code=code,
        severity=severity,
        where=layers[0].place.name,
        measured=f"E x² by {each} at each of {count} layers, by {number(exp(total))} in all",
        expected=limits_of(net, severity),
        reason=reason,
        remedy=_remedies.start(),
        place=layers[0].place.index,
        also=tuple(layer.place.name for layer in layers[1:]),
    )


# What tells inputs apart ------------------------------------------------------------------------


def collapsed_inputs(net: Net) -> Iterator[Finding]:
    """Runs over which the variance over the batch dies while E x² need not."""
    for whole in runs(net, across_norms=True):
        run = whole[:-1] if _is_of_its_bias(net, whole[-1]) else whole
        before, after = [_kept(layer.reads) for layer in run], [_kept(layer.end) for layer in run]
        if before[0] is None:
            before[0] = _kept(run[0].place)
        ratios = [
            b / a if a and b is not None else None for a, b in zip(before, after, strict=True)
        ]
        gone = next((i for i, b in enumerate(after) if b == 0 and before[i]), None)
        start, end, total = steepest(logs(ratios))
        if gone is not None:
            start, end, total = min(start, gone) if total < 0 else gone, gone + 1, log(1e-16)
        severity = severity_of(net, total)
        if run[0].site.branch is None and total < 0 and severity in ("warning", "error"):
            yield _collapse(net, run[start:end], total, severity)


def _is_of_its_bias(net: Net, layer: Layer) -> bool:
    """A readout may be as small as it likes, and its bias as large: the loss judges both."""
    if layer.site.role != "readout":
        return False
    is_small = layer.power is not None and layer.power < layer.usual / net.limits.layer
    return is_small or layer.is_of_its_bias


def _kept(place: Place | None) -> float | None:
    """The share of E x² that differs from input to input."""
    if place is None or place.signal.variance is None or place.signal.second_moment == 0:
        return None
    if not varies(place):
        return 0.0
    return place.signal.variance / place.signal.second_moment


def _collapse(net: Net, layers: Sequence[Layer], total: float, severity: Severity) -> Finding:
    last = layers[-1]
    only_biases = last.is_of_its_bias
    reason = (
        "Weights this small let the signal die; what is left at the end are the biases, the same "
        "for every input."
        if only_biases
        else "E x² is kept, but by a constant part: the activations' mean takes the place of what "
        "tells one input from another."
    )
    return Finding(
        code="vanishing-signal" if only_biases else "collapsed-inputs",
        severity=severity,
        where=layers[0].place.name,
        measured="the share of E x² that differs between inputs falls by a factor of "
        f"{number(exp(-total))} over {len(layers)} layer{'s' * (len(layers) > 1)}",
        expected=f"by no more than {number(net.limits.total, 2)}"
        + (f"; over {number(net.limits.hopeless, 2)} is an error" * (severity == "error")),
        reason=reason,
        remedy=_remedies.start(),
        place=layers[0].place.index,
        also=tuple(layer.place.name for layer in layers[1:]),
    )


# Fans -----------------------------------------------------------------------------------------


def wrong_fans(net: Net) -> Iterator[Finding]:
    """Kernels drawn for the fan that torch reads off their shape, where that is another one."""
    found = [(layer, fan) for layer in net.first_use.values() if (fan := _misread(net, layer))]
    if not found:
        return
    layer, (said, suggested, true) = found[0]
    yield Finding(
        code="wrong-fan",
        severity="warning",
        where=layer.place.name,
        measured=f"E w² is {said} / {number(suggested)}, for the fan that its shape suggests",
        expected=f"{said} / {number(true)}: so many products add up to one output",
        reason=f"E x² is multiplied by {number(true / suggested)} of what was meant: the fans of "
        "transposed, grouped and strided kernels cannot be read off their shape.",
        remedy=anew(net, [one.site.name for one, _ in found]),
        place=layer.place.index,
        also=tuple(one.place.name for one, _ in found[1:]),
    )


_FAR = 4.0
"""A std that is half or twice what was meant."""
_ERRORS = 5.0
_KAIMING = 2.0
"""fan_in E w² of `kaiming_normal_` by its default, whatever the activation is."""
_TORCH = 1 / 3
"""fan_in E w² of torch's own start."""


def _misread(net: Net, layer: Layer) -> tuple[str, float, float] | None:
    """The gain² and the fan of a kernel's shape that its values fit, with the true fan."""
    site, state = layer.site, net.states.get(layer.site.name)
    layout = site.layout
    if state is None or layout is None or not layout.has_fans or site.normalized_output:
        return None
    if site.role == "residual_out":
        return None  # Divided by the number of branches, it may fit any fan.
    if len(state.shape) < 3 or "kernel" not in layout.axes:
        return None
    entries = prod(state.shape)
    close = _ERRORS * sqrt(2 / entries)
    nominal = {1.0: "1", _KAIMING: number(_KAIMING), layer.usual: number(layer.usual)}
    fans = [layout.fan_in]
    if layout.axes[0] != "in":
        # Of a transposed kernel, torch takes the fan out for the fan in: it says nothing there.
        fans.append(layout.fan_out)
    known = [one / fan for fan in fans for one in (*nominal, _TORCH)]
    known.append(2 / (layout.fan_in + layout.fan_out))
    known.append(_TORCH / layout.fan_out)
    if any(_fits(state.second_moment / one, close) for one in known):
        return None
    taps = entries / state.shape[0] / state.shape[1]
    for fan in (state.shape[1] * taps, state.shape[0] * taps):
        is_far = not 1 / _FAR < fan / layout.fan_in < _FAR
        for one, said in nominal.items():
            if is_far and _fits(state.second_moment * fan / one, close):
                return said, fan, layout.fan_in
    return None


def _fits(ratio: float, close: float) -> bool:
    return ratio > 0 and abs(log(ratio)) < close
