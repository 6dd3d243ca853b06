"""What the parameters themselves show: zeros, equal units, clones, padding rows, frozen ones."""

from collections.abc import Iterator
from math import prod
from typing import Final

from fanin._audit import _remedies
from fanin._audit._findings.anew import anew, anew_as
from fanin._audit._findings.net import MATRICES, Layer, Net, is_zero, varies
from fanin._audit._records import Finding, ParameterState
from fanin._text import number

__all__ = [
    "closed_branches", "drawn_norms", "drawn_padding", "empty", "equal_units", "frozen",
    "identical_layers", "unused", "zero_norms", "zero_weights",
]  # fmt: skip

_VARIES: Final = 1e-6
_COUNTED: Final = frozenset(MATRICES - {"embedding"})


def zero_weights(net: Net) -> Iterator[Finding]:
    """Weights of zeros that cut the signal: what comes next reads the same for every input.

    A zero that something goes around (a residual writer, an adapter, a modulation) cuts nothing,
    nor does a readout.
    """
    for layer in net.first_use.values():
        if not is_zero(net.states.get(layer.site.name)) or not _is_counted(net, layer):
            continue
        if _is_cut(layer) or any(is_zero(net.states.get(name)) for name in layer.site.sources):
            continue  # Nothing arrives: what cuts it off is before.
        is_learning = net.states[layer.site.name].gradient and varies(net.places[-1])
        if is_learning and _is_bypassed(net, layer):
            continue  # An adapter, of either end.
        if any(_is_cut_by(one, layer.site.name) for one in net.layers):
            yield _zero_weight(net, layer)
    yield from _zero_inputs(net)


def _is_cut_by(layer: Layer, name: str) -> bool:
    """Whether a layer reads what a weight of zeros gives, and nothing else.

    What it reads may still differ from input to input by chance, as dropout makes it.
    """
    site = layer.site
    is_alone = site.sources == (name,) and site.join == "none" and site.summands == 1
    return name in site.sources and (is_alone or _is_cut(layer))


def _is_bypassed(net: Net, layer: Layer) -> bool:
    """Whether something of the batch reaches the end on a way around a layer."""
    starts = [one.index for one in net.places if not one.inputs and one is not layer.place]
    seen, waiting = {layer.place.index}, starts
    while waiting:
        index = waiting.pop()
        if index not in seen:
            seen.add(index)
            waiting += net.readers[index]
    return len(net.places) - 1 in seen and layer.place.index != len(net.places) - 1


def _zero_inputs(net: Net) -> Iterator[Finding]:
    """Recurrent layers behind the first of their module that read nothing."""
    for name, state in net.states.items():
        path, _, local = name.rpartition(".")
        is_input = local.startswith("weight_ih") and name not in net.first_use
        if is_input and is_zero(state) and name in net.sites and net.sites[name].layout is not None:
            yield Finding(
                code="zero-weight",
                severity="warning",
                where=name,
                measured="all its weights are 0",
                expected="a draw: nothing goes around this layer",
                reason="Its states are the same for every input, and nothing before it learns.",
                remedy=anew_as(net, [(name, _remedies.start_of(net.sites[name]))]),
                place=net.place_of(path),
            )


def _is_counted(net: Net, layer: Layer) -> bool:
    """Matrices; and a table where what the model gives is then the same for every input."""
    is_all = layer.site.role == "embedding" and varies(net.places[-1]) is False
    return layer.site.role in _COUNTED or is_all


def _is_cut(layer: Layer) -> bool:
    return layer.reads is not None and varies(layer.reads) is False


def _zero_weight(net: Net, layer: Layer) -> Finding:
    state = net.states[layer.site.name]
    learns = bool(state.gradient)
    return Finding(
        code="zero-weight",
        severity="warning" if learns else "error",
        where=layer.place.name,
        measured="all its weights are 0" + ("" if learns else ", and their gradient is 0 too"),
        expected="a draw: nothing goes around this layer",
        reason=_cut_off(layer, learns=learns),
        remedy=anew_as(net, [(layer.site.name, _remedies.start_of(layer.site))]),
        place=layer.place.index,
    )


def _cut_off(layer: Layer, *, learns: bool) -> str:
    if not learns:
        return "No signal gets through and no gradient comes back, so it stays so."
    if not layer.site.sources:
        return "Nothing of the input gets through: until it has moved, the model gives one answer."
    return (
        "No signal gets through and no gradient comes back: until it has moved, nothing before it "
        "learns."
    )


def zero_norms(net: Net) -> Iterator[Finding]:
    """Norms of scale 0 in the way of the signal; at the end of a branch they are meant."""
    for place in net.places:
        readers = [net.places[index] for index in net.readers[place.index]]
        if place.kind != "norm" or not readers or varies(place):
            continue
        scale = next(
            (
                state
                for state in net.states.values()
                if state.role == "norm_scale"
                and is_zero(state)
                and state.name.rpartition(".")[0] == place.name
            ),
            None,
        )
        if scale is not None and _is_in_the_way(net, place.index):
            yield Finding(
                code="zero-norm",
                severity="error",
                where=scale.name,
                measured="its scale is 0",
                expected="1: nothing goes around this norm",
                reason="What it gives is the same for every input, and no gradient comes back.",
                remedy=_remedies.set_to(scale.name, 1),
                place=place.index,
            )


def drawn_norms(net: Net) -> Iterator[Finding]:
    """Norm scales drawn around zero, as by a rule that takes them for weights."""
    scales = [one for one in net.states.values() if one.role == "norm_scale"]
    found = [one for one in scales if one.second_moment - one.mean**2 > _VARIES * one.second_moment]
    entries = [prod(one.shape) for one in found]
    mean = sum(one.mean * count for one, count in zip(found, entries, strict=True))
    square = sum(one.second_moment * count for one, count in zip(found, entries, strict=True))
    # Some models draw scales around a tenth; few entries of one norm could not tell.
    if found and mean**2 < square * sum(entries) / 16:
        names = [state.name for state in found]
        yield Finding(
            code="drawn-norm",
            severity="warning",
            where=names[0],
            measured=f"its scales have mean {number(found[0].mean)} and rms "
            f"{number(found[0].second_moment ** 0.5)}",
            expected="1, or all 0 at the end of a branch",
            reason="It was drawn like a weight: half of the scales turn the sign, and what the "
            "norm made of unit size is of any size again.",
            remedy=_remedies.ones(names),
            place=net.place_of(names[0]),
            also=tuple(names[1:]),
        )


def _is_in_the_way(net: Net, index: int) -> bool:
    """Whether the next weights behind a place read nothing else."""
    waiting, seen = list(net.readers[index]), set()
    while waiting:
        place = net.places[waiting.pop()]
        if place.index in seen:
            continue
        seen.add(place.index)
        if place.stream is not None or varies(place):
            return False
        if not place.weight:
            waiting += net.readers[place.index]
    return bool(seen)


def closed_branches(net: Net) -> Iterator[Finding]:
    """Two zeros in a row: the gradient of each is multiplied by the other."""
    pairs = [pair for layer in net.first_use.values() if (pair := _closed(net, layer)) is not None]
    if pairs:
        first, kept = pairs[0]
        starts = [(name, _remedies.start_of(net.sites[name])) for name, _ in pairs]
        yield Finding(
            code="closed-branch",
            severity="error",
            where=first,
            measured=f"it is 0, and so is {kept}",
            expected="one zero in a row of factors",
            reason="The gradient of each is multiplied by the other, so neither ever moves.",
            remedy=anew_as(net, starts),
            place=net.place_of(first),
            also=tuple(dict.fromkeys([kept, *(name for pair in pairs[1:] for name in pair)])),
        )


def _closed(net: Net, layer: Layer) -> tuple[str, str] | None:
    """The weight to draw and the zero that may stay: of two in a row the later one is meant."""
    site = layer.site
    if not is_zero(net.states.get(site.name)) or net.states[site.name].gradient != 0:
        return None
    factors = site.residual.scaled_by if site.residual is not None else ()
    for name in factors:
        if is_zero(net.states.get(name)):
            return site.name, name
    for name in site.sources if _is_cut(layer) else ():
        if is_zero(net.states.get(name)) and name in net.sites:
            return name, site.name
    return None


def equal_units(net: Net) -> Iterator[Finding]:
    """Weights whose entries are all one number: all units are one unit, and stay so."""
    found = [state for state in net.states.values() if _is_flat(net, state)]
    if found:
        starts = [(one.name, _remedies.start_of(net.sites[one.name])) for one in found]
        yield Finding(
            code="equal-units",
            severity="error",
            where=found[0].name,
            measured=f"all its entries are {number(found[0].mean)}",
            expected="a draw, or zeros behind one",
            reason="All units give the same and get the same gradient: the layer stays one unit.",
            remedy=anew_as(net, starts),
            place=net.place_of(found[0].name),
            also=tuple(one.name for one in found[1:]),
        )


def _is_flat(net: Net, state: ParameterState) -> bool:
    site = net.sites.get(state.name)
    if site is None or site.layout is None or not site.layout.has_fans or not state.trainable:
        return False
    is_matrix = state.role in _COUNTED and site.layout.channels_shape()[0] > 1
    return is_matrix and site.built.startswith(("ones", "constant"))


def identical_layers(net: Net) -> Iterator[Finding]:
    """Matrices of equal draws that are not tied: copies of one layer."""
    found = [state for state in net.states.values() if _is_clone(net, state)]
    if found:
        yield Finding(
            code="identical-layers",
            severity="warning",
            where=found[0].name,
            measured=f"every entry equals that of {found[0].same_as}",
            expected="a draw of its own, or one tied tensor",
            reason="It is a copy, as copy.deepcopy and nn.TransformerEncoder make them: what "
            "should be layers of their own start as one.",
            remedy=anew(net, [state.name for state in found]),
            place=net.place_of(found[0].name),
            also=tuple(state.name for state in found[1:]),
        )


def _is_clone(net: Net, state: ParameterState) -> bool:
    other = net.states.get(state.same_as)
    if other is None or not (state.trainable and other.trainable):
        return False
    sites = (net.sites.get(state.name), net.sites.get(other.name))
    drawn = all(site is not None and not site.built and site.role in MATRICES for site in sites)
    return drawn and all(site is not None and site.uses > 0 for site in sites)


def drawn_padding(net: Net) -> Iterator[Finding]:
    """Padding rows that are not zero: they are added for every pad, and never learn."""
    found = [state for state in net.states.values() if state.padding]
    for state in found[:1]:
        module = state.name.rpartition(".")[0]
        yield Finding(
            code="padding-row",
            severity="warning",
            where=state.name,
            measured=f"its padding row has rms {number((state.padding or 0.0) ** 0.5)}",
            expected="0",
            reason="Every pad adds this row to the signal, and its gradient is never computed.",
            remedy=f'table = model.get_submodule("{module}")\n'
            "table.weight.data[table.padding_idx] = 0",
            place=net.place_of(state.name),
            also=tuple(one.name for one in found[1:]),
        )


def frozen(net: Net) -> Iterator[Finding]:
    """A few parameters that are not trained among many that are."""
    states = [one for one in net.states.values() if one.role != "buffer"]
    still = [one for one in states if not one.trainable]
    if not 0 < len(still) < len(states) / 2:
        return
    dead = [one for one in still if is_zero(one) and one.role in ("norm_scale", "branch_scale")]
    first = (dead or still)[0]
    norms = all(one.role in ("norm_scale", "norm_shift") for one in still)
    yield Finding(
        code="frozen-parameter",
        severity="error" if dead else "note",
        where=first.name,
        measured="requires_grad is False" + (" and its values are 0" if dead else ""),
        expected=f"trained, as {len(states) - len(still)} of {len(states)} parameters are",
        reason="What it multiplies stays 0 for good."
        if dead
        else f"{'A norm' if norms else 'A parameter'} that is not trained among others that are "
        "may be left over from other work.",
        remedy=_remedies.trainable([one.name for one in still]),
        place=net.place_of(first.name),
        also=tuple(one.name for one in still if one is not first),
    )


def empty(net: Net) -> Iterator[Finding]:
    """Parameters without entries here: a shard or a placeholder that no draw reaches."""
    sites = net.sites.values()
    names = [one.name for one in sites if one.layout is not None and 0 in one.layout.shape]
    if names:
        yield Finding(
            code="empty-parameter",
            severity="warning",
            where=names[0],
            measured="it has no entries here",
            expected="values that can be looked at",
            reason="A start of a placeholder does nothing, in silence; what is loaded or gathered "
            "later is whatever it was.",
            remedy=_remedies.advice(
                "Draw the model before its parameters are sharded, or gather them for it."
            ),
            place=None,
            also=tuple(names[1:]),
        )


def unused(net: Net) -> Iterator[Finding]:
    """Parameters that no operation of this batch used."""
    names = [
        one.name
        for one in net.sites.values()
        if one.role != "buffer"
        and one.trainable
        and one.ran_in == "never"
        # The loss may use it, as it does one that weighs its parts.
        and (one.name not in net.states or net.states[one.name].gradient is None)
    ]
    if names:
        yield Finding(
            code="unused-parameter",
            severity="note",
            where=names[0],
            measured="no operation used it",
            expected="a gradient, since it is trained",
            reason="It is part of the model but not of this pass, so it does not learn from it.",
            remedy=_remedies.advice("Use it in forward, or take it out of the model."),
            also=tuple(names[1:]),
        )
