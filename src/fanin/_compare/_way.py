"""Together or one by one: whichever is right, and then whichever is faster on this machine."""

import time
from collections.abc import Callable
from math import isclose
from typing import Final, TypeAlias

import torch

from fanin._compare._loop import Single
from fanin._compare._records import Way
from fanin._compare._stack import Stack, quiet
from fanin._compare._train import Job
from fanin._errors import FaninError

__all__ = ["choose_way"]

_FIRST: Final = 3
_ROUNDS: Final = 6
_LONG: Final = 0.05
"""Seconds of a step from which on there is little to gain: a stack saves calls, not products."""
_ALIKE: Final = 1e-3
_ASKED: Final = "asked for"

_Round: TypeAlias = tuple[float, list[float]]
"""Seconds for a step of every member, and their losses before it."""


def choose_way(job: Job, asked: Way | None = None) -> tuple[Way, str, float]:
    """How the members of ``job`` are to be trained, why, and seconds for a step of one member.

    One by one where the model draws numbers as it runs (dropout), as a stack would draw others;
    where it does not run as a stack, or has other losses in one; and where a few steps of that take
    longer. The seconds have a step's share of building a model and of its held-out data in them.
    ``asked`` is taken whatever it costs.

    Raises:
        FaninError: where a stack is asked for and would not give what training one by one gives.
    """
    with torch.random.fork_rng(devices=[]):
        began = time.perf_counter()
        first = Single(job, job.members[0])
        first.held_out()
        once = (time.perf_counter() - began) / job.settings.steps
        state = torch.get_rng_state()
        rounds = [_round(lambda: [first.step()]) for _ in range(min(_FIRST, job.settings.steps))]
        draws = not torch.equal(state, torch.get_rng_state())
        alone = _each(rounds)
        if asked == "one by one":
            return asked, _ASKED, alone + once
        if asked == "together":
            return _stacked(job, once, draws=draws)
        reason = _against_a_stack(job, alone, draws=draws)
        if reason is not None:
            return "one by one", reason, alone + once
        try:
            return _faster(*_raced(job), once)
        except Exception as error:  # noqa: BLE001 - whatever a user's model does under vmap
            return "one by one", f"the model does not run as a stack: {_said(error)}", alone + once


def _stacked(job: Job, once: float, *, draws: bool) -> tuple[Way, str, float]:
    """As a stack, however long it takes."""
    cause: Exception | None = None
    found = "the model draws random numbers as it runs"
    if not draws:
        try:
            alone, together = _raced(job)
        except Exception as error:  # noqa: BLE001 - whatever a user's model does under vmap
            cause, found = error, f"under torch.func.vmap: {_said(error)}"
        else:
            if _agree(alone, together):
                return "together", _ASKED, _each(together) + once
            found = "other losses than one by one"
    raise FaninError(
        "this model cannot be trained as a stack",
        where="fanin.compare, way='together'",
        found=found,
        fix="way='one by one', or None for whichever is right and faster",
    ) from cause


def _said(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:100] or type(error).__name__


def _against_a_stack(job: Job, seconds: float, *, draws: bool) -> str | None:
    """Why none is tried."""
    if len(job.members) == 1:
        return "there is one member"
    if draws:
        return "the model draws random numbers as it runs"
    if seconds > _LONG:
        return f"a step takes {seconds * 1e3:.0f} ms, of which a stack would save little"
    return None


def _raced(job: Job) -> tuple[list[_Round], list[_Round]]:
    """Some rounds of both, in turn, so that both meet the same machine."""
    singles = [Single(job, member) for member in job.members]
    alone, together = [], []
    with quiet():
        stack = Stack(job)
        for _ in range(min(_ROUNDS, job.settings.steps)):
            alone.append(_round(lambda: [one.step() for one in singles]))
            together.append(_round(lambda: stack.step().tolist()))
    return alone, together


def _faster(alone: list[_Round], together: list[_Round], once: float) -> tuple[Way, str, float]:
    one, other = _each(alone), _each(together)
    if not _agree(alone, together):
        return "one by one", "in a stack the model has other losses", one + once
    if other <= one:
        return "together", f"{one / other:.1f} times as fast as one by one", other + once
    return "one by one", f"{other / one:.1f} times as fast as together", one + once


def _round(step: Callable[[], list[float]]) -> _Round:
    began = time.perf_counter()
    losses = step()
    return time.perf_counter() - began, losses


def _each(rounds: list[_Round]) -> float:
    """Seconds for one member in the fastest round; the first one makes what torch keeps."""
    return min(seconds / len(losses) for seconds, losses in rounds[1:] or rounds)


def _agree(alone: list[_Round], together: list[_Round]) -> bool:
    return all(
        isclose(one, other, rel_tol=_ALIKE) or not abs(one) < float("inf")
        for (_, own), (_, others) in zip(alone, together, strict=True)
        for one, other in zip(own, others, strict=True)
    )
