"""What a comparison is made of: what is trained, what came of each training, and the whole."""

from dataclasses import dataclass
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
    ``losses`` is the running loss (mean over ``Settings.window`` batches) every
    ``Settings.curve_every`` steps; after a divergence it ends.
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
    curve_every: int = 10
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
