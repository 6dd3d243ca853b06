"""Layers whose outputs are multiplied with each other, as in a factorization of a matrix."""

from collections.abc import Callable, Sequence
from math import exp, log

from fanin._audit._findings.anew import anew_as
from fanin._audit._findings.net import Layer, Net
from fanin._audit._records import Place
from fanin.initializers import Normal

__all__ = ["factors_of", "largest", "smaller"]


def factors_of(net: Net) -> list[Layer]:
    """The layers that reach the end of the run by a product with each other, and no other weight.

    A square is a product with itself, as in a factorization machine. Tables that are added, as
    those of biases are, count too; without a product there is none.
    """
    layers = [layer for layer in net.layers if _is_last(net, layer.place)]
    count = sum(_is_factor(net, layer.place) for layer in layers)
    is_squared = any(_has_behind(net, layer.place, _is_square) for layer in layers)
    return layers if count > 1 or is_squared else []


def _is_last(net: Net, place: Place) -> bool:
    """Whether no other weight lies between a place and the end."""
    behind = net.behind(place.index) - {place.index}
    return len(net.places) - 1 in behind and not any(net.places[one].weight for one in behind)


def _is_factor(net: Net, place: Place) -> bool:
    return _has_behind(net, place, _is_product)


def _has_behind(net: Net, place: Place, is_one: Callable[[Place], bool]) -> bool:
    return any(is_one(net.places[one]) for one in net.behind(place.index))


def _is_product(place: Place) -> bool:
    is_of_several = place.kind in ("multiply", "product") and len(place.inputs) > 1
    return is_of_several or _is_square(place)


def _is_square(place: Place) -> bool:
    return place.operation in ("pow", "square")


def largest(net: Net, layers: Sequence[Layer], std: float) -> Layer:
    """The one that makes outputs of ``std`` large: what is added, or else a factor."""

    def size(layer: Layer) -> float:
        return layer.place.signal.second_moment

    added = [one for one in layers if not _is_factor(net, one.place) and size(one) > std**2 / 2]
    return max(added or [one for one in layers if _is_factor(net, one.place)], key=size)


def smaller(net: Net, layers: Sequence[Layer], std: float) -> str:
    """Starts of which the outputs, of ``std`` now, have about std 1.

    Each of two factors is divided by the root of what their product is divided by. Tables get one
    size, whatever sizes they have; what is only added gets std 1. What is smaller is left.
    """
    added = [one for one in layers if not _is_factor(net, one.place)]
    others = [one for one in layers if one not in added]
    product = max(std**2 - sum(one.place.signal.second_moment for one in added), 0.0) ** 0.5
    starts = {one.site.name: 1.0 for one in added if _size(net, one) > 1}
    if product > 1:
        tables = [log(_size(net, one)) for one in others if one.place.kind == "lookup"]
        middle = exp(sum(tables) / max(len(tables), 1))
        for one in others:
            own = middle if one.place.kind == "lookup" else _size(net, one)
            starts[one.site.name] = own / product**0.5
    return anew_as(net, [(name, Normal(float(f"{new:.3g}"))) for name, new in starts.items()])


def _size(net: Net, layer: Layer) -> float:
    return float(net.states[layer.site.name].second_moment ** 0.5) or 1.0
