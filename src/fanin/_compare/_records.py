"""What a comparison is made of: what is trained, what came of each training, and the whole."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final

__all__ = ["Member", "Optimizer", "Outcome", "Settings", "Trial", "Way"]

Optimizer: TypeAlias = Literal["sgd", "momentum", "adam"]
"""Plain SGD, SGD with a momentum of 0.9, Adam with torch's defaults; no weight decay."""
Way: TypeAlias = Literal["together", "one by one"]
"""How members are trained: as one stack under torch.func.vmap, or each by itself."""


@final
@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One training: the name of its start, its learning rate, its seed.

    The seed gives the start's draw, the order of the data, and what the model draws as it runs;
    members of one seed see the same batches.
    """

    start: str
    rate: float
    seed: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one training.

    ``steps`` until the running loss was at most the target; None: not within the budget.
    ``losses`` has the running loss after each step: the mean over the last ``Settings.window``
    batches, in five digits. It ends with a divergence, or where there was nothing more to learn.
    ``loss`` is the last running loss; infinite for one that diverged.
    ``test_loss`` and ``accuracy`` are of the held-out data after the last step, where there are.
    """

    member: Member
    steps: int | None
    loss: float
    losses: tuple[float, ...] = ()
    test_loss: float | None = None
    accuracy: float | None = None

    @property
    def diverged(self) -> bool:
        """Whether the loss left every bound."""
        return self.loss == float("inf")

    def reaching(self, target: float | None, window: int) -> "Outcome":
        """The outcome with the steps until ``target``, from its losses."""
        if target is None or self.diverged:
            return replace(self, steps=None)
        hits = (n for n, loss in enumerate(self.losses, 1) if n >= window and loss <= target)
        return replace(self, steps=next(hits, None))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all members of a comparison share."""

    optimizer: Optimizer = "adam"
    steps: int = 500
    """The budget of one training."""
    target: float | None = None
    """The running loss to reach."""
    window: int = 20
    """Batches that the running loss is the mean of."""
    diverged: float = 1e3
    """A running loss above this times the first one ends a training."""
    rates: tuple[float, ...] = ()
    widenings: int = 3
    """How many half decades a grid of rates may grow on either side while the best is its edge."""
    tuning_seeds: tuple[int, ...] = (1000, 1001, 1002)
    scoring_seeds: tuple[int, ...] = tuple(range(8))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One rate of one start on the tuning seeds."""

    start: str
    rate: float
    steps: tuple[int | None, ...]
    loss: tuple[float, ...]
