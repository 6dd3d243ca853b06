"""Numbers of one tensor: its moments, what differs between inputs, dead and saturated units."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, log
from typing import Any, Final, final

import torch
from torch import Tensor

from fanin._audit._batch import Place as BatchPlace
from fanin._audit._batch import by_input

__all__ = [
    "Numbers", "dead_units", "flat_output", "flat_side", "numbers_of", "power", "real", "saturated",
]  # fmt: skip

_SMALL = 1e-3
"""Below this share of E x^2 a variance from differences of sums is computed again, centred."""
_STEEP: Final[dict[str, tuple[float, float]]] = {
    # At a slope of a twentieth of the largest: tanh' = 1 - y^2, sigmoid' = y (1 - y).
    "tanh": (-(0.95**0.5), 0.95**0.5),
    "sigmoid": (0.5 - (0.25 - 0.0125) ** 0.5, 0.5 + (0.25 - 0.0125) ** 0.5),
    "hardsigmoid": (0.0, 1.0),
    # y = x / (1 + |x|): y' = (1 - |y|)^2.
    "softsign": (0.05**0.5 - 1, 1 - 0.05**0.5),
}
"""Bounded activations: outputs at or beyond these are saturated."""
_LEFT: Final = {
    "gelu": -2.28, "silu": -3.93, "mish": -3.98, "selu": -log(20.0), "softplus": -log(19.0),
}  # fmt: skip
"""Smooth activations: left of this the slope is under a twentieth of its largest."""
_GROWING: Final = frozenset({"elu", "selu", "celu"})


@final
@dataclass(frozen=True, slots=True)
class Numbers:
    """What is kept of a tensor's values."""

    second_moment: float
    finite: float
    variance: float | None
    correlation: float | None
    position_correlation: float | None


def power(tensor: Tensor) -> tuple[float, float]:
    """E x^2 of the finite entries, and their share.

    >>> power(torch.tensor([3.0, 4.0, float("inf")]))
    (12.5, 0.6666666666666666)
    """
    if tensor.numel() == 0:
        return 0.0, 1.0
    length = float(torch.linalg.vector_norm(tensor))
    if not 1e-18 < length < inf:
        # Too small or large for squares of single precision, zero, or not finite.
        length = float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
    if isfinite(length):
        return length**2 / tensor.numel(), 1.0
    wide = tensor[tensor.isfinite()]
    found = float(torch.linalg.vector_norm(wide, dtype=torch.float64))
    return found**2 / max(wide.numel(), 1), wide.numel() / tensor.numel()


def numbers_of(
    tensor: Tensor, inputs: int, place: BatchPlace | None, *, positions: bool
) -> Numbers:
    """The moments of an output of ``inputs`` inputs, which lie at ``place``.

    ``positions``: whether the second of three axes may be positions of a sequence.

    >>> two = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> found = numbers_of(two, 2, BatchPlace(0), positions=False)
    >>> f"{found.second_moment:.3f} {found.variance:.3f} {found.correlation:.3f}"
    '0.500 0.250 0.000'
    """
    values = real(tensor)
    moment, finite = power(values)
    if place is None or inputs < 2 or moment == 0 or finite < 1.0:
        return Numbers(moment, finite, None, None, None)
    batched = by_input(values, place, inputs)
    variance = _spread(batched, 0, moment)
    along = None
    if positions and batched.ndim == 3 and batched.shape[1] > 1:
        along = _cosine(_spread(batched, 1, moment), moment, batched.shape[1])
    return Numbers(moment, finite, variance, _cosine(variance, moment, inputs), along)


def real(tensor: Tensor) -> Tensor:
    """The values as real numbers of single precision or better, without autograd."""
    values = tensor.detach()
    if values.is_complex():
        # Twice as many features, each of the mean square of the absolute value.
        return torch.view_as_real(values).flatten(-2) * 2**0.5
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _spread(values: Tensor, axis: int, moment: float) -> float:
    """E (x - mean over the axis)^2."""
    mean = values.mean(axis, keepdim=True)
    found = moment - power(mean)[0]
    if found > _SMALL * moment:
        return found
    # The difference of two nearly equal sums has few digits left.
    return power(values - mean)[0]


def _cosine(variance: float, moment: float, count: int) -> float:
    """The mean cosine of two of ``count``: their mean square without that of one with itself."""
    mean = max(moment - variance, 0.0)
    return (count * mean - moment) / ((count - 1) * moment)


def flat_side(operation: str, args: Sequence[Any]) -> Tensor | None:
    """Where a smooth activation is flat on its left: its slope is under a twentieth of the largest.

    ``args`` are as they were before it ran; None for other operations.

    >>> flat_side("gelu", [torch.tensor([-3.0, -1.0])])
    tensor([ True, False])
    """
    end = _left_end(operation, args)
    if end is None or not isinstance(args[0], Tensor):
        return None
    factor = float(args[1]) if operation == "softplus" and len(args) > 1 else 1.0
    return args[0].detach() * factor < end


def flat_output(operation: str, args: Sequence[Any], output: Tensor) -> Tensor | None:
    """The same of one that has written over its input, where it grows from left to right.

    >>> flat_output("selu", [], torch.tensor([-1.7, -1.0]))
    tensor([ True, False])
    """
    end = _left_end(operation, args)
    if end is None or operation not in _GROWING:
        return None
    compute = getattr(torch.ops.aten, operation)
    return output.detach() < float(compute(torch.tensor(end), *args[1:]))


def _left_end(operation: str, args: Sequence[Any]) -> float | None:
    return _elu(args, operation) if operation in ("elu", "celu") else _LEFT.get(operation)


def _elu(args: Sequence[Any], operation: str) -> float:
    """Left of 0 the slope is ``alpha`` times that of the right, and falls by e a unit."""
    alpha = float(args[1]) if len(args) > 1 else 1.0
    inside = float(args[3]) if len(args) > 3 else 1.0
    if operation == "celu":
        inside = 1 / alpha
    steep = alpha * inside
    return log(max(1.0, steep) / (20 * steep)) / inside


def dead_units(
    output: Tensor, *, unit: int, flat: Tensor | None = None
) -> tuple[float, int] | None:
    """The share of units that are one and the same number, and on how many it was seen.

    ``unit`` is the axis of the units. ``flat`` marks where the activation is flat: a unit that is
    so everywhere counts too.

    >>> dead_units(torch.tensor([[0.0, 1.0], [0.0, 2.0]]), unit=1)
    (0.5, 2)
    """
    if output.ndim < 2:
        return None
    values = output.detach()
    count = values.numel() // values.shape[unit]
    if count < 2:
        return None
    others = [axis for axis in range(values.ndim) if axis != unit % values.ndim]
    same = values.amax(others) == values.amin(others)
    if flat is not None and flat.shape == values.shape:
        same = same | (flat.to(torch.uint8).amin(others) == 1)
    return float(same.count_nonzero()) / same.numel(), count


def saturated(operation: str, args: Sequence[Any], output: Tensor) -> float | None:
    """The share of entries where the slope is under a twentieth of the largest; of bounded ones.

    >>> saturated("tanh", [], torch.tensor([0.0, 0.999]))
    0.5
    """
    bounds = _bounds(args) if operation == "hardtanh" else _STEEP.get(operation)
    if bounds is None or output.numel() == 0:
        return None
    low, high = bounds
    values = output.detach()
    return float(((values <= low) | (values >= high)).count_nonzero()) / values.numel()


def _bounds(args: Sequence[Any]) -> tuple[float, float]:
    """Of a hard tanh; one that starts at 0 is a ReLU6, whose lower half is not called saturated."""
    low = float(args[1]) if len(args) > 1 else -1.0
    high = float(args[2]) if len(args) > 2 else 1.0
    return (-inf if low == 0 else low), high
