"""What a model that knows nothing would lose, read off the loss's own operations."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any, Final, final

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor

__all__ = ["Price", "Uninformed"]

_NONE, _MEAN, _SUM = 0, 1, 2
"""torch's numbers for the reductions of a loss."""
_ERRORS: Final = ("mse_loss", "smooth_l1_loss", "huber_loss")
_CROSS_ENTROPY: Final = ("nll_loss_forward", "nll_loss2d_forward")


@final
@dataclass(frozen=True, slots=True)
class Price:
    """What one operation gave per element, and what a constant that knows no labels would."""

    uninformed: float
    value: float
    classes: int | None = None
    target_mean: float | None = None


@final
@dataclass(slots=True)
class Uninformed:
    """Looks at each operation for a loss, and keeps what a constant prediction would lose.

    Of several losses in one run (auxiliary heads) nothing is said.
    """

    found: list[Price | None] = field(default_factory=list)
    """None for a loss of which nothing is known."""
    is_spread: bool = False
    """Whether predictions and targets were both repeated to get one shape."""

    def see(
        self,
        operation: str,
        args: Sequence[Any],
        outputs: Sequence[Tensor],
        *,
        after_model: bool = False,
    ) -> None:
        """Look at one operation, its arguments and what it gave.

        ``after_model``: whether it is of the loss alone, where a difference is an error.
        """
        if operation in _ERRORS or (after_model and operation == "sub"):
            self.is_spread = self.is_spread or _is_spread(args)
        if operation in _CROSS_ENTROPY:
            self.found.append(_of_classes(args, outputs))
        elif operation == "binary_cross_entropy_with_logits":
            self.found.append(_of_labels(args, outputs[0]))
        elif operation == "binary_cross_entropy":
            self.found.append(_of_probabilities(args, outputs[0]))
        elif operation == "mse_loss":
            self.found.append(_of_squares(args, outputs[0]))

    @property
    def price(self) -> Price | None:
        """Of the one loss that was seen; None where there was none, or more than one."""
        return self.found[0] if len(self.found) == 1 else None


def _of_classes(args: Sequence[Any], outputs: Sequence[Tensor]) -> Price:
    """ln C, whatever the weights of the classes."""
    classes = args[0].shape[1 if args[0].ndim > 1 else 0]
    value, reduction = outputs[0].detach().double(), _reduction(args, 3)
    if reduction == _SUM:
        value = value / outputs[1]
    elif reduction == _NONE:
        value = value[args[1] != (args[4] if len(args) > 4 else -100)].mean()
    return Price(log(classes), float(value), classes)


def _of_labels(args: Sequence[Any], output: Tensor) -> Price:
    """The loss of logits of 0: ln 2, weighted as the labels are."""
    logits, target, weight, positive = (*args, None, None)[:4]
    nothing = torch.zeros_like(target, dtype=torch.float64)
    wide, more = (None if one is None else one.double() for one in (weight, positive))
    price = F.binary_cross_entropy_with_logits(nothing, target.double(), wide, pos_weight=more)
    return Price(float(price), _per_element(output, _reduction(args, 4), logits.numel()))


def _of_probabilities(args: Sequence[Any], output: Tensor) -> Price:
    """The loss of probabilities of 1/2: ln 2, weighted as the labels are."""
    given, target, weight = (*args, None)[:3]
    wide = None if weight is None else weight.double()
    price = F.binary_cross_entropy(torch.full_like(target, 0.5).double(), target.double(), wide)
    return Price(float(price), _per_element(output, _reduction(args, 3), given.numel()))


def _of_squares(args: Sequence[Any], output: Tensor) -> Price | None:
    """The target's variance: of the argument that no gradient goes to."""
    fixed = [one for one in args[:2] if not one.requires_grad]
    if len(fixed) != 1 and args[1].requires_grad:
        return None
    target = fixed[-1].detach().double()
    return Price(
        float(torch.var(target, correction=0)),
        _per_element(output, _reduction(args, 2), max(one.numel() for one in args[:2])),
        target_mean=float(target.mean()),
    )


def _is_spread(args: Sequence[Any]) -> bool:
    """Whether one of (n, 1) and one of (n) are compared, of which one is the target."""
    given = [one for one in args[:2] if isinstance(one, Tensor)]
    if len(given) < 2 or sum(one.requires_grad for one in given) != 1:
        return False
    if all(_is_repeated(one) for one in given):
        return True
    small, large = sorted(given, key=lambda one: one.ndim)
    return small.numel() > 1 and large.shape == (*small.shape, 1)


def _is_repeated(tensor: Tensor) -> bool:
    """Whether an axis is one entry over and over, as `torch.broadcast_tensors` makes it."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return any(size > 1 and step == 0 for size, step in steps)


def _reduction(args: Sequence[Any], place: int) -> int:
    return int(args[place]) if len(args) > place else _MEAN


def _per_element(output: Tensor, reduction: int, elements: int) -> float:
    value = output.detach().double()
    if reduction == _SUM:
        return float(value) / max(elements, 1)
    return float(value.mean())
