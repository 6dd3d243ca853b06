"""What the model was given: inputs of a size that no start is made for."""

from fanin._audit import _remedies
from fanin._audit._findings.net import Net
from fanin._audit._records import Finding, Severity
from fanin._text import number

__all__ = ["is_unscaled", "unscaled"]


def is_unscaled(net: Net) -> bool:
    """Whether E x² of the inputs is farther above 1 than one layer may take it.

    And a layer reads them: a norm in front of the first takes that off.
    """
    given = net.report.given
    is_read = any(
        one.reads is None and one.place.kind != "lookup" and not one.site.normalized_input
        for one in net.layers
    )
    return given is not None and is_read and (given.second_moment or 0.0) > net.limits.layer


def unscaled(net: Net, severity: Severity, consequence: str) -> Finding:
    """Inputs such as pixels from 0 to 255: what they cost is told at the batch."""
    given = net.report.given
    return Finding(
        code="unscaled-batch",
        severity=severity,
        where="batch",
        measured=f"its numbers have std {number(given.std if given is not None else None)}",
        expected=f"about 1; under {number(net.limits.layer**0.5, 2)}",
        reason=f"A start is made for inputs of about unit size, and no layer is at fault: "
        f"{consequence}.",
        remedy=_remedies.advice(
            "Normalize the inputs: take off the mean of the training set and divide by its std."
        ),
    )
