"""Find which activation stands between two operations, however it is written.

A chain of elementwise operations of one tensor is a function of one number. It is run again on a
few numbers, and named by its values: ``x * sigmoid(x)`` and ``silu(x)`` are the same to it.
"""

from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from fanin._gains import identify
from fanin._site import SiteActivation
from fanin._trace._graph import Graph, Node, Value

__all__ = ["Elementwise", "Step", "is_repeated"]

_LONGEST: Final = 64
"""Operations in one activation; a longer chain is no activation but a computation."""

_NEUTRAL: Final = {"_prelu_kernel": 0.25, "prelu": 0.25, "pow": 1.0}
"""What stands for a parameter: torch's own start, or what changes nothing."""

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
        self._named: dict[tuple[object, ...], SiteActivation] = {}
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
        key = tuple(self._signature(node, step.nodes) for node in step.nodes)
        if key not in self._named:
            self._named[key] = self._identified(step, key)
        return self._named[key]

    def _signature(self, node: Node, nodes: tuple[Node, ...]) -> tuple[object, ...]:
        """What the operation computes, whichever tensors it ran on."""

        def plain(found: object) -> object:
            if isinstance(found, Value):
                before = _behind_views(found)
                return nodes.index(before) if before in nodes else before in self._data
            if isinstance(found, tuple):
                return tuple(plain(entry) for entry in found)
            return repr(found)

        keywords = tuple((key, plain(entry)) for key, entry in node.keywords.items())
        return (node.operation, plain(node.arguments), keywords)

    def _bends(self, node: Node) -> bool:
        """Whether this operation can be other than a straight line in its source."""
        if node.kind == "pointwise" or node.operation in (*_CHOOSING, *_COMPARING):
            return True
        if node.kind == "multiply":
            return sum(self.is_data(one) for one in node.inputs) > 1
        return False

    def _identified(self, step: Step, key: tuple[object, ...]) -> SiteActivation:
        function = Replay(step, self._data, key)
        try:
            with _disable_current_modes():
                return identify(function) or function
        except (RuntimeError, TypeError, NotImplementedError):
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


@final
class Replay:
    """A recorded activation as a function of any tensor; parameters in it change nothing."""

    def __init__(self, step: Step, data: set[Node], key: tuple[object, ...]) -> None:
        self._step, self._data, self._key = step, data, key
        self.__name__ = " of ".join(
            dict.fromkeys(node.operation for node in reversed(step.nodes) if node.kind != "add")
        )

    def __repr__(self) -> str:
        return f"<{self.__name__}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Replay) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __call__(self, x: Tensor) -> Tensor:
        """The activation of ``x``."""
        known: dict[Node, Tensor] = {}
        for node in self._step.nodes:
            known[node] = self._run(node, x, known)
        return known[self._step.nodes[-1]]

    def _run(self, node: Node, x: Tensor, known: dict[Node, Tensor]) -> Tensor:
        neutral = _NEUTRAL.get(node.operation, 1.0 if node.kind == "multiply" else 0.0)

        def tensor_of(value: Value) -> Tensor:
            before = _behind_views(value)
            if before in known:
                return known[before]
            if before in self._data:
                return x
            return torch.full((), neutral, dtype=x.dtype)

        def filled(found: object) -> object:
            if isinstance(found, Value):
                return tensor_of(found)
            return [filled(entry) for entry in found] if isinstance(found, tuple) else found

        assert node.function is not None  # noqa: S101 - recorded with every operation
        result = node.function(
            *(filled(argument) for argument in node.arguments),
            **{
                key: filled(argument)
                for key, argument in node.keywords.items()
                if key not in ("dtype", "out")
            },
        )
        if isinstance(result, tuple):
            result = result[0]
        assert isinstance(result, Tensor)  # noqa: S101 - an elementwise operation
        return result
