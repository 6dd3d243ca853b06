"""How many multiplications with a weight's entries one product of a run makes."""

from collections.abc import Sequence
from math import prod
from typing import Final

from fanin._trace._graph import Node, Value

__all__ = ["connections"]

_MATRICES: Final = ("mm", "addmm", "bmm", "baddbmm")
_CONVOLUTIONS: Final = ("convolution", "_convolution")


def connections(node: Node, data: Value, weight: Value) -> int | None:
    """The number of pairs (entry of the output, entry of the input) that a weight connects.

    Taps of a kernel that lie in padding are not counted. None for an operation that is not known.
    """
    if node.operation in _MATRICES:
        # Both orders sum over the left one's last axis.
        return prod(node.value.shape) * node.inputs[0].shape[-1]
    if node.operation in ("linear", "mkldnn_linear"):
        return prod(node.value.shape) * data.shape[-1]
    if node.operation in _CONVOLUTIONS:
        return _of_convolution(node, data, weight)
    return None


def _of_convolution(node: Node, data: Value, weight: Value) -> int | None:
    stride, padding, dilation, is_transposed = node.arguments[3:7]
    axes = len(weight.shape) - 2
    if not all(isinstance(one, Sequence) for one in (stride, padding, dilation)):
        return None
    # A transposed convolution is one that goes from its output to its input.
    ends = (data.shape[2:], node.value.shape[2:])
    fine, coarse = reversed(ends) if is_transposed else ends
    pairs = [
        _on_axis(fine[axis], coarse[axis], weight.shape[2 + axis], *settings)
        for axis, settings in enumerate(
            zip(*(_each(one, axes) for one in (stride, padding, dilation)), strict=True)
        )
    ]
    return data.shape[0] * weight.shape[0] * weight.shape[1] * prod(pairs)


def _each(found: object, axes: int) -> list[int]:
    """One number for each axis, where torch may be given one for all."""
    numbers = [int(one) for one in found] if isinstance(found, Sequence) else []
    return numbers * axes if len(numbers) == 1 else numbers


def _on_axis(fine: int, coarse: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many taps lie inside."""
    places = (
        place * stride - padding + tap * dilation
        for place in range(coarse)
        for tap in range(kernel)
    )
    return sum(0 <= place < fine for place in places)
