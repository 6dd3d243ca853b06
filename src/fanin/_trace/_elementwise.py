"""Find which activation stands between two operations, however it is written.

A chain of elementwise operations of one tensor is a function of one number. It is run again on a
few numbers, and named by its values: ``x * sigmoid(x)`` and ``silu(x)`` are the same to it.
"""

from dataclasses import dataclass
from typing import Final, final

from torch.utils._python_dispatch import _disable_current_modes

from fanin._gains import identify
from fanin._site import SiteActivation
from fanin._trace._graph import Graph, Node, Value
from fanin._trace._replay import Replay, recorded

__all__ = ["Elementwise", "Step", "is_repeated"]

_LONGEST: Final = 64
"""Operations in one activation; a longer chain is no activation but a computation."""

_TRANSPARENT: Final = ("view", "copy")
_NUMERIC: Final = ("pointwise", "add", "multiply")
_CHOOSING: Final = ("where", "masked_fill")
_COMPARING: Final = ("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not")


@final
@dataclass(frozen=True, slots=True)
class Step:
    """A value as an elementwise function of ``source``, through ``nodes``."""

    source: Value
    nodes: tuple[Node, ...] = ()


@final
class Elementwise:
    """For every value of a graph, of which other value it is a function of one number."""

    def __init__(self, graph: Graph) -> None:
        self._steps: dict[Value, Step] = {}
        self._data: set[Node] = set()
        self._named: dict[Replay, SiteActivation] = {}
        for node in graph.nodes:
            if node.kind in ("input", "product", "lookup", "recurrent") or any(
                value.node in self._data for value in node.inputs
            ):
                self._data.add(node)
            for value in node.outputs:
                self._steps[value] = self._step(node, value)

    def is_data(self, value: Value) -> bool:
        """Whether the value depends on the model's input or on a weight's product."""
        return value.node in self._data

    def data_inputs(self, node: Node) -> list[Value]:
        """The inputs of ``node`` that carry the signal."""
        return [value for value in node.inputs if value.floating and self.is_data(value)]

    def step(self, value: Value) -> Step:
        """``value`` as a function of its source."""
        return self._steps[value]

    def source(self, value: Value) -> Value:
        """The value of which ``value`` is an elementwise function."""
        return self._steps[value].source

    def _step(self, node: Node, value: Value) -> Step:
        if node.kind in _TRANSPARENT and node.inputs:
            return self._steps[node.inputs[0]]
        if node not in self._data or not self._is_numeric(node):
            return Step(value)
        if node.kind == "add" and any(is_repeated(one, node) for one in node.inputs):
            return Step(value)
        found = [self._steps[one] for one in node.inputs if self.is_data(one)]
        if not found or len({step.source for step in found}) != 1:
            return Step(value)
        nodes = {one: None for step in found for one in step.nodes}
        if len(nodes) >= _LONGEST:
            return Step(value)
        return Step(found[0].source, (*nodes, node))

    def _is_numeric(self, node: Node) -> bool:
        """Whether each entry of the result is computed from the same entry of the inputs."""
        if node.kind in _NUMERIC or node.operation in _COMPARING:
            return True
        # A choice by a mask from elsewhere is no function of the signal.
        masks = [one for one in node.inputs if not one.floating]
        return node.operation in _CHOOSING and all(self.is_data(mask) for mask in masks)

    def activation(self, value: Value) -> SiteActivation:
        """The function from the source of ``value`` to ``value``, by name where it has one."""
        step = self._steps[value]
        if not any(self._bends(node) for node in step.nodes):
            return "identity"
        function = recorded(step.nodes, _behind_views, self._data)
        if function not in self._named:
            self._named[function] = self._identified(function)
        return self._named[function]

    def _bends(self, node: Node) -> bool:
        """Whether this operation can be other than a straight line in its source."""
        if node.kind == "pointwise" or node.operation in (*_CHOOSING, *_COMPARING):
            return True
        if node.kind == "multiply":
            return sum(self.is_data(one) for one in node.inputs) > 1
        return False

    def _identified(self, function: Replay) -> SiteActivation:
        try:
            with _disable_current_modes():
                return identify(function) or function
        except (RuntimeError, TypeError, NotImplementedError, AttributeError):
            # The replay failed: which function it is stays unknown, and is not guessed.
            return "identity"


def is_repeated(value: Value, node: Node) -> bool:
    """Whether a term of a sum is learned vectors repeated over the batch: a signal of its own."""
    return bool(value.parameter) and value.shape == node.value.shape


def _behind_views(value: Value) -> Node:
    node = value.node
    while node.kind in _TRANSPARENT and node.inputs:
        node = node.inputs[0].node
    return node
