"""Train members that share a seed: on the same batches, each from its start at its rate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from statistics import fmean
from typing import TypeAlias, final

import torch
from torch import nn

from fanin._compare._data import Data
from fanin._compare._records import Member, Outcome, Settings, Way
from fanin._plan import Plan

__all__ = ["Advance", "Job", "Progress", "Start", "built", "train"]

Start: TypeAlias = Plan | None
"""The plan that is drawn; None for the model as it was made."""
Advance: TypeAlias = Callable[[int], None]
"""Told of member steps that were done."""
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
    """The outcomes of a job, in the order of its members."""
    from fanin._compare._loop import train_one_by_one
    from fanin._compare._stack import train_together

    run = train_together if job.way == "together" else train_one_by_one
    return run(job, advance)


@final
class Progress:
    """The losses of one member so far: its running loss, and whether it is done."""

    def __init__(self, member: Member, settings: Settings, *, stops: bool) -> None:
        self.member, self._settings, self._stops = member, settings, stops
        self._losses: list[float] = []
        self._curve: list[float] = []
        self._first = inf
        self.steps: int | None = None
        self.diverged = False

    def see(self, loss: float) -> None:
        """One more step's loss."""
        settings = self._settings
        self._losses.append(loss)
        number = len(self._losses)
        self._first = min(self._first, loss) if number == 1 and isfinite(loss) else self._first
        if not isfinite(loss) or loss > settings.diverged * max(self._first, 1.0):
            self.diverged = True
            return
        running = float(f"{self.running:.5g}")
        self._curve.append(running)
        has_window = number >= settings.window
        if self.steps is None and settings.target is not None and has_window:
            self.steps = number if running <= settings.target else None

    @property
    def running(self) -> float:
        """The mean loss over the last batches; infinite after a divergence."""
        return inf if self.diverged else fmean(self._losses[-self._settings.window :])

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to be learned from this member."""
        arrived = self._stops and self.steps is not None
        return self.diverged or arrived or len(self._losses) >= self._settings.steps

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
