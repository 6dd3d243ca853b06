"""What the caller of `audit` wants measured."""

from dataclasses import dataclass, fields
from typing import final

from fanin._audit._checks import require_arguments
from fanin._audit._limits import Limits
from fanin._audit._loss import LossFunction
from fanin._audit._parameters import Optimizer
from fanin._plan import Plan

__all__ = ["Asked"]

_ANY = ("loss", "target")


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of `audit` but for the model and its batch, checked."""

    loss: LossFunction | None
    target: object
    training: bool | None
    plan: Plan | None
    seed: int
    draws: int
    optimizer: Optimizer
    learning_rate: float
    spectrum: bool | None
    limits: Limits | None

    def __post_init__(self) -> None:
        checked = [one.name for one in fields(self) if one.name not in _ANY]
        require_arguments(**{name: getattr(self, name) for name in checked})
