"""What is not a number: in a parameter, in what a layer gives, in a gradient."""

from collections.abc import Iterator
from math import isfinite, isnan

from fanin._audit import _remedies
from fanin._audit._findings.anew import anew_as
from fanin._audit._findings.net import MATRICES, Net
from fanin._audit._records import Finding, ParameterState, Place
from fanin._text import number
from fanin.initializers import Initializer

__all__ = [
    "data_not_finite", "is_broken", "is_loss_broken", "loss_not_finite", "not_finite",
    "parameters_not_finite", "undrawn",
]  # fmt: skip

_ABSURD = 1e20
"""E w² of numbers of size 1e10, as a trace has it: no start has them, unwritten memory often."""
_TINY = 1e-60
"""E w² of numbers of size 1e-30: memory that was read as floats, not a draw."""


def is_broken(net: Net) -> bool:
    """Whether something in the forward pass is not finite: moments then say little."""
    return any(place.signal.finite < 1 and not net.only_scores(place) for place in net.places)


def is_loss_broken(net: Net) -> bool:
    """Whether the loss is not finite: every gradient is then as little a number."""
    loss = net.report.loss
    return loss is not None and not isfinite(loss.value)


def _given(net: Net) -> tuple[str, float] | None:
    """What was given that is not finite, and the share of it that is; it matters if it shows."""
    given = net.report.given
    if given is None or not (is_broken(net) or is_loss_broken(net)):
        return None
    if given.batch_finite < 1:
        return "batch", given.batch_finite
    return ("target", given.target_finite) if given.target_finite < 1 else None


def data_not_finite(net: Net) -> Iterator[Finding]:
    """NaN or infinity in what the user gave: no layer is at fault."""
    found = _given(net)
    if found is not None:
        where, finite = found
        yield Finding(
            code="not-finite",
            severity="error",
            where=where,
            measured=f"{number(100 * (1 - finite))} % of its numbers are NaN or infinite",
            expected="finite numbers",
            reason=f"The {where} was given like this: whatever the weights are, what is computed "
            "from it is not finite either.",
            remedy=_remedies.advice(
                f"Look for it in the data: (~torch.isfinite({where})).nonzero() says where."
            ),
        )


def loss_not_finite(net: Net) -> Iterator[Finding]:
    """A loss that is NaN or infinite of finite outputs and targets."""
    loss = net.report.loss
    if loss is None or not is_loss_broken(net) or is_broken(net) or _given(net) is not None:
        return
    yield Finding(
        code="not-finite",
        severity="error",
        where="loss",
        measured=f"the loss is {number(loss.value)}, the model's outputs are finite",
        expected="a finite number",
        reason="It is the loss or its targets, not the start: a mean over no targets at all, as "
        "where every label is ignored, the logarithm of 0, a target that cannot be reached.",
        remedy=_remedies.advice(
            "Look at the loss alone, on the model's outputs and this target; no start changes it."
        ),
    )


def parameters_not_finite(net: Net) -> Iterator[Finding]:
    """Parameters that hold NaN or infinity: one finding, at the first."""
    found = [state for state in net.states.values() if state.finite < 1]
    if found:
        names = tuple(state.name for state in found)
        share = 1 - found[0].finite
        yield Finding(
            code="not-finite",
            severity="error",
            where=names[0],
            measured=f"{number(100 * share)} % of its entries are NaN or infinite",
            expected="finite numbers",
            reason="One such entry makes every output behind it, the loss and all gradients NaN.",
            remedy=_anew(net, found),
            place=net.place_of(names[0]),
            also=names[1:],
        )


def undrawn(net: Net) -> Iterator[Finding]:
    """Numbers that no start draws: what was in memory when the parameter was made."""
    found = [state for state in net.states.values() if _is_memory(state)]
    if found:
        names = tuple(state.name for state in found)
        yield Finding(
            code="undrawn-parameter",
            severity="error",
            where=names[0],
            measured=f"rms {number(found[0].second_moment ** 0.5)}",
            expected="between 1e-30 and 1e10",
            reason="It was made by torch.empty and never drawn: it holds what was in memory, other "
            "numbers in each run.",
            remedy=_anew(net, found),
            place=net.place_of(names[0]),
            also=names[1:],
        )


def _is_memory(state: ParameterState) -> bool:
    if state.role == "buffer" or state.finite < 1:
        return False
    return state.second_moment > _ABSURD or 0 < state.second_moment < _TINY


def _anew(net: Net, found: list[ParameterState]) -> str:
    """A draw for matrices, and what a module fills in for the rest."""
    starts: list[tuple[str, Initializer | float]] = []
    for state in found:
        site = net.sites.get(state.name)
        if site is not None and state.role in MATRICES and site.layout is not None:
            starts.append((state.name, _remedies.start_of(site)))
        elif state.role == "buffer":
            return _remedies.advice(f"Compute the buffer {state.name} again, as its module does.")
        else:
            starts.append((state.name, 1.0 if state.role == "norm_scale" else 0.0))
    return anew_as(net, starts)


def not_finite(net: Net) -> Iterator[Finding]:
    """The first operation that gives NaN or infinity of finite inputs and parameters."""
    if any(state.finite < 1 for state in net.states.values()) or _given(net) is not None:
        return
    for place in net.places:
        if place.signal.finite < 1 and not net.only_scores(place):
            yield _place(net, place)
            return
    if not is_loss_broken(net):
        yield from _gradient(net)


def _place(net: Net, place: Place) -> Finding:
    also = tuple(one.name for one in net.places[place.index + 1 :] if one.signal.finite < 1)
    largest = max((net.places[one].signal.std for one in place.inputs), default=0.0)
    return Finding(
        code="not-finite",
        severity="error",
        where=place.name,
        measured=f"{number(100 * (1 - place.signal.finite))} % of what it gives is NaN or infinite",
        expected="finite numbers",
        reason=f"It is the first to leave the range of its dtype; what it reads has std "
        f"{number(largest)}.",
        remedy=_remedies.start(),
        place=place.index,
        also=also,
    )


def _gradient(net: Net) -> Iterator[Finding]:
    """The last place in the run whose gradient is NaN: the backward pass came to it first."""
    broken = [
        place
        for place in net.places
        if place.signal.gradient is not None
        and isnan(place.signal.gradient)
        and not net.only_scores(place)
    ]
    if broken:
        last = broken[-1]
        yield Finding(
            code="not-finite",
            severity="error",
            where=last.name,
            measured="its gradient is NaN or infinite, its output is not",
            expected="finite numbers",
            reason="The backward pass breaks here first, as the slope of sqrt, log or a norm at "
            "zero does; one step makes every parameter before it NaN.",
            remedy=_remedies.start(),
            place=last.index,
            also=tuple(place.name for place in broken[:-1]),
        )
