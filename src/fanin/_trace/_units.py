"""Recognize attention, gates and routers: what a weight's outputs are for."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, final

from fanin._gains import Gated, canonical
from fanin._site import SiteActivation
from fanin._trace._flow import Flow
from fanin._trace._graph import Node, Value
from fanin._trace._propagate import weight_operand

__all__ = ["Purpose", "Stretch", "Units"]

Purpose = Literal["query", "key", "value", "gate", "gate_value", "router"]
_SCORES: Final = ("view", "slice", "copy", "move")


@final
@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive outputs of a weight, or all of them (``size`` 0) where it cannot be told."""

    start: int
    size: int


@final
class Units:
    """For each weighted node, what which of its outputs are for; and the product units' names."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self.purposes: dict[Node, dict[Purpose, Stretch]] = defaultdict(dict)
        self.names: dict[Node, SiteActivation] = {}
        self.scores: set[Node] = set()
        """The products of queries and keys."""
        self.averages: dict[Node, Value] = {}
        """The products of shares and values, and what is averaged."""
        self._feeding = self._before_weights()
        for node in flow.graph.nodes:
            if node.kind == "attention":
                self._attention(*node.inputs[:3])
            elif node.kind == "product" and weight_operand(node) is None:
                self._written_out_attention(node)
            elif node.kind == "multiply":
                self._product_unit(node)
            elif node.kind == "glu":
                self._glu(node)
            elif node.operation in ("topk", "max", "argmax"):
                self._router(node)

    def _before_weights(self) -> set[Node]:
        """The nodes whose results a later weight reads."""
        found: set[Node] = set()
        for node in reversed(self._flow.graph.nodes):
            if node in found or self._flow.is_weighted(node):
                found |= {value.node for value in node.inputs}
        return found

    def _attention(self, query: Value, key: Value, value: Value) -> None:
        inputs: dict[Purpose, Value] = {"query": query, "key": key, "value": value}
        for purpose, one in inputs.items():
            for node, stretch in self._weights_of(one):
                self.purposes[node].setdefault(purpose, stretch)

    def _weights_of(self, value: Value) -> Iterator[tuple[Node, Stretch]]:
        origin = value.origin.product if value.origin else None
        if origin is not None and self._flow.is_weighted(origin):
            yield origin, _stretch(value)
            return
        for reached in self._flow.reached(value):
            if reached.node.kind == "product":
                yield reached.node, Stretch(0, 0)

    def _written_out_attention(self, node: Node) -> None:
        """softmax(query key') value, as three operations."""
        if len(node.inputs) != 2:
            return
        for weights, value in (node.inputs, node.inputs[::-1]):
            softmax = self._behind(weights, self._flow.softmaxes.__contains__)
            if softmax is None:
                continue
            scores = self._behind(softmax.inputs[0], self._are_scores, through_sums=True)
            if scores is not None and len(scores.inputs) == 2:
                self.scores.add(scores)
                self.averages[node] = value
                query, key = scores.inputs[:: 1 if self._is_over_last(softmax) else -1]
                self._attention(query, key, value)
            return

    def _are_scores(self, node: Node) -> bool:
        """A product of queries and keys; learned queries are a parameter, and differ by head."""
        if node.kind != "product":
            return False
        return not self._flow.is_weighted(node) or node.operation in ("bmm", "baddbmm")

    def _is_over_last(self, softmax: Node) -> bool:
        """Whether the shares of each row are one in all: then the columns are the keys."""
        dim = softmax.arguments[1] if softmax.kind == "softmax" else -1
        return dim in (-1, len(softmax.value.shape) - 1)

    def _behind(
        self, value: Value, wanted: Callable[[Node], bool], *, through_sums: bool = False
    ) -> Node | None:
        """The wanted node that a value comes from by moves and masks alone."""
        waiting, seen = [value], set[Node]()
        while waiting:
            one = waiting.pop()
            source = self._flow.elementwise.source(one)
            node = one.node if wanted(one.node) else source.node
            if node in seen:
                continue
            seen.add(node)
            if wanted(node):
                return node
            passes = node.kind in _SCORES or (through_sums and node.kind in ("add", "multiply"))
            if passes or node.operation == "native_dropout":
                waiting += self._flow.elementwise.data_inputs(node)
        return None

    def _product_unit(self, node: Node) -> None:
        """activation(a) * b with a, b two layers of one input, or the halves of one."""
        data = self._flow.elementwise.data_inputs(node)
        if node not in self._feeding:
            return
        if len(data) != 2 or self._flow.elementwise.step(node.value).nodes:
            return
        gate = 1 if self._is_nearly_straight(data[0]) else 0
        if not self._is_nearly_straight(data[1 - gate]):
            return
        found = [self._direct(value) for value in (data[gate], data[1 - gate])]
        if found[0] is None or found[1] is None or not self._share_input(found[0][0], found[1][0]):
            return
        first, second = (self._flow.elementwise.source(value) for value in data)
        if first is second:
            return
        activation = self._flow.elementwise.activation(data[gate])
        assert not isinstance(activation, Gated)  # noqa: S101 - a function of one number
        self._pair(node, found[0], found[1], canonical(Gated(activation)))

    def _is_nearly_straight(self, value: Value) -> bool:
        """Whether a value is what a layer gave, at most kept within bounds."""
        if self._flow.elementwise.activation(value) == "identity":
            return True
        bending = [
            node for node in self._flow.elementwise.step(value).nodes if node.kind == "pointwise"
        ]
        return all(node.operation in ("clamp", "clamp_min", "clamp_max") for node in bending)

    def _pair(
        self,
        node: Node,
        gate: tuple[Node, Stretch],
        value: tuple[Node, Stretch],
        name: SiteActivation,
    ) -> None:
        self.purposes[gate[0]].setdefault("gate", gate[1])
        self.purposes[value[0]].setdefault("gate_value", value[1])
        self.names[node] = name

    def _direct(self, value: Value) -> tuple[Node, Stretch] | None:
        """The layer whose outputs, or a stretch of them, the value is a function of."""
        source = self._flow.elementwise.source(value)
        product = source.origin.product if source.origin else None
        if product is None or not self._flow.is_weighted(product):
            return None
        reached = {one.node for one in self._flow.reached(source)}
        return (product, _stretch(source)) if product in reached else None

    def _share_input(self, first: Node, second: Node) -> bool:
        if first is second:
            return True
        sources = [self._flow.data_of(node) for node in (first, second)]
        if sources[0] is None or sources[1] is None:
            return False
        return self._flow.elementwise.source(sources[0]) is self._flow.elementwise.source(
            sources[1]
        )

    def _glu(self, node: Node) -> None:
        found = self._direct(node.inputs[0])
        if found is None:
            return
        half = (found[1].size or node.inputs[0].shape[-1]) // 2
        start = found[1].start
        self._pair(
            node, (found[0], Stretch(start + half, half)), (found[0], Stretch(start, half)), "glu"
        )

    def _router(self, node: Node) -> None:
        """The weight whose outputs, as shares, pick a few of many: a largest one is no such pick
        unless it is taken of a softmax.
        """
        value = node.inputs[0]
        if (
            node.operation != "topk"
            and self._behind(value, self._flow.softmaxes.__contains__) is None
        ):
            return
        while True:
            source = self._flow.elementwise.source(value)
            if source.node.kind == "softmax" or source.node.kind in _SCORES:
                value = source.node.inputs[0]
            elif source.node.kind == "product" and self._flow.is_weighted(source.node):
                self.purposes[source.node].setdefault("router", Stretch(0, 0))
                return
            else:
                return


def _stretch(value: Value) -> Stretch:
    """Which of its product's outputs a value shows."""
    axes = value.axes
    if axes is None or value.origin is None or not axes.is_stretch(0):
        return Stretch(0, 0)
    return Stretch(axes.starts[0], axes.extent(0))
