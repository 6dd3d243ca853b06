"""From the measured weights to the factors of a plan, and the sentences that say so."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import fsum, sqrt
from statistics import geometric_mean
from typing import Final, final

from fanin._errors import FaninError
from fanin._plan._calibrate._weights import Weight
from fanin._plan._entry import Entry, Factor
from fanin._text import number
from fanin.recipes import Choice

__all__ = ["Finding", "findings", "refuse_lost_signal", "with_reason"]

_SAID: Final = re.compile(r" (Measured with seed|Not calibrated:) .*$", re.DOTALL)


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """What a calibration found of one weight: its factor, the std before, and a sentence."""

    name: str
    factor: Factor | None
    measured: float | None
    sentence: str


def findings(weights: Sequence[Weight], how: str) -> list[Finding]:
    """One for each weight; ``how`` says the seed, the batch and the mode."""
    return [_finding(weight, weights, how) for weight in weights]


def refuse_lost_signal(ran: Sequence[Weight], *, of_zeros: bool) -> None:
    """Raise FaninError where no output differs by input from some weight on; ``ran``: their order.

    One in the middle may be so by the model's design, such as the first value of a query that
    starts at zero; what follows then has its spread from elsewhere. In a run ``of_zeros`` all
    spread is from biases, and from the border of an image.
    """
    asked = [weight for weight in ran if weight.wanted.std is not None]
    first = next(iter(asked), None)
    if not of_zeros and any(weight.differs for weight in asked):
        # A single number, such as that of an expert with one token, tells neither way.
        telling = [weight for weight in asked if weight.most > 1 or weight.differs]
        last = max(place for place, weight in enumerate(telling) if weight.differs)
        first = next(iter(telling[last + 1 :]), None)
    if first is not None:
        std = number(max(first.measured, default=0.0))
        raise FaninError(
            "the signal is lost: the outputs are zero, or the same for all inputs, from here on",
            where=first.name,
            found="a batch of zeros"
            if of_zeros
            else f"std {std}, none of it between inputs, over {first.most:.0f} numbers at most",
            fix="give a batch of inputs that differ; or look for what gives zeros before it",
        )


def _finding(weight: Weight, others: Sequence[Weight], how: str) -> Finding:
    found = weight.measured
    measured = sqrt(fsum(std**2 for std in found) / len(found)) if found else None
    if weight.wanted.std is None:
        stds = [*found, *weight.later]
        seen = f"; its output had std {_ends(stds)}" if stds else ""
        return _left(weight, measured, f"{weight.wanted.why_not}{seen}")
    if measured is not None:
        sentence = f"Measured with {how}.{_missing(weight)}{_later(weight)}"
        return Finding(weight.name, _factor(weight), measured, sentence)
    like = [] if weight.lost or weight.uses else _siblings(weight, others)
    if like:
        shared = geometric_mean(factor for one in like for factor in one.factors)
        sentence = f"Measured with {how}: it did not run, and has the mean factor of its siblings."
        return Finding(weight.name, shared, None, sentence)
    return _left(weight, None, _missed(weight))


def _left(weight: Weight, measured: float | None, reason: str) -> Finding:
    """Not scaled; a choice that asked for it has its factor then, which is 1."""
    asked = isinstance(weight.entry.decision, Choice) and weight.entry.decision.target_std
    return Finding(weight.name, 1.0 if asked else None, measured, f"Not calibrated: {reason}.")


def _missed(weight: Weight) -> str:
    """Why nothing was measured of a weight."""
    if weight.uses and weight.most <= 1:
        return "each output was a single number, which has no std"
    if weight.uses:
        return "its output is zero, or the same for all inputs"
    return f"it is used through {weight.lost}" if weight.lost else "it did not run"


def _factor(weight: Weight) -> Factor:
    """One number, or one for each output; units that did not run have the mean of the others."""
    pairs = list(zip(weight.factors, weight.found, strict=True))
    shared = geometric_mean(factor for factor, found in pairs if found)
    factors = [shared if found is None else factor for factor, found in pairs]
    return tuple(factors[unit] for unit in weight.units) if weight.units else factors[0]


def _missing(weight: Weight) -> str:
    total = len(weight.found)
    what = "outputs" if total == len(weight.units) else "parts"
    kept = sum(found == 0 and is_open for found, is_open in _states(weight))
    mean = sum(not found for found in weight.found) - kept
    text = ""
    if mean:
        text += f" {mean} of its {total} {what} gave nothing to measure: they have the mean factor."
    if kept:
        text += f" {kept} of its {total} {what} are the same for all inputs, and stay as drawn."
    return text


def _states(weight: Weight) -> Iterator[tuple[float | None, bool]]:
    return zip(weight.found, weight.is_open, strict=True)


def _later(weight: Weight) -> str:
    if not weight.later:
        return ""
    others, ends = len(weight.later), _ends(weight.later)
    return f" Calibrated at its first use; at the other {others} the std is {ends}."


def _ends(stds: Sequence[float]) -> str:
    low, high = number(min(stds)), number(max(stds))
    return low if low == high else f"{low} to {high}"


def _siblings(weight: Weight, others: Sequence[Weight]) -> list[Weight]:
    """The measured weights of the same name up to numbers, as late in the name as possible."""
    kind = _kind(weight)
    like = [one for one in others if _kind(one) == kind and None not in one.found]
    like = [one for one in like if one.wanted.std is not None]
    nearest = max((_shared(weight, one) for one in like), default=0)
    return [one for one in like if _shared(weight, one) == nearest]


def _kind(weight: Weight) -> tuple[str, tuple[int, ...]]:
    return re.sub(r"\d+", "#", weight.name), tuple(weight.copy.shape)


def _shared(first: Weight, second: Weight) -> int:
    """How many numbers the two names have in common before they differ."""
    pairs = zip(re.findall(r"\d+", first.name), re.findall(r"\d+", second.name), strict=True)
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count


def with_reason(entry: Entry, sentence: str) -> Entry:
    """The entry with the sentence after its reason, in place of that of a calibration before."""
    decision = entry.decision
    if not isinstance(decision, Choice):
        return entry
    why = f"{_SAID.sub('', decision.why)} {sentence}".strip()
    return replace(entry, decision=replace(decision, why=why))
