"""Train members that share a seed: on the same batches, each from its start at its rate."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import fsum, inf, isfinite
from typing import TypeAlias, final

import torch
from torch import nn

from fanin._compare._data import Data
from fanin._compare._records import Member, Outcome, Settings, Way
from fanin._errors import FaninError
from fanin._plan import Plan

__all__ = ["Advance", "Job", "ModelMaker", "Progress", "Start", "built", "failed", "train"]

Start: TypeAlias = Plan | None
"""The plan that is drawn; None for the model as it was made."""
Advance: TypeAlias = Callable[[int], None]
"""Told of member steps that were done, or turned out not to be needed."""
ModelMaker: TypeAlias = Callable[[], nn.Module]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one worker trains: members of one seed. It can be pickled where the model's maker can.

    ``stops``: whether a member is done when it has reached the target.
    """

    make_model: ModelMaker
    starts: Mapping[str, Start]
    data: Data
    settings: Settings
    members: tuple[Member, ...]
    way: Way = "one by one"
    stops: bool = False

    @property
    def size(self) -> int:
        """Members times steps: the amount of work, at most."""
        return len(self.members) * self.settings.steps


def built(job: Job, member: Member) -> nn.Module:
    """The member's model at its start; torch's generators are left as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(member.seed)
        model = job.make_model()
    start = job.starts[member.start]
    if start is not None:
        if any(entry.awaits_calibration for entry in start):
            inputs, _ = job.data.batches(member.seed)(1)
            start = start.calibrate(model, inputs, seed=member.seed)
        start.apply(model, seed=member.seed)
    return model.train()


def train(job: Job, advance: Advance = lambda _: None) -> list[Outcome]:
    """The outcomes of a job, in the order of its members.

    ``advance`` is told of ``job.size`` member steps in all.

    Raises:
        FaninError: for a model, loss or data that fail; it names the member and the step.
    """
    from fanin._compare._loop import train_one_by_one

    told = _Told(advance, job.size)
    found = _together(job, told) if job.way == "together" else None
    if found is None:
        found = train_one_by_one(job, told)
    told(job.size)
    return found


def _together(job: Job, advance: Advance) -> list[Outcome] | None:
    """None where the stack fails: one by one a member says what it was, or does without."""
    from fanin._compare._stack import train_together

    try:
        return train_together(job, advance)
    except Exception:  # noqa: BLE001 - whatever a user's model does in the middle of a training
        return None


@final
@dataclass(slots=True)
class _Told:
    """Passes on no more than there is."""

    advance: Advance
    left: int

    def __call__(self, amount: int) -> None:
        amount = min(amount, self.left)
        self.left -= amount
        if amount:
            self.advance(amount)


def failed(error: Exception, member: Member, step: int) -> FaninError:
    """The error of a member's training in four beats; step 0 is its start."""
    when = f"step {step}" if step else "before its first step"
    who = f"start {member.start}, rate {member.rate:g}, seed {member.seed}, {when}"
    if isinstance(error, FaninError):
        return FaninError(
            error.what, where=f"{who}: {error.where}", found=error.found, fix=error.fix
        )
    text = str(error).strip() or "no message"
    return FaninError(
        "a training failed",
        where=who,
        found=f"{type(error).__name__}: {text}".replace("\n", "\n         "),
        fix="mend what raised it: the model, the loss or the data",
    )


@final
class Progress:
    """The losses of one member so far: its running loss, and whether it is done."""

    def __init__(self, member: Member, settings: Settings, *, stops: bool) -> None:
        self.member, self._settings, self._stops = member, settings, stops
        self._recent: deque[float] = deque(maxlen=settings.window)
        self._curve: list[float] = []
        self._bound = inf
        self.steps: int | None = None
        self.diverged = False

    def see(self, loss: float) -> None:
        """One more step's loss."""
        settings, curve = self._settings, self._curve
        if not curve:
            self._bound = settings.diverged * max(loss, 1.0)
        if not isfinite(loss) or loss > self._bound:
            self.diverged = True
            return
        self._recent.append(loss)
        running = float(f"{self.running:.5g}")
        curve.append(running)
        if self.steps is None and settings.target is not None and len(curve) >= settings.window:
            self.steps = len(curve) if running <= settings.target else None

    @property
    def running(self) -> float:
        """The mean loss over the last batches; infinite after a divergence."""
        # fsum is exact, so that no mean depends on what a running sum has lost before.
        return inf if self.diverged else fsum(self._recent) / len(self._recent)

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to be learned from this member."""
        arrived = self._stops and self.steps is not None
        return self.diverged or arrived or len(self._curve) >= self._settings.steps

    def outcome(self, test_loss: float | None, accuracy: float | None) -> Outcome:
        """What came of it."""
        return Outcome(
            member=self.member,
            steps=None if self.diverged else self.steps,
            loss=self.running,
            losses=tuple(self._curve),
            test_loss=test_loss,
            accuracy=accuracy,
        )
