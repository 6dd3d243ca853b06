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
    shifts,
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
    numbers.data_not_finite,
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

_SIGNAL: Final[tuple[Check, ...]] = (
    structure.drawn_norms,
    shifts.large_norms,
    structure.closed_branches,
    structure.zero_weights,
    structure.zero_norms,
    signal.wrong_fans,
    signal.odd_layers,
    units.saturated_gates,
    shifts.large_biases,
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
    numbers.loss_not_finite,
    attention.uniform_attention,
)
"""What the run forward shows. Causes before what they cause: a finding that an earlier one explains
is left out."""

_LEARNING: Final[tuple[Check, ...]] = (
    gradient.runs_of_gradients,
    gradient.streams_of_gradients,
    loss.spread_target,
    loss.steep_loss,
    loss.initial_loss,
    loss.large_logits,
    steps.lost_updates,
    steps.steps,
    gradient.no_gradient,
    gradient.small_batch,
)
"""What a loss that is a number, and its gradient, show; in the same order."""

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
_LISTED: Final = frozenset(
    {"undrawn-parameter", "not-finite", "wrong-fan", "equal-units", "closed-branch"}
)
"""What lists other places that are at fault themselves."""
_REPEATED: Final = frozenset(
    {*_TRENDS, "vanishing-gradient", "exploding-gradient", "exploding-stream", "drowned-branches",
     "unscaled-batch"}
)  # fmt: skip
"""What repeated parts of a model have alike."""
_RAISES: Final = frozenset({*_TRENDS, "initial-loss"})
"""What makes its cause as bad as it is: the same trend by another measure, and the loss."""
_A: Final = {"error": "an error", "warning": "a warning", "note": "a note"}
_ORDER: Final = ("error", "warning", "note")


def findings_of(evidence: Evidence) -> tuple[Finding, ...]:
    """The findings, errors first, each at the first place at fault."""
    net = Net(evidence)
    accepted: list[Finding] = []
    for check in _checks(net):
        for finding in check(net):
            cause = _explains(net, accepted, finding)
            if cause is None:
                accepted.append(finding)
            else:
                _tell(accepted, cause, finding)
    return tuple(sorted(_merged(accepted), key=lambda one: _ORDER.index(one.severity)))


def _checks(net: Net) -> tuple[Check, ...]:
    if numbers.is_broken(net):
        return _VALUES
    return (*_VALUES, *_SIGNAL, *(() if numbers.is_loss_broken(net) else _LEARNING))


def _merged(findings: list[Finding]) -> list[Finding]:
    """One finding for the same trend in several runs: at the first, with the worst severity."""
    found: dict[str, Finding] = {}
    for number, one in enumerate(findings):
        key = one.code if one.code in _REPEATED else f"{one.code} {number}"
        first = found.get(key)
        if first is None:
            found[key] = one
            continue
        also = _others(first.where, (*first.also, one.where, *one.also))
        worst = first
        if _is_worse(one, first):
            said = one.measured if one.where == first.where else f"{one.measured} (at {one.where})"
            worst = replace(one, where=first.where, place=first.place, measured=said)
        found[key] = replace(worst, also=also)
    return list(found.values())


def _others(where: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Each other place once, in order."""
    return tuple(name for name in dict.fromkeys(names) if name != where)


def _explains(net: Net, accepted: list[Finding], finding: Finding) -> Finding | None:
    """The finding that makes this one superfluous."""
    return next((one for one in accepted if _is_explained(net, finding, one)), None)


def _is_explained(net: Net, finding: Finding, by: Finding) -> bool:
    if _same_place(by, finding) and (by.severity != "note" or finding.severity == "note"):
        return True
    if by.severity == "note":
        return False
    if by.code == "unscaled-batch":
        return finding.code in _FOLLOWS | _BACKWARD and _is_first(net, finding)
    if by.place is None:
        return False
    if by.code in ("one-hot-attention", "saturated-gates"):
        return finding.code in _BACKWARD and _is_on_the_way(net, finding, by.place)
    return by.code in _FORWARD and _is_spoiled(net, finding, by, by.place)


def _is_spoiled(net: Net, finding: Finding, by: Finding, place: int) -> bool:
    """Whether a fault of the signal at ``place`` causes this."""
    if finding.place is None:
        return finding.code in ("initial-loss", "not-finite")
    if finding.code in _TRENDS and by.code not in _ALONE and by.where in finding.also:
        return True
    if finding.code == "dominant-branch" and by.code == "outlier-layer":
        return _is_same_branch(net, finding, by)
    if finding.code in _FOLLOWS and finding.place in net.behind(place):
        # An odd layer is measured against what it reads, so another one before it is no cause.
        return finding.code != "outlier-layer" or by.code not in _ALONE
    return finding.code in _BACKWARD and _is_on_the_way(net, finding, place)


def _is_on_the_way(net: Net, finding: Finding, place: int) -> bool:
    """Whether a finding is before a place or behind it."""
    if finding.place is None:
        return False
    return place in net.behind(finding.place) or finding.place in net.behind(place)


def _is_first(net: Net, finding: Finding) -> bool:
    """Whether a finding is at a layer that reads the batch."""
    return any(one.place.index == finding.place and one.reads is None for one in net.layers)


def _is_same_branch(net: Net, one: Finding, other: Finding) -> bool:
    """Whether two places are in one branch of a residual stream."""
    found = [
        net.sites[net.places[place].weight].branch
        for place in (one.place, other.place)
        if place is not None and net.places[place].weight in net.sites
    ]
    keys = {None if branch is None else (branch.stream, branch.index) for branch in found}
    return len(found) == 2 and len(keys) == 1 and None not in keys


def _same_place(one: Finding, other: Finding) -> bool:
    names = (one.where, *one.also) if one.code in _LISTED else (one.where,)
    return other.where.removesuffix(".weight") in [name.removesuffix(".weight") for name in names]


def _tell(accepted: list[Finding], cause: Finding, finding: Finding) -> None:
    """The cause says what it does to the loss, and is as bad as the worst that it does."""
    index, reason, severity = accepted.index(cause), cause.reason, cause.severity
    if finding.code == "initial-loss":
        reason += f" It costs {finding.measured} what a constant would have."
    if _is_worse(finding, cause) and finding.code in _RAISES:
        severity = finding.severity
        if finding.code != "initial-loss":
            reason += f" It is {_A[severity]} for {finding.code}: {finding.measured}; expected: "
            reason += f"{finding.expected}."
    accepted[index] = replace(cause, reason=reason, severity=severity)


def _is_worse(one: Finding, other: Finding) -> bool:
    return _ORDER.index(one.severity) < _ORDER.index(other.severity)
