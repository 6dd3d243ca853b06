"""One step of the optimizer ahead: parameters that move by all of themselves, or not at all."""

from collections.abc import Iterator
from typing import Final

from fanin._audit import _remedies
from fanin._audit._findings.anew import anew
from fanin._audit._findings.net import MATRICES, Net
from fanin._audit._records import Finding, ParameterState
from fanin._text import number

__all__ = ["lost_updates", "steps"]

_SMALL_ON_PURPOSE: Final = frozenset({"residual_out", "readout", "embedding", "router"})
_SEEN: Final = 1e-7
"""Ten times Adam's epsilon."""
_USUAL: Final = {"adam": 1e-3, "sgd": 0.1}
"""The learning rates that the optimizers are mostly begun with."""
_RESOLUTION: Final = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
"""Half of what the last digit of 1 is worth: smaller steps are rounded away."""


def steps(net: Net) -> Iterator[Finding]:
    """Matrices that the first step moves by more than themselves, or next to nothing."""
    drawn = [one for one in net.states.values() if one.role in MATRICES and one.update]
    fast = [one for one in drawn if _is_fast(net, one)]
    if fast:
        yield _fast(net, fast)
    slow = [one for one in drawn if _is_slow(net, one)]
    # Steps of SGD are as small as the gradient, of which other findings speak.
    if slow and net.report.optimizer == "adam":
        yield _slow(net, slow)


def _is_fast(net: Net, state: ParameterState) -> bool:
    is_small = state.role in _SMALL_ON_PURPOSE or bool(net.sites[state.name].built)
    return (state.update or 0.0) > net.limits.fastest and not is_small


def _is_slow(net: Net, state: ParameterState) -> bool:
    # Under a gradient of Adam's epsilon, it is the gradient that is at fault.
    is_seen = (state.gradient or 0.0) > _SEEN**2
    return (state.update or 1.0) < net.limits.slowest and is_seen


def _fast(net: Net, found: list[ParameterState]) -> Finding:
    report, first = net.report, found[0]
    return Finding(
        code="large-update",
        severity="warning",
        where=first.name,
        measured=f"one step of {report.optimizer} at {report.learning_rate:g} is "
        f"{number(first.update)} times its size",
        expected=f"under {number(net.limits.fastest)}",
        reason="After one step nothing is left of its start: the weights are too small for this "
        "learning rate, or their gradient too large.",
        remedy=_other_rate(net, found, net.limits.fastest, "at most")
        or anew(net, [one.name for one in found]),
        place=net.place_of(first.name),
        also=tuple(one.name for one in found[1:]),
    )


def _slow(net: Net, found: list[ParameterState]) -> Finding:
    report, first = net.report, found[0]
    ratio = first.update or 1.0
    return Finding(
        code="small-update",
        severity="warning",
        where=first.name,
        measured=f"one step of {report.optimizer} at {report.learning_rate:g} is "
        f"{number(ratio)} of its size",
        expected=f"over {number(net.limits.slowest)}",
        reason=f"Its values have rms {number(first.second_moment**0.5)}: it takes "
        f"{number(1 / ratio)} steps to become another.",
        remedy=_other_rate(net, found, net.limits.slowest, "at least")
        or anew(net, [one.name for one in found]),
        place=net.place_of(first.name),
        also=tuple(one.name for one in found[1:]),
    )


def _other_rate(net: Net, found: list[ParameterState], limit: float, side: str) -> str:
    """Advice where the usual rate would be right for these weights; nothing where it would not."""
    rate, usual = net.report.learning_rate, _USUAL[net.report.optimizer]
    sizes = [one.update or 0.0 for one in found]
    worst = max(sizes) if side == "at most" else min(sizes)
    at_usual = worst * usual / rate
    is_right = at_usual < limit if side == "at most" else at_usual > limit
    if not is_right:
        return ""
    return _remedies.advice(
        f"Take a learning rate of {side} {number(rate * limit / worst, 2)} here; no start is at "
        f"fault: at {usual:g} these steps are {number(at_usual, 2)} of the size."
    )


def lost_updates(net: Net) -> Iterator[Finding]:
    """Parameters of half precision whose first step is rounded away."""
    found = [
        one
        for one in net.states.values()
        if one.dtype in _RESOLUTION and one.update and one.update < _RESOLUTION[one.dtype] / 2
    ]
    if found:
        matrices = [one for one in found if one.role in MATRICES]
        first = (matrices or found)[0]
        yield Finding(
            code="lost-update",
            severity="note",
            where=first.name,
            measured=f"one step is {number(first.update)} of its size",
            expected=f"over {number(_RESOLUTION[first.dtype] / 2)}, half the last digit of "
            f"{first.dtype}",
            reason="The step is rounded away, and the parameter stays as it is unless the "
            "optimizer keeps a copy of more digits.",
            remedy="model.float()",
            place=net.place_of(first.name),
            also=tuple(one.name for one in found if one is not first),
        )
