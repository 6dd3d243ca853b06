"""The first loss, beside that of a model that knows nothing: and which layer makes the excess."""

from collections.abc import Iterator
from math import exp, isclose, isfinite, log, prod, sqrt

from fanin._audit import _remedies
from fanin._audit._findings.anew import anew, anew_as
from fanin._audit._findings.batch import is_unscaled, unscaled
from fanin._audit._findings.factors import factors_of, largest, smaller
from fanin._audit._findings.net import MATRICES, Layer, Net
from fanin._audit._records import Finding, Loss, Severity
from fanin._text import number

__all__ = ["initial_loss", "large_logits", "spread_target", "steep_loss"]

_ERROR = 10.0
_SAME = 1e-6
"""Two roundings of one loss."""
_STEEP = 3.0
"""Of the logarithm of e^(s z) the power is twice: half as much again is allowed."""
_WIDE = 3.0
"""Standard errors of a mean loss over few targets."""


def initial_loss(net: Net) -> Iterator[Finding]:
    """A loss far above that of knowing nothing, at the layer that makes it so."""
    loss = net.report.loss
    if loss is None or loss.uninformed is None or not isfinite(_value(loss)):
        return
    excess, allowed = _above(loss), _allowed(net, loss)
    if excess <= allowed or next(steep_loss(net), None) is not None:
        return  # Of a loss that is exponential in a layer's outputs that layer is told.
    severity: Severity = "error" if excess > _ERROR * allowed else "warning"
    layer, is_bias, stands_out = _cause(net)
    if _is_off_centre(loss):
        yield _off_centre(net, loss, layer)
    elif loss.target_mean is not None and (loss.output_std or 0.0) ** 2 < excess / 2:
        return  # What the loss was given is not this output: nothing is known of it.
    elif is_unscaled(net) and not stands_out:
        yield unscaled(net, severity, f"it costs {_measured(loss)} what a constant would have")
    else:
        yield _excess(net, loss, severity, layer, is_bias=is_bias)


def steep_loss(net: Net) -> Iterator[Finding]:
    """A layer of whose size the loss is over the sixth power, where the loss is large.

    A squared error is the power 2, that of a cube 6. Of e^(s z), z normal, the logarithm is s² / 2,
    and the power d ln / d ln s is s².
    """
    loss = net.report.loss
    if loss is None or not isfinite(loss.value) or loss.value < exp(net.limits.excess_loss):
        return
    limit = _STEEP * net.limits.excess_loss
    steep = [(layer, power) for layer in net.layers if (power := _power(net, layer)) > limit]
    if not steep:
        return
    # Every layer on the way has the power: the one that multiplies too much, or the last.
    layer, power = max(reversed(steep), key=lambda one: max(_departure(one[0]), log(2.0)))
    yield _steep(net, loss, layer, power, limit)


def _departure(layer: Layer) -> float:
    """ln of E y² / E x² over what keeps the signal."""
    return log(layer.ratio / layer.usual) if layer.ratio and layer.usual else 0.0


def _power(net: Net, layer: Layer) -> float:
    """Of the weight or of its bias, whichever is more."""
    name = layer.site.name
    if layer.site.uses != 1 or layer.site.role not in MATRICES:
        return 0.0
    return max(net.powers.get(name, 0.0), net.powers.get(str(net.bias_name(name)), 0.0))


def _steep(net: Net, loss: Loss, layer: Layer, power: float, limit: float) -> Finding:
    bias = net.bias_name(layer.site.name)
    is_bias = bias is not None and net.powers.get(bias, 0.0) == power
    return Finding(
        code="initial-loss",
        severity="error" if power > _ERROR * limit or _is_hopeless(net, loss) else "warning",
        where=layer.place.name,
        measured=f"a loss of {number(loss.value)}, which grows as the power {number(power, 2)} of "
        f"the size of its {'bias' if is_bias else 'weights'}",
        expected=f"a power of up to {number(limit, 2)}: a squared error is the power 2",
        reason="The loss is exponential in what it gives, as in a log-variance or a log-rate: a "
        "few outputs make all of the loss, and the first steps are of their size.",
        remedy=anew_as(net, [(bias, 0.0)])
        if is_bias and bias is not None
        else anew(net, [layer.site.name]),
        place=layer.place.index,
    )


def _is_hopeless(net: Net, loss: Loss) -> bool:
    """Whether the part of it that is known is beyond its own limit for an error."""
    return loss.uninformed is not None and _above(loss) > _ERROR * _allowed(net, loss)


def spread_target(net: Net) -> Iterator[Finding]:
    """An output and a target of other axes: each entry is compared with all of the other's."""
    loss = net.report.loss
    if loss is not None and loss.is_spread:
        yield Finding(
            code="spread-target",
            severity="error",
            where="loss",
            measured="the loss compares each output with the targets of all inputs",
            expected="one target for each output",
            reason="Output and target have other axes, as (32, 1) and (32,), and were both "
            "repeated: such a model learns the mean of the targets, whatever its input.",
            remedy=_remedies.advice(
                "Give both one shape: target[:, None], or the output without its last axis."
            ),
        )


def _value(loss: Loss) -> float:
    """Per element: what the loss's own operation gave, of a sum or of a part of the loss."""
    return loss.value if loss.observed is None else loss.observed


def _above(loss: Loss) -> float:
    return _value(loss) - (loss.uninformed or 0.0)


def _is_off_centre(loss: Loss) -> bool:
    """Whether it is the targets' mean that makes a squared error."""
    return loss.target_mean is not None and loss.target_mean**2 > _above(loss) / 2


def _excess(
    net: Net, loss: Loss, severity: Severity, layer: Layer | None, *, is_bias: bool
) -> Finding:
    bias = None if layer is None or not is_bias else net.bias_name(layer.site.name)
    factors = [] if bias is not None else factors_of(net)
    std = loss.output_std or 1.0
    if factors:
        layer = largest(net, factors, std)
    return Finding(
        code="initial-loss",
        severity=severity,
        where="loss" if layer is None else layer.place.name,
        measured=_measured(loss),
        expected=_expected(loss),
        reason=f"The outputs have std {number(loss.output_std)}: the model is sure of what it "
        "cannot know yet, and the first steps go into undoing that.",
        remedy=anew_as(net, [(bias, 0.0)])
        if bias is not None
        else smaller(net, factors, std)
        if factors
        else _remedies.start()
        if layer is None
        else anew(net, [layer.site.name]),
        place=None if layer is None else layer.place.index,
        also=tuple(one.place.name for one in factors if one is not layer),
    )


def _off_centre(net: Net, loss: Loss, layer: Layer | None) -> Finding:
    has_bias = layer is not None and net.bias_name(layer.site.name) is not None
    return Finding(
        code="off-centre-targets",
        severity="note",
        where="loss" if layer is None else layer.place.name,
        measured=_measured(loss),
        expected=_expected(loss),
        reason=f"The targets have mean {number(loss.target_mean)} and std "
        f"{number((loss.uninformed or 0.0) ** 0.5)}, the outputs lie about 0: the first steps go "
        "into making up for that.",
        remedy=_remedies.advice(
            "Set the readout's bias to the mean of the targets, or take the mean off them."
            if has_bias
            else "Take the mean off the targets: the readout has no bias that could learn it."
        ),
        place=None if layer is None else layer.place.index,
    )


def _measured(loss: Loss) -> str:
    unit = " nats" if loss.classes else ""
    each = "" if isclose(_value(loss), loss.value, rel_tol=_SAME) else " per element"
    return f"a loss of {number(_value(loss))}{unit}{each}, {number(_above(loss))} above"


def _expected(loss: Loss) -> str:
    if loss.classes is None:
        return f"about {number(loss.uninformed)}, of the best constant"
    return f"about {number(loss.uninformed)} nats, ln {loss.classes}"


def _allowed(net: Net, loss: Loss) -> float:
    """The excess that is no finding: nats for classes, a multiple of the target's variance else.

    The mean over few targets is uncertain by about the outputs' std over their root.
    """
    last = net.places[-1] if net.places else None
    if loss.classes is None:
        return (exp(net.limits.excess_loss) - 1) * (loss.uninformed or 0.0) + 1.0
    count = max(1.0, prod(last.shape) / loss.classes) if last is not None else 1.0
    std = min(loss.output_std or 0.0, 2.0)
    return net.limits.excess_loss + _WIDE * std / sqrt(count)


def _cause(net: Net) -> tuple[Layer | None, bool, bool]:
    """The layer that makes the outputs large, whether it is its bias, and whether it stands out.

    The layer with a bias beyond the limit for one; else that which multiplies most, of those
    before the loss; the readout if none stands out.
    """
    for layer in net.layers:
        if net.limits.layer < layer.bias > layer.sums.signal.second_moment / 2:
            return layer, True, True
    last = next((layer for layer in reversed(net.layers) if layer.place.kind == "product"), None)
    worst, most, stands_out = last, log(3.0), False
    for layer in net.layers:
        is_judged = not layer.site.normalized_output and layer.site.role != "embedding"
        if is_judged and _departure(layer) > most:
            worst, most, stands_out = layer, _departure(layer), True
    return worst, False, stands_out


def large_logits(net: Net) -> Iterator[Finding]:
    """Without a loss: a table that is the readout too, and gives logits of a large std."""
    loss = net.report.loss
    if loss is None or loss.uninformed is not None:
        return
    for layer in net.layers:
        site = layer.site
        is_tied = "readout" in (site.role, *site.other_roles) and "embedding" in (
            site.role, *site.other_roles
        )  # fmt: skip
        leaves = layer.place.signal.second_moment
        if layer.place.kind == "product" and is_tied and leaves > net.limits.layer:
            yield Finding(
                code="large-logits",
                severity="warning",
                where=layer.place.name,
                measured=f"outputs of std {number(leaves**0.5)} from the table that is looked up "
                "too",
                expected=f"under {number(net.limits.layer**0.5, 2)}",
                reason="As logits they bet all on one class before anything is learned: a table "
                "that is looked up and read out has to serve both.",
                remedy=anew(net, [site.name]),
                place=layer.place.index,
            )
