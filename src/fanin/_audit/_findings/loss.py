"""The first loss, beside that of a model that knows nothing: and which layer makes the excess."""

from collections.abc import Iterator
from math import exp, log, prod, sqrt

from fanin._audit import _remedies
from fanin._audit._findings.net import Layer, Net
from fanin._audit._records import Finding, Loss
from fanin._text import number

__all__ = ["initial_loss", "large_logits"]

_ERROR = 10.0
_WIDE = 3.0
"""Standard errors of a mean loss over few targets."""


def initial_loss(net: Net) -> Iterator[Finding]:
    """A loss far above that of knowing nothing, at the layer that makes it so."""
    loss = net.report.loss
    if loss is None or loss.uninformed is None or not loss.value < float("inf"):
        return
    excess = loss.value - loss.uninformed
    allowed = _allowed(net, loss)
    if excess <= allowed:
        return
    layer = _cause(net)
    yield _off_centre(loss, layer) if _is_off_centre(loss) else _excess(loss, allowed, layer)


def _is_off_centre(loss: Loss) -> bool:
    """Whether it is the targets' mean that makes a squared error, more than the outputs."""
    excess = loss.value - (loss.uninformed or 0.0)
    return loss.classes is None and (loss.output_std or 0.0) ** 2 < excess / 2


def _excess(loss: Loss, allowed: float, layer: Layer | None) -> Finding:
    excess = loss.value - (loss.uninformed or 0.0)
    hopeless = excess > _ERROR * allowed
    return Finding(
        code="initial-loss",
        severity="error" if hopeless else "warning",
        where="loss" if layer is None else layer.place.name,
        measured=_measured(loss),
        expected=_expected(loss),
        reason=f"The outputs have std {number(loss.output_std)}: the model is sure of what it "
        "cannot know yet, and the first steps go into undoing that.",
        remedy=_remedies.start() if layer is None else _remedies.redraw([layer.site.name]),
        place=None if layer is None else layer.place.index,
    )


def _off_centre(loss: Loss, layer: Layer | None) -> Finding:
    return Finding(
        code="off-centre-targets",
        severity="note",
        where="loss" if layer is None else layer.place.name,
        measured=_measured(loss),
        expected=_expected(loss),
        reason="The targets lie far from 0, where the outputs are: the first steps go into the "
        "last bias.",
        remedy=_remedies.advice(
            "Set the readout's bias to the mean of the targets, or take the mean off them."
        ),
        place=None if layer is None else layer.place.index,
    )


def _measured(loss: Loss) -> str:
    unit = " nats" if loss.classes else ""
    above = number(loss.value - (loss.uninformed or 0.0))
    return f"a loss of {number(loss.value)}{unit}, {above} above"


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


def _cause(net: Net) -> Layer | None:
    """The layer that multiplies most, of those before the loss; the readout if none stands out."""
    last = next((layer for layer in reversed(net.layers) if layer.place.kind == "product"), None)
    worst, most = last, log(3.0)
    for layer in net.layers:
        if layer.ratio and not layer.site.normalized_output and layer.site.role != "embedding":
            own = log(layer.ratio / layer.usual)
            if own > most:
                worst, most = layer, own
    return worst


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
                remedy=_remedies.redraw([site.name]),
                place=layer.place.index,
            )
