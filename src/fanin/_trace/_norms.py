"""Recognize normalizations, also those that are written out: x / sqrt(mean(x²) + eps)."""

from math import prod
from typing import Final, final

from fanin._trace._elementwise import Elementwise
from fanin._trace._graph import Graph, Node, Value

__all__ = ["Norms"]

_SIZES: Final = ("var", "std", "var_mean", "std_mean", "norm", "linalg_vector_norm")
_MEANS: Final = ("sum", "mean")
_EVEN: Final = ("pow", "square", "abs", "mul")


@final
class Norms:
    """The normalizations of a graph: what each normalizes, and the operations it is made of."""

    def __init__(self, graph: Graph, elementwise: Elementwise) -> None:
        self._elementwise = elementwise
        self.inputs: dict[Node, Value] = {}
        self.inner: set[Node] = set()
        """What only computes the size of the signal."""
        for node in graph.nodes:
            found = self._normalized(node)
            if found is not None:
                self.inputs[node] = found

    def __contains__(self, node: Node) -> bool:
        return node in self.inputs

    def __getitem__(self, node: Node) -> Value:
        return self.inputs[node]

    def _normalized(self, node: Node) -> Value | None:
        """The input of a normalization; None if the node is not one."""
        if node.kind == "norm":
            return node.inputs[0] if self._elementwise.is_data(node.inputs[0]) else None
        data = self._elementwise.data_inputs(node) if node.kind == "multiply" else []
        if len(data) != 2:
            return None
        for signal, statistic in (data, data[::-1]):
            reduction = self._elementwise.source(statistic).node
            if reduction.kind == "reduce" and self._is_size_of(reduction, signal):
                return self._enclosed(signal, statistic, reduction)
        return None

    def _is_size_of(self, reduction: Node, signal: Value) -> bool:
        """Whether the reduction measures how large the signal is, not, as a softmax's, its sum."""
        about = reduction.inputs[0]
        if prod(reduction.value.shape) >= prod(about.shape):
            return False
        if self._base(about) is not self._base(signal):
            return False
        last = self._elementwise.step(about).nodes[-1:]
        if reduction.operation in _MEANS:
            return bool(last) and last[0].operation in _EVEN
        if reduction.operation in ("amax", "max"):
            return bool(last) and last[0].operation == "abs"
        return reduction.operation in _SIZES

    def _base(self, value: Value) -> Value:
        """What a value is a function of, once its mean was taken off or not."""
        source = self._elementwise.source(value)
        centred = self._centred(source.node)
        return source if centred is None else self._elementwise.source(centred[0])

    def _centred(self, node: Node) -> tuple[Value, Value] | None:
        """``x`` and its mean, where the node is ``x - mean(x)``."""
        data = self._elementwise.data_inputs(node) if node.kind == "add" else []
        if len(data) != 2:
            return None
        mean = self._elementwise.source(data[1]).node
        if mean.operation not in ("mean", "var_mean", "std_mean"):
            return None
        about = self._elementwise.source(mean.inputs[0])
        return (data[0], data[1]) if about is self._elementwise.source(data[0]) else None

    def _enclosed(self, signal: Value, statistic: Value, reduction: Node) -> Value:
        """The input of the norm; what computes its mean and its size is inside."""
        found = signal
        for value in (reduction.inputs[0], signal):
            node = self._elementwise.source(value).node
            centred = self._centred(node)
            if centred is not None:
                found = centred[0]
                mean = self._elementwise.source(centred[1])
                self.inner |= {node, mean.node, *self._elementwise.step(centred[1]).nodes}
        before = set(self._elementwise.step(found).nodes)
        self.inner |= {reduction, *self._elementwise.step(statistic).nodes}
        self.inner |= set(self._elementwise.step(reduction.inputs[0]).nodes) - before
        return found
