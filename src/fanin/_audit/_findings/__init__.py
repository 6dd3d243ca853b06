"""What is wrong with a start, from what was measured: the first place at fault, once."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from fanin._audit._evidence import Evidence
from fanin._audit._findings import (
    attention,
    gradient,
    loss,
    numbers,
    residual,
    signal,
    steps,
    structure,
    units,
)
from fanin._audit._findings.net import Net
from fanin._audit._records import Finding

__all__ = ["findings_of"]

Check = Callable[[Net], Iterator[Finding]]

_VALUES: Final[tuple[Check, ...]] = (
    numbers.parameters_not_finite,
    numbers.undrawn,
    numbers.not_finite,
    structure.equal_units,
    structure.identical_layers,
    structure.drawn_padding,
    structure.frozen,
    structure.empty,
    structure.unused,
)
"""What can be said of values alone, and also where the run is broken."""

_RUN: Final[tuple[Check, ...]] = (
    structure.drawn_norms,
    structure.closed_branches,
    structure.zero_weights,
    structure.zero_norms,
    signal.wrong_fans,
    signal.odd_layers,
    units.saturated_gates,
    attention.one_hot_attention,
    attention.rank_collapse,
    residual.unlike_the_others,
    residual.drowned_branches,
    residual.dominant_branches,
    units.saturated_units,
    units.dead_units,
    signal.fading_or_growing,
    residual.growing_streams,
    signal.collapsed_inputs,
    gradient.runs_of_gradients,
    gradient.streams_of_gradients,
    loss.initial_loss,
    loss.large_logits,
    steps.lost_updates,
    steps.steps,
    gradient.no_gradient,
    gradient.small_batch,
    attention.uniform_attention,
)
"""Causes before what they cause: a finding that an earlier one explains is left out."""

_FORWARD: Final = frozenset(
    {
        "undrawn-parameter", "zero-weight", "zero-norm", "outlier-layer", "wrong-fan",
        "vanishing-signal", "exploding-signal", "collapsed-inputs", "exploding-stream",
        "saturated-units", "dead-units", "equal-units", "rank-collapse", "drowned-branches",
        "drawn-norm",
        "dominant-branch",
    }
)  # fmt: skip
"""What spoils everything behind it."""
_FOLLOWS: Final = frozenset(
    {
        "outlier-layer", "vanishing-signal", "exploding-signal", "collapsed-inputs",
        "exploding-stream", "saturated-units", "dead-units", "one-hot-attention", "rank-collapse",
        "large-logits", "uniform-attention", "initial-loss", "drowned-branches",
    }
)  # fmt: skip
"""What a fault before it can cause."""
_ALONE: Final = frozenset({"outlier-layer", "wrong-fan"})
"""What changes the size alone: the ratios of later layers are as before."""
_TRENDS: Final = frozenset({"vanishing-signal", "exploding-signal", "collapsed-inputs"})
"""What is said of a run, and may be what one of its layers does."""
_BACKWARD: Final = frozenset({"vanishing-gradient", "exploding-gradient", "no-gradient"})
"""What a fault anywhere on the way can cause."""
_LISTED: Final = frozenset({"undrawn-parameter", "not-finite", "wrong-fan", "equal-units"})
"""What lists other places that are at fault themselves."""
_REPEATED: Final = frozenset(
    {*_TRENDS, "vanishing-gradient", "exploding-gradient", "exploding-stream", "drowned-branches"}
)
"""What repeated parts of a model have alike."""
_ORDER: Final = ("error", "warning", "note")


def findings_of(evidence: Evidence) -> tuple[Finding, ...]:
    """The findings, errors first, each at the first place at fault."""
    net = Net(evidence)
    checks = _VALUES if numbers.is_broken(net) else (*_VALUES, *_RUN)
    accepted: list[Finding] = []
    for check in checks:
        for finding in check(net):
            cause = _explains(net, accepted, finding)
            if cause is None:
                accepted.append(finding)
            elif finding.code == "initial-loss":
                _tell(accepted, cause, finding)
    return tuple(sorted(_merged(accepted), key=lambda one: _ORDER.index(one.severity)))


def _merged(findings: list[Finding]) -> list[Finding]:
    """One finding for the same trend in several runs: at the first, with the worst severity."""
    found: dict[str, Finding] = {}
    for number, one in enumerate(findings):
        key = one.code if one.code in _REPEATED else f"{one.code} {number}"
        first = found.get(key)
        if first is None:
            found[key] = one
            continue
        severity = min(first.severity, one.severity, key=_ORDER.index)
        also = tuple(dict.fromkeys((*first.also, one.where, *one.also)))
        found[key] = replace(first, severity=severity, also=also)
    return list(found.values())


def _explains(net: Net, accepted: list[Finding], finding: Finding) -> Finding | None:
    """The finding that makes this one superfluous."""
    return next((one for one in accepted if _is_explained(net, finding, one)), None)


def _is_explained(net: Net, finding: Finding, by: Finding) -> bool:
    if _same_place(by, finding) and (by.severity != "note" or finding.severity == "note"):
        return True
    if by.severity == "note" or by.code not in _FORWARD or by.place is None:
        return False
    if finding.place is None:
        return finding.code in ("initial-loss", "no-gradient")
    if finding.code in _TRENDS and by.code not in _ALONE and by.where in finding.also:
        return True
    is_behind = finding.place in net.behind(by.place)
    if finding.code in _FOLLOWS and is_behind:
        # An odd layer is measured against what it reads, so another one before it is no cause.
        return finding.code != "outlier-layer" or by.code not in _ALONE
    is_before = finding.code in _BACKWARD and by.place in net.behind(finding.place)
    return is_before or (finding.code in _BACKWARD and is_behind)


def _same_place(one: Finding, other: Finding) -> bool:
    names = (one.where, *one.also) if one.code in _LISTED else (one.where,)
    return other.where.removesuffix(".weight") in [name.removesuffix(".weight") for name in names]


def _tell(accepted: list[Finding], cause: Finding, loss_finding: Finding) -> None:
    """The cause says what it does to the loss."""
    index = accepted.index(cause)
    reason = f"{cause.reason} It costs {loss_finding.measured} what a constant would have."
    accepted[index] = replace(cause, reason=reason)
