"""Follow the signal backwards: which weights does a value come from, and through what."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final, final

from fanin._trace._elementwise import Elementwise
from fanin._trace._graph import Graph, Node, Value
from fanin._trace._norms import Norms
from fanin._trace._propagate import weight_operand

__all__ = ["Flow", "Reached"]

_LINEAR: Final = (
    "view", "slice", "copy", "add", "multiply", "move", "concatenate", "product", "norm", "glu",
)  # fmt: skip
_LINEAR_REDUCTIONS: Final = ("sum", "mean")
_SAME_PLACES: Final = (
    "view", "copy",
)  # fmt: skip
_SAME_SIGNAL: Final = (
    "native_dropout", "masked_fill", "where", "roll", "constant_pad_nd", "overwritten", "index_put",
    "seen", "slice_scatter", "reflection_pad1d", "reflection_pad2d", "replication_pad1d",
    "replication_pad2d", "replication_pad3d", "reflection_pad3d",
)  # fmt: skip


@final
@dataclass(slots=True)
class Reached:
    """A weight that a value is linear in, and what multiplies it on the way."""

    node: Node
    scaled_by: tuple[str, ...] = ()
    normalized: bool = False


@final
class Flow:
    """Questions about where the signal comes from, answered from a recorded graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.elementwise = Elementwise(graph)
        self.norms = Norms(graph, self.elementwise)
        self.softmaxes = {node for node in graph.nodes if self._is_softmax(node)}

    def is_weighted(self, node: Node) -> bool:
        """Whether the node multiplies, or looks up, with a parameter."""
        if node.kind in ("product", "lookup"):
            return weight_operand(node) is not None
        return node.kind == "recurrent"

    def data_of(self, node: Node) -> Value | None:
        """What a weighted node multiplies with its parameter."""
        weight = weight_operand(node) if node.kind != "recurrent" else None
        found = [value for value in node.inputs if value is not weight]
        data = [value for value in found if self.elementwise.is_data(value)]
        return next(iter(data or found), None)

    def _is_softmax(self, node: Node) -> bool:
        """Whether the entries are shares of a whole, also written out: exp(x) / sum exp(x)."""
        if node.kind != "multiply" or node.operation not in ("div", "true_divide"):
            return node.kind == "softmax"
        data = self.elementwise.data_inputs(node)
        if len(data) != 2:
            return False
        last = self.elementwise.step(data[0]).nodes
        total = self.elementwise.source(data[1]).node
        return (
            bool(last)
            and last[-1].operation == "exp"
            and total.operation == "sum"
            and self.elementwise.step(total.inputs[0]).nodes[-1:] == last[-1:]
        )

    def reached(
        self, value: Value, stop: Collection[Value] = (), *, most: int = 2**30
    ) -> list[Reached]:
        """The weighted nodes, at most so many, that ``value`` is linear in; not beyond ``stop``."""
        found: dict[Node, Reached] = {}
        seen: set[Value] = set()
        waiting: list[tuple[Value, tuple[str, ...], bool]] = [(value, (), False)]
        while waiting and len(found) < most:
            one, scales, normalized = waiting.pop()
            if one in seen or one in stop:
                continue
            seen.add(one)
            node = one.node
            if self.is_weighted(node):
                found.setdefault(node, Reached(node, scales, normalized))
                continue
            waiting += self._linear_inputs(one, scales, normalized)
        return sorted(found.values(), key=lambda reached: reached.node.index)

    def linear_inputs(self, value: Value) -> list[Value]:
        """The inputs of the operation in which ``value`` is linear."""
        return [one for one, _, _ in self._linear_inputs(value, (), False)]  # noqa: FBT003

    def _linear_inputs(
        self,
        value: Value,
        scales: tuple[str, ...],
        normalized: bool,  # noqa: FBT001
    ) -> Iterator[tuple[Value, tuple[str, ...], bool]]:
        """The inputs in which ``value`` is linear, with what has multiplied it so far."""
        node = value.node
        if node in self.norms:
            yield self.norms[node], scales, True
            return
        if not self._is_linear(value):
            return
        if node.kind == "attention":
            yield node.inputs[2], scales, normalized
            return
        data = [one for one in node.inputs if one.floating and self.elementwise.is_data(one)]
        if node.kind == "multiply" and len(data) == 1 and data[0].node not in self.norms:
            scales = (*scales, *(one.parameter for one in node.inputs if one.parameter))
        for one in data:
            yield one, scales, normalized

    def _is_linear(self, value: Value) -> bool:
        node = value.node
        if node.kind == "attention":
            return True
        if node.kind == "reduce":
            return node.operation in _LINEAR_REDUCTIONS
        if node.kind == "pool":
            return "avg" in node.operation
        if node.kind == "pointwise":
            return node.operation == "neg" or self.elementwise.activation(value) == "identity"
        if node.kind not in _LINEAR:
            return False
        # A product of a value with a function of itself is an activation: x * sigmoid(x).
        step = self.elementwise.step(value)
        return not step.nodes or self.elementwise.activation(value) == "identity"

    def identities(
        self, value: Value, skip_of: Callable[[Node], Value | None], *, slices: bool = False
    ) -> Iterator[Value]:
        """The values that ``value`` is, up to views, dropout and constant factors, nearest first.

        Behind the sum of a residual stream stands, by ``skip_of``, an earlier point of the stream.
        With ``slices`` a part of a value counts as the value: a token, or half of the channels.
        """
        one: Value | None = value
        while one is not None:
            if self.elementwise.activation(one) != "identity":
                while one.node.kind in _SAME_PLACES:
                    yield one
                    one = one.node.inputs[0]
                yield one
                return
            source = self.elementwise.source(one)
            yield source
            node = source.node
            is_part = slices and node.kind == "slice"
            if node.kind in _SAME_PLACES or node.operation in _SAME_SIGNAL or is_part:
                data = self.elementwise.data_inputs(node)
                one = data[0] if len(data) == 1 or node.operation == "index_put" else None
            else:
                one = skip_of(node)

    def between(self, end: Value, start: Value) -> set[Node] | None:
        """The nodes on the ways from ``start`` to ``end``; None if there is no way."""
        lowest = start.node.index
        seen: dict[Value, bool] = {start: True}
        order: list[Value] = []
        waiting = [end]
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen[one] = False
            if one.node.index <= lowest:
                continue
            order.append(one)
            waiting += one.node.inputs
        # Earlier nodes first, so that what a node reads is settled before it is.
        order.sort(key=lambda one: one.node.index)
        nodes: set[Node] = set()
        for one in order:
            if any(seen.get(value, False) for value in one.node.inputs):
                seen[one] = True
                nodes.add(one.node)
        return nodes if seen.get(end, False) else None
