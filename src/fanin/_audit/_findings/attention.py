"""Attention: one key takes all, or all positions become one."""

from collections.abc import Iterator

from fanin._audit import _remedies
from fanin._audit._findings.anew import anew, anew_as
from fanin._audit._findings.net import Layer, Net
from fanin._audit._records import Finding, Place
from fanin._text import number
from fanin.initializers import Normal

__all__ = ["one_hot_attention", "rank_collapse", "uniform_attention"]

_UNIFORM = 1 - 1e-6
_ERROR = 6.0
_BIAS = 0.02
"""The std of tables of relative positions in Swin Transformers and their kin."""
_SCORES = ("query", "key", "query_key_value", "key_value")
_READING = (*_SCORES, "value")


def one_hot_attention(net: Net) -> Iterator[Finding]:
    """Attention that sees few keys from the start."""
    found = [place for place in _attentions(net) if place.entropy < net.limits.entropy]  # type: ignore[operator]
    if not found:
        return
    first = found[0]
    table = _table(net, first)
    layer = table or max(_before(net, first, _SCORES), key=_excess, default=None)
    entropy = first.entropy or 0.0
    hopeless = entropy < net.limits.entropy / _ERROR
    # Behind a norm the weights' size has no effect: the scores are the architecture's choice.
    normalized = layer is not None and layer.site.normalized_output
    yield Finding(
        code="one-hot-attention",
        severity="note" if normalized else "error" if hopeless else "warning",
        where=first.name if layer is None else layer.place.name,
        measured=f"attention at {first.name} has {number(entropy, 2)} of the entropy of uniform "
        "attention",
        expected=f"over {number(net.limits.entropy)}",
        reason="The scores are so large that each query sees next to one key, by chance, and the "
        "softmax passes back next to no gradient.",
        remedy=_smaller(net, layer, is_table=table is not None),
        place=first.index if layer is None else layer.place.index,
        also=tuple(place.name for place in found[1:]),
    )


def _smaller(net: Net, layer: Layer | None, *, is_table: bool) -> str:
    if layer is None:
        return _remedies.start()
    if is_table:
        return anew_as(net, [(layer.site.name, Normal(_BIAS))])
    return anew(net, [layer.site.name])


def _table(net: Net, softmax: Place) -> Layer | None:
    """The table that makes the scores large, such as one of relative positions; None for none."""
    place = softmax
    while place.inputs and place.kind in ("softmax", "add", "multiply", "pointwise", "other"):
        before = [net.places[index] for index in place.inputs]
        place = max(before, key=lambda one: one.signal.second_moment)
        if place.kind == "lookup":
            return next((one for one in net.layers if one.place is place), None)
    return None


def uniform_attention(net: Net) -> Iterator[Finding]:
    """Attention that sees all keys alike, as zero queries give it: worth knowing, no more."""
    found = [place for place in _attentions(net) if place.entropy > _UNIFORM]  # type: ignore[operator]
    if found:
        layer = next(iter(_before(net, found[0], _SCORES)), None)
        yield Finding(
            code="uniform-attention",
            severity="note",
            where=found[0].name if layer is None else layer.place.name,
            measured="every key gets the same share",
            expected="shares that depend on the keys, unless zero queries are meant",
            reason="Queries or keys are zero or all alike, so this attention starts as a mean.",
            remedy=_remedies.start(),
            place=found[0].index,
            also=tuple(place.name for place in found[1:]),
        )


def _attentions(net: Net) -> list[Place]:
    """Attentions, and softmaxes whose shares then weigh something."""
    return [
        place
        for place in net.places
        if place.entropy is not None
        and (
            place.kind == "attention"
            or any(_weighs(net.places[index]) for index in net.readers[place.index])
        )
    ]


def _weighs(place: Place) -> bool:
    return place.kind == "product" and not place.weight


def _before(net: Net, place: Place, roles: tuple[str, ...]) -> list[Layer]:
    """The nearest layers of these roles before a place."""
    found, waiting, seen = [], list(place.inputs), set()
    while waiting:
        index = waiting.pop()
        if index in seen:
            continue
        seen.add(index)
        one = net.places[index]
        if not one.weight:
            waiting += one.inputs
        elif one.weight in net.sites and net.sites[one.weight].role in roles:
            found += [layer for layer in net.layers if layer.place is one]
    return sorted(found, key=lambda layer: layer.place.index)


def _excess(layer: Layer) -> float:
    return layer.ratio or 0.0


def rank_collapse(net: Net) -> Iterator[Finding]:
    """Attention whose positions have become one, though they began apart."""
    reading = [layer for layer in net.layers if layer.site.role in _READING]
    attentions = _attentions(net)
    for layer in reversed(reading):
        start = next((one for one in reading if _has_collapsed(net, one, layer)), None)
        if start is None:
            continue
        behind = net.behind(start.place.index)
        first = next((one for one in attentions if one.index in behind), None)
        if first is not None and layer.place.index in net.behind(first.index):
            yield _collapse(net, first, start, layer)
            return


def _has_collapsed(net: Net, start: Layer, end: Layer) -> bool:
    """Whether positions differ at ``start`` and, as many, no longer at ``end``."""
    before, after = _apart(start.place), _apart(end.place)
    if before is None or after is None or start.place.shape[1] != end.place.shape[1]:
        return False
    return before * net.limits.total > 1 and after * net.limits.total < before


def _collapse(net: Net, first: Place, start: Layer, end: Layer) -> Finding:
    before, after = _apart(start.place) or 0.0, _apart(end.place) or 0.0
    return Finding(
        code="rank-collapse",
        severity="error" if after * net.limits.hopeless < before else "warning",
        where=first.name,
        measured=f"what differs between positions is {number(before)} of E x² at "
        f"{start.place.name}, and {number(after)} at {end.place.name}",
        expected=f"at least {number(1 / net.limits.total)} of it",
        reason="Attention averages over positions, and without a path around it all of them "
        "become one: Dong et al. 2021. No start prevents that.",
        remedy=_remedies.advice(
            "Give each attention a path around it, x = x + attention(norm(x)): averaging "
            "positions again and again leaves one position, whatever the weights are."
        ),
        place=first.index,
    )


def _apart(place: Place) -> float | None:
    """The share of E x² that differs between positions."""
    along = place.signal.position_correlation
    return None if along is None else max(1 - along, 0.0)
