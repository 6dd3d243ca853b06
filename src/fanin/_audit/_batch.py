"""Follow the axis of the batch through the operations of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Final, cast, final

from torch import Tensor

from fanin._trace._graph import Node, Value

__all__ = ["BatchAxis", "Place", "by_input"]

_RESHAPES: Final = (
    "view", "_unsafe_view", "_reshape_alias", "reshape", "unsqueeze", "squeeze", "alias", "detach",
    "clone", "_to_copy", "copy", "contiguous", "lift_fresh",
)  # fmt: skip
_PRODUCTS: Final = ("mm", "addmm", "mv", "addmv", "linear", "bmm", "baddbmm")


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where the inputs of the batch lie: on ``axis``, of which ``inner`` entries are of one input.

    An axis of length ``outer * inputs * inner`` has the batch in the middle.
    """

    axis: int
    inner: int = 1


def by_input(tensor: Tensor, place: Place, inputs: int) -> Tensor:
    """The tensor as [inputs, ...], other axes in their order.

    >>> import torch
    >>> by_input(torch.zeros(5, 2, 7), Place(1), 2).shape
    torch.Size([2, 5, 7])
    """
    before, after = tensor.shape[: place.axis], tensor.shape[place.axis + 1 :]
    outer = tensor.shape[place.axis] // (inputs * place.inner)
    parted = tensor.reshape(*before, outer, inputs, place.inner, *after)
    moved = parted.movedim(place.axis + 1, 0)
    middle = [n for n in (outer, place.inner) if n > 1]
    return moved.reshape(inputs, *before, *middle, *after)


@final
@dataclass(slots=True)
class BatchAxis:
    """Where the batch is in each value of a graph; None where it was lost sight of."""

    inputs: int
    _known: dict[Value, Place | None] = field(default_factory=dict)

    def place(self, value: Value) -> Place | None:
        """Where the batch is in ``value``."""
        if value not in self._known:
            found = self._found(value)
            self._known[value] = found if found is not None and self._fits(value, found) else None
        return self._known[value]

    def _fits(self, value: Value, place: Place) -> bool:
        if place.axis < 0 or place.axis >= len(value.shape):
            return False
        return value.shape[place.axis] % (self.inputs * place.inner) == 0

    def _found(self, value: Value) -> Place | None:
        node = value.node
        if node.kind == "input":
            return Place(0)
        for one in node.inputs:
            before = None if one.parameter else self.place(one)
            if before is not None:
                return self._after(node, one, before, value)
        return None

    def _after(self, node: Node, one: Value, before: Place, value: Value) -> Place | None:
        name = node.operation
        if name in _RESHAPES:
            return self._reshaped(one.shape, before, value.shape)
        if name in ("permute", "transpose", "t", "numpy_T"):
            return Place(_order(node, len(one.shape)).index(before.axis), before.inner)
        if name in ("select", "unbind") or node.kind == "reduce":
            return self._without(node, before, len(one.shape), len(value.shape))
        if name in _PRODUCTS:
            is_contracted = before.axis == len(one.shape) - 1 and one is node.inputs[0]
            return None if is_contracted else before
        if node.kind in ("product", "attention", "lookup", "recurrent", "pool"):
            return before
        # Broadcasting counts axes from the right.
        moved = Place(before.axis + len(value.shape) - len(one.shape), before.inner)
        same = self._fits(value, moved) and value.shape[moved.axis] == one.shape[before.axis]
        return moved if same else None

    def _reshaped(self, old: Sequence[int], before: Place, new: Sequence[int]) -> Place | None:
        """The order of the entries stays: so many of them come between one input and the next."""
        between = before.inner * prod(old[before.axis + 1 :])
        if prod(old) != prod(new):
            return None
        for axis in range(len(new)):
            inside = prod(new[axis + 1 :])
            if between % inside == 0 and (between // inside) * self.inputs <= new[axis]:
                return Place(axis, between // inside)
        return None

    def _without(self, node: Node, before: Place, old: int, new: int) -> Place | None:
        """After axes were taken away."""
        if old == new:
            return before
        gone = _dims(node, old)
        if gone is None or before.axis in gone:
            return None
        return Place(before.axis - sum(axis < before.axis for axis in gone), before.inner)


def _order(node: Node, axes: int) -> list[int]:
    """Which old axis is at each new place."""
    order = list(range(axes))
    if node.operation == "permute":
        return [one % axes for one in cast("Sequence[int]", node.arguments[1])]
    if node.operation == "transpose":
        first, second = (one % axes for one in cast("Sequence[int]", node.arguments[1:3]))
        order[first], order[second] = order[second], order[first]
        return order
    return order[::-1]


def _dims(node: Node, axes: int) -> set[int] | None:
    """The axes that an operation takes away."""
    given = node.keywords.get("dim", node.arguments[1] if len(node.arguments) > 1 else None)
    if given is None:
        return {0} if node.operation == "unbind" else None
    dims = cast("Sequence[int]", given if isinstance(given, (list, tuple)) else [given])
    return {one % axes for one in dims}
