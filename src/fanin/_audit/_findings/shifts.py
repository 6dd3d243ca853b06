"""Biases and norms that are larger than what they are added to or multiply."""

from collections.abc import Iterator, Sequence

from fanin._audit._findings.anew import anew_as
from fanin._audit._findings.net import Layer, Net
from fanin._audit._findings.units import shut
from fanin._audit._records import Finding, ParameterState, Severity
from fanin._text import number

__all__ = ["large_biases", "large_norms"]


def large_norms(net: Net) -> Iterator[Finding]:
    """Norms of which the scale or the shift is far over 1: nothing is of unit size behind them."""
    found = [one for one in net.states.values() if _is_large(net, one, "norm_scale", "norm_shift")]
    if found:
        first = found[0]
        kind = "scale" if first.role == "norm_scale" else "shift"
        yield Finding(
            code="outlier-layer",
            severity="warning",
            where=first.name,
            measured=f"the {kind} of this norm has rms {number(first.second_moment**0.5)}",
            expected=f"{'1' if kind == 'scale' else '0'}; under {number(net.limits.layer**0.5, 2)}",
            reason="A norm makes its input of unit size, and this undoes it: what comes behind is "
            + ("as much too large." if kind == "scale" else "next to the same for every input."),
            remedy=anew_as(
                net, [(one.name, 1.0 if one.role == "norm_scale" else 0.0) for one in found]
            ),
            place=net.place_of(first.name),
            also=tuple(one.name for one in found[1:]),
        )


def _is_large(net: Net, state: ParameterState, *roles: str) -> bool:
    return state.role in roles and state.second_moment > net.limits.layer


def large_biases(net: Net) -> Iterator[Finding]:
    """Biases that are most of what their layer gives: it is next to the same for every input.

    Before a norm they have no effect; of a readout they may be meant, as where targets have a mean.
    """
    large = [one for one in net.states.values() if _is_large(net, one, "bias")]
    recurrent = [one for one in large if _is_recurrent(net, one)]
    if recurrent:
        yield _of_gates(net, recurrent)
    # Where units are dead or saturated, that is what is said, and nothing of what is behind.
    told = {index for place in shut(net) for index in net.behind(place)}
    others = {one.name for one in large if one not in recurrent}
    layers = [
        layer
        for name, layer in net.first_use.items()
        if net.bias_name(name) in others
        and layer.is_of_its_bias
        and not layer.site.normalized_output
        and layer.place.index not in told
    ]
    hidden = [layer for layer in layers if layer.site.role != "readout"]
    if hidden:
        yield _of_layers(net, hidden, "warning")
    if len(hidden) < len(layers) and not _is_judged(net):
        yield _of_layers(net, [one for one in layers if one not in hidden], "note")


def _is_recurrent(net: Net, state: ParameterState) -> bool:
    path, dot, local = state.name.rpartition(".")
    beside = path + dot + local.replace("bias_ih", "weight_hh").replace("bias_hh", "weight_hh")
    site = net.sites.get(beside)
    return site is not None and site.role == "recurrent"


def _is_judged(net: Net) -> bool:
    """Whether the whole loss is compared with that of knowing nothing, and so the readout's bias.

    Part of it, or a loss that nothing is known of, says nothing of a bias.
    """
    loss = net.report.loss
    if loss is None or loss.uninformed is None:
        return False
    return loss.observed is None or abs(loss.observed - loss.value) < 1e-3 * abs(loss.value)


def _of_layers(net: Net, layers: Sequence[Layer], severity: Severity) -> Finding:
    first = layers[0]
    names = [str(net.bias_name(one.site.name)) for one in layers]
    is_readout = severity == "note"
    return Finding(
        code="outlier-layer",
        severity=severity,
        where=first.place.name,
        measured=f"its bias has rms {number(first.bias**0.5)}, its output "
        f"{number(first.sums.signal.std)}",
        expected=f"a bias of about 0; under {number(net.limits.layer**0.5, 2)}",
        reason="What the model gives is mostly this bias: it is meant only if the targets have "
        "such a mean."
        if is_readout
        else "What this layer gives is mostly its bias, and so next to the same for every input.",
        remedy=anew_as(net, [(name, 0.0) for name in names]),
        place=first.place.index,
        also=tuple(one.place.name for one in layers[1:]),
    )


def _of_gates(net: Net, states: Sequence[ParameterState]) -> Finding:
    first = states[0]
    return Finding(
        code="saturated-gates",
        severity="warning",
        where=first.name,
        measured=f"it has rms {number(first.second_moment**0.5)}",
        expected=f"about 0, or 1 to 7 for the gate that forgets; under "
        f"{number(net.limits.layer**0.5, 2)} over all gates",
        reason="Gates are fully open or shut whatever the input is, and pass back next to no "
        "gradient.",
        remedy=anew_as(net, [(one.name, 0.0) for one in states]),
        place=net.place_of(first.name),
        also=tuple(one.name for one in states[1:]),
    )
