"""The gradient backward: runs over which it grows or fades, and weights that get none."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import exp, isfinite, prod
from typing import Literal

from fanin._audit import _remedies
from fanin._audit._findings.law import chance
from fanin._audit._findings.net import MATRICES, Layer, Net, is_zero
from fanin._audit._findings.runs import logs, runs, steepest, streams
from fanin._audit._findings.signal import limits_of, severity_of
from fanin._audit._records import Finding, Loss, ParameterState, Place, Severity
from fanin._text import number

__all__ = ["no_gradient", "runs_of_gradients", "small_batch", "streams_of_gradients"]

_ROUNDING = 1e-5
_FEWEST = 8
"""With so many numbers a channel, batch norm passes on most of a gradient."""


def runs_of_gradients(net: Net) -> Iterator[Finding]:
    """Runs, across norms, over which the squared gradient of one input grows or fades backward."""
    for run in runs(net, across_norms=True):
        gradients = [layer.gradient for layer in run]
        changes = logs(
            [
                _ratio(here, after) if _is_straight(net, one, following) else None
                for one, following, here, after in zip(
                    run, run[1:], gradients, gradients[1:], strict=False
                )
            ]
        )
        start, end, total = steepest(changes)
        severity = severity_of(net, total)
        low, high = chance(run[start:end], net.limits.by_chance)
        is_trend = end - start > 1 and not low <= total <= high
        # A branch may be as small as it likes, and then passes back as little.
        is_small = total < 0 and run[0].site.branch is not None
        if severity is None or severity == "note" or not is_trend or is_small:
            continue
        places = [layer.place for layer in run[start : end + 1]]
        kind = "norms" if any(one.site.normalized_output for one in run[start:end]) else "plain"
        yield _trend(net, places, total, severity, "norms" if kind == "norms" else "plain")


def _is_straight(net: Net, layer: Layer, following: Layer) -> bool:
    """Whether nothing but activation and norm lies between: pools spread a gradient thin."""
    place = following.reads
    while place is not None and place not in (layer.end, layer.sums, layer.place):
        if is_starved(place):
            return False
        is_between = place.kind in ("norm", "pointwise", "multiply", "add")
        place = net.places[place.inputs[0]] if is_between and len(place.inputs) == 1 else None
    return place is not None


def is_starved(place: Place) -> bool:
    """Whether a batch norm has so few numbers per channel that its outputs are nearly signs."""
    return (
        place.kind == "norm"
        and "batch_norm" in place.operation
        and len(place.shape) > 1
        and prod(place.shape) < _FEWEST * place.shape[1]
    )


def small_batch(net: Net) -> Iterator[Finding]:
    """Batch norms over too few numbers for what they do to a gradient to mean anything."""
    found = [place for place in net.places if is_starved(place)]
    if found and net.report.mode == "training":
        first = found[0]
        yield Finding(
            code="small-batch",
            severity="note",
            where=first.name,
            measured=f"batch norm over {prod(first.shape) // first.shape[1]} numbers a channel",
            expected=f"{_FEWEST} or more",
            reason="Normalized over so few, outputs are nearly signs and gradients nearly 0: that "
            "is the batch's doing, and nothing is said of gradients across it.",
            remedy=_remedies.advice("Audit a larger batch, or larger inputs."),
            place=first.index,
            also=tuple(place.name for place in found[1:]),
        )


def _ratio(here: float | None, after: float | None) -> float | None:
    if not here or not after or not (isfinite(here) and isfinite(after)):
        return None
    return here / after


def streams_of_gradients(net: Net) -> Iterator[Finding]:
    """The same along the sums of a residual stream."""
    for sums in streams(net).values():
        found = [
            None if one.signal.gradient is None else one.signal.gradient * one.signal.size
            for one in sums
        ]
        changes = logs([_ratio(here, after) for here, after in pairwise(found)])
        start, end, total = steepest(changes)
        severity = severity_of(net, total)
        if severity in ("warning", "error") and not _is_across_starved(net, sums, start, end):
            yield _trend(net, sums[start : end + 1], total, severity, "stream")


def _is_across_starved(net: Net, sums: Sequence[Place], start: int, end: int) -> bool:
    first, last = sums[start].index, sums[min(end, len(sums) - 1)].index
    starved = [place.index for place in net.places[first:last] if is_starved(place)]
    return any(index in net.behind(first) for index in starved)


def _trend(
    net: Net,
    places: Sequence[Place],
    total: float,
    severity: Severity,
    kind: Literal["plain", "norms", "stream"],
) -> Finding:
    grows, count = total > 0, len(places) - 1
    reason = (
        "Backward, each layer makes it larger: the first layers take steps that the last ones "
        "could not follow, and their gradients are mostly noise."
        if grows
        else "Backward, each layer passes on a part of it, so that the first layers hardly learn."
    )
    if kind == "norms":
        reason += " A norm behind each weight undoes whatever start the weights have."
    return Finding(
        code="exploding-gradient" if grows else "vanishing-gradient",
        severity=severity,
        where=places[0].name,
        measured=f"the squared gradient of one input changes by {number(exp(total / count))} at "
        f"each of {count} layers back to here, by {number(exp(total))} in all",
        expected=limits_of(net, severity),
        reason=reason,
        remedy=_remedies.advice(
            "No start cures this: put a path around every one or two layers, x = x + block(x), "
            "or leave out the norms and draw anew with fanin.initialize(model, batch)."
        )
        if kind == "norms"
        else _remedies.start(),
        place=places[0].index,
        also=tuple(place.name for place in places[1:]),
    )


def _reads(net: Net, state: ParameterState) -> bool:
    """Whether a signal arrives at a weight: of nothing there is no gradient, as of zero queries."""
    layer = net.first_use.get(state.name)
    if layer is not None and layer.place.kind != "recurrent":
        return layer.sums.signal.second_moment > (1 + _ROUNDING) * layer.bias
    path = state.name.rpartition(".")[0]
    own = [one for one in net.layers if one.site.name.rpartition(".")[0] == path]
    return any(one.place.kind == "recurrent" and one.place.signal.second_moment > 0 for one in own)


def _is_shut(net: Net, state: ParameterState) -> bool:
    """Whether every way on is multiplied by zeros, as a branch that stochastic depth leaves out."""
    start = net.place_of(state.name)
    if start is None:
        return False
    seen, waiting = {start}, [start]
    while waiting:
        readers = net.readers[waiting.pop()]
        if not readers:
            return False
        on = [one for one in readers if not _is_left_out(net.places[one])]
        waiting += [one for one in on if one not in seen]
        seen.update(on)
    return True


def _is_left_out(place: Place) -> bool:
    return place.stochastic and place.signal.second_moment == 0


def no_gradient(net: Net) -> Iterator[Finding]:
    """Weights at which no gradient arrives, or exactly 0 of it where no zero that is meant is."""
    loss = net.report.loss
    is_none = all(one.gradient is None for one in net.states.values())
    if loss is not None and (loss.failed or is_none):
        yield from _nothing(net, loss)
        return
    yield from _detached(net)
    yield from _zero_gradient(net)


def _nothing(net: Net, loss: Loss) -> Iterator[Finding]:
    """No gradient anywhere, though something is trained."""
    trained = [one for one in net.states.values() if one.trainable and one.role != "buffer"]
    if not trained:
        return
    yield Finding(
        code="no-gradient",
        severity="error",
        where="loss",
        measured=f"the backward pass failed: {loss.failed}"
        if loss.failed
        else f"none of {len(trained)} trained parameters has a gradient",
        expected="a gradient for each",
        reason="What fails here fails in training too: some operation has no derivative, or "
        "wrote over what its derivative needs."
        if loss.failed
        else "The loss does not depend on them for autograd: somewhere on the way is a detach, a "
        "torch.no_grad, an argmax, or a tensor that was made anew of numbers.",
        remedy=_remedies.advice(
            "Mend the operation that the error names; no start can."
            if loss.failed
            else "Take out what cuts the gradient off; loss.requires_grad says whether it is there."
        ),
    )


def _detached(net: Net) -> Iterator[Finding]:
    """Weights that ran and got no gradient at all, where others did."""
    ran = [one for one in net.states.values() if _is_trained(net, one, MATRICES)]
    without = [one for one in ran if one.gradient is None]
    cut = [one for one in without if _is_cut_off(net, one)]
    loss = net.report.loss
    is_most = len(without) >= len(ran) / 2
    # What nothing behind it has a gradient for is an output that this loss does not read.
    has_loss = loss is not None and loss.is_loss
    found = cut or (without if has_loss and is_most else [])
    if found:
        # Without a loss, another one may train it from there, as that of a codebook.
        severity: Severity = "note" if not has_loss else "error" if is_most else "warning"
        yield Finding(
            code="no-gradient",
            severity=severity,
            where=found[0].name,
            measured="it has no gradient" + (", what comes after it has" if cut else ""),
            expected="a gradient: it is trained, and it ran",
            reason="Autograd does not see the way from it to the loss: it is behind a detach, "
            "torch.no_grad, an argmax or numbers that left torch, or nothing of it is read.",
            remedy=_remedies.advice(
                "Take out what cuts its gradient off, or do not train it: requires_grad_(False)."
            ),
            place=net.place_of(found[0].name),
            also=tuple(one.name for one in found[1:]),
        )


def _is_trained(net: Net, state: ParameterState, roles: frozenset[str]) -> bool:
    site = net.sites.get(state.name)
    is_run = site is not None and site.ran_in in ("evaluation", "training")
    return is_run and state.trainable and state.role in roles


def _is_cut_off(net: Net, state: ParameterState) -> bool:
    """Whether something behind it has a gradient, and it has none."""
    start = net.place_of(state.name)
    if start is None:
        return False
    return any(net.places[one].signal.gradient is not None for one in net.behind(start))


def _zero_gradient(net: Net) -> Iterator[Finding]:
    # Over one position a softmax is 1, and what makes its scores has no gradient.
    counted = MATRICES - {"query", "key", "embedding"}
    ran = [one for one in net.states.values() if _is_trained(net, one, counted)]
    idle = [one for one in ran if one.gradient == 0 and not is_zero(one)]
    found = [one for one in idle if _reads(net, one) and not _is_shut(net, one)]
    meant = counted | {"norm_scale", "branch_scale"}
    if found and not any(is_zero(one) and one.role in meant for one in net.states.values()):
        is_recurrent = found[0].role == "recurrent"
        yield Finding(
            code="no-gradient",
            severity="error" if len(found) > len(ran) / 2 else "warning",
            where=found[0].name,
            measured="its gradient is exactly 0",
            expected="a gradient",
            reason="The state that it multiplies is zero wherever the result is read."
            if is_recurrent
            else "Nothing that it does reaches the loss, so it stays as it is.",
            remedy=_remedies.advice("Let the loss depend on it: read all steps of both directions.")
            if is_recurrent
            else _remedies.start(),
            place=net.place_of(found[0].name),
            also=tuple(one.name for one in found[1:]),
        )
