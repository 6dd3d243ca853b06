"""Units: dead ones, saturated ones, and gates that start shut or open."""

from collections.abc import Iterator, Sequence
from math import erf, exp, log, pi, prod, sqrt
from typing import Final

from fanin._audit import _remedies
from fanin._audit._findings.anew import anew, anew_as
from fanin._audit._findings.batch import is_unscaled, unscaled
from fanin._audit._findings.net import Layer, Net, varies
from fanin._audit._records import Finding, Place, Severity
from fanin._text import number

__all__ = ["dead_units", "saturated_gates", "saturated_units", "shut"]

_ALL = 0.999
_ALIKE = 0.9
"""The mean cosine of inputs at which many units see one sign only, and chance is rough."""
_NEARLY_ALL = 0.95
_SMOOTH: Final = frozenset({"gelu", "silu", "mish", "softplus", "elu", "selu", "celu"})
_FLAT: Final = frozenset(
    {
        "relu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "threshold", "softshrink",
        "hardshrink", *_SMOOTH,
    }
)  # fmt: skip
"""Activations with a flat side: only there can a unit die."""
_BY_ACCIDENT = 1e-6
"""How likely so many dead units may be, by the law of chance."""


def dead_units(net: Net) -> Iterator[Finding]:
    """Activations of which more units are constant than chance gives."""
    found = [place for place in net.places if _is_dead(net, place)]
    if not found:
        return
    first, maker = found[0], _maker(net, found[0])
    share = first.dead or 0.0
    yield Finding(
        code="dead-units",
        severity="error" if share > _ALL else "warning",
        where=maker.name,
        measured=f"{number(100 * share)} % of the units of {first.name} "
        + (
            "lie where its slope is under a twentieth of the largest, for all inputs"
            if first.operation in _SMOOTH
            else "give one number for all inputs"
        ),
        expected=f"{number(100 * _by_chance(net, first), 2)} % by chance, for inputs this alike",
        reason="Such units pass on no signal and get no gradient.",
        remedy=_remedy(net, found),
        place=maker.index,
        also=tuple(_maker(net, place).name for place in found[1:]),
    )


def _is_dead(net: Net, place: Place) -> bool:
    if not place.dead or place.samples < 2 or place.operation not in _FLAT:
        return False  # Of one number, every unit is constant.
    arriving = [net.places[index] for index in place.inputs]
    if not all(varies(one) for one in arriving):
        return False  # What does not vary before it is not its fault.
    # Where the inputs are all alike, it is not the unit that is dead.
    alike = _alike(net, place)
    if alike > _ALIKE and (place.dead < _ALL or alike >= 1):
        return False
    by_chance = _by_chance(net, place)
    units = prod(place.shape) // place.samples
    is_accident = units * _divergence(place.dead, by_chance) < -log(_BY_ACCIDENT)
    return place.dead - by_chance > net.limits.dead and not is_accident


def _divergence(share: float, chance: float) -> float:
    """The exponent of Chernoff's bound: n units have such a share with less than e^(-n this)."""
    chance = min(max(chance, 1e-300), 1 - 1e-12)
    dead = share * log(share / chance) if share > 0 else 0.0
    alive = (1 - share) * log((1 - share) / (1 - chance)) if share < 1 else 0.0
    return dead + alive


def _by_chance(net: Net, place: Place) -> float:
    """The share of units whose input has one sign for the whole batch, and is cut to 0.

    For n Gaussian inputs of correlation c: the integral of phi(t) Phi(t sqrt(c / (1 - c)))^n.
    """
    count, common = place.shape[0], min(_alike(net, place), 1 - 1e-12)
    if common == 0:
        return float(2.0**-count)
    steep = sqrt(common / (1 - common))
    step = 0.1
    points = [step * k for k in range(-50, 51)]
    return sum(
        step * exp(-t * t / 2) / sqrt(2 * pi) * ((1 + erf(t * steep / sqrt(2))) / 2) ** count
        for t in points
    )


def _alike(net: Net, place: Place) -> float:
    """The mean cosine of what the unit's layer reads, which its bias has no part in."""
    layer = net.weight_before(place)
    reads = layer.reads if layer is not None else None
    known = [net.places[one].signal.correlation for one in place.inputs]
    found = reads.signal.correlation if reads is not None else min(map(_or_zero, known), default=0)
    return max(_or_zero(found), 0.0)


def _or_zero(value: float | None) -> float:
    return 0.0 if value is None else value


def _maker(net: Net, place: Place) -> Place:
    """The layer or norm that a place is made from; the place itself where there are several."""
    found, waiting, seen = set(), [place], set()
    while waiting:
        one = waiting.pop()
        if one.weight or one.kind == "norm" or not one.inputs:
            found.add(one.index)
        else:
            new = [index for index in one.inputs if index not in seen]
            seen.update(new)
            waiting += [net.places[index] for index in new]
    return net.places[found.pop()] if len(found) == 1 else place


def _layer_of(net: Net, place: Place) -> Layer | None:
    """The one layer that a place is made from, also where an activation is several operations."""
    maker = _maker(net, place)
    return next((one for one in net.layers if one.place is maker), None)


def _remedy(net: Net, places: Sequence[Place]) -> str:
    """The biases and shifts to 0 that keep the units shut; without any, the layers anew."""
    makers = [_maker(net, place) for place in places]
    layers = [layer for layer in net.layers if layer.place in makers]
    biased = [one for one in net.first_use.values() if one in layers or _is_large(net, one)]
    names = [net.bias_name(one.site.name) for one in biased if one.is_of_its_bias]
    names += [f"{maker.name}.bias" for maker in makers if maker.kind == "norm"]
    named = [name for name in dict.fromkeys(names) if name in net.states]
    if named:
        return anew_as(net, [(name, 0.0) for name in named])
    is_one = len(makers) == len(layers) == 1
    return anew(net, [layers[0].site.name]) if is_one else _remedies.start()


def _is_large(net: Net, layer: Layer) -> bool:
    """Whether a bias will shut units once something arrives there again."""
    return layer.site.role != "readout" and layer.bias > net.limits.layer


def _is_saturated(net: Net, place: Place) -> bool:
    """Whether most entries of a bounded activation are where it is flat."""
    return (place.saturated or 0.0) > net.limits.saturated


def shut(net: Net) -> set[int]:
    """The places of the layers and norms behind which units are dead or saturated."""
    places = [one for one in net.places if _is_dead(net, one) or _is_saturated(net, one)]
    return {_maker(net, place).index for place in places}


def saturated_units(net: Net) -> Iterator[Finding]:
    """Bounded activations that are mostly flat."""
    found = [place for place in net.places if _is_saturated(net, place)]
    if not found:
        return
    first, maker = found[0], _maker(net, found[0])
    layer = _layer_of(net, first)
    share = first.saturated or 0.0
    severity: Severity = "error" if share > _NEARLY_ALL else "warning"
    if layer is not None and _is_the_batch(net, layer):
        yield unscaled(net, severity, f"they saturate {number(100 * share)} % of {first.name}")
        return
    yield Finding(
        code="saturated-units",
        severity=severity,
        where=maker.name,
        measured=f"{number(100 * share)} % of {first.name} lies where its slope is under a "
        "twentieth of the largest",
        expected=f"under {number(100 * net.limits.saturated)} %",
        reason="Flat units pass back next to no gradient, and hardly move.",
        remedy=_remedy(net, found),
        place=maker.index,
        also=tuple(_maker(net, place).name for place in found[1:]),
    )


def _is_the_batch(net: Net, layer: Layer) -> bool:
    """Whether a layer of fair weights saturates since its inputs are so large."""
    is_fair = layer.power is not None and layer.power < net.limits.layer * layer.usual
    is_first = layer.reads is None and not layer.site.normalized_input
    return is_first and is_fair and is_unscaled(net)


def saturated_gates(net: Net) -> Iterator[Finding]:
    """Recurrent layers whose gates are told too much: weights of squares far over 1 / fan_in."""
    for name, state in net.states.items():
        site = net.sites.get(name)
        if state.role not in ("recurrent", "projection") or site is None or site.layout is None:
            continue
        power = site.layout.fan_in * state.second_moment
        if power > net.limits.layer:
            path, dot, local = name.rpartition(".")
            beside = path + dot + local.replace("weight_hh", "weight_ih")
            layer = net.first_use.get(beside)
            yield Finding(
                code="saturated-gates",
                severity="warning",
                where=name,
                measured=f"fan_in E w² is {number(power)}",
                expected=f"about 1; under {number(net.limits.layer, 2)}",
                reason="What a step remembers is multiplied so much that gates are fully open or "
                "shut, and gradients explode or vanish over time.",
                remedy=anew(net, [name]),
                place=layer.place.index if layer is not None else net.place_of(name),
            )
