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
                self._enclose(statistic, reduction)
                return self._before_centring(signal)
        return None

    def _is_size_of(self, reduction: Node, signal: Value) -> bool:
        """Whether the reduction measures how large the signal is, not, as a softmax's, its sum."""
        about = reduction.inputs[0]
        if prod(reduction.value.shape) >= prod(about.shape):
            return False
        if self._elementwise.source(about) not in self._near(signal):
            return False
        last = self._elementwise.step(about).nodes[-1:]
        if reduction.operation in _MEANS:
            return bool(last) and last[0].operation in _EVEN
        if reduction.operation in ("amax", "max"):
            return bool(last) and last[0].operation == "abs"
        return reduction.operation in _SIZES

    def _near(self, signal: Value) -> set[Value]:
        """The value that a signal is a function of, and those that this one is made of."""
        source = self._elementwise.source(signal)
        return {source, *(self._elementwise.source(value) for value in source.node.inputs)}

    def _before_centring(self, signal: Value) -> Value:
        """``x``, where the signal is ``x - mean(x)``."""
        source = self._elementwise.source(signal).node
        data = self._elementwise.data_inputs(source) if source.kind == "add" else []
        if len(data) != 2:
            return signal
        mean = self._elementwise.source(data[1]).node
        if mean.operation not in ("mean", "var_mean", "std_mean"):
            return signal
        about = self._elementwise.source(mean.inputs[0])
        if about is not self._elementwise.source(data[0]):
            return signal
        self._enclose(data[1], mean)
        self.inner.add(source)
        return data[0]

    def _enclose(self, statistic: Value, reduction: Node) -> None:
        self.inner.add(reduction)
        self.inner |= set(self._elementwise.step(reduction.inputs[0]).nodes)
        self.inner |= set(self._elementwise.step(statistic).nodes)
