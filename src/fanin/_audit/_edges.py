"""Find two values of a recorded graph again, in autograd's graph of another run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._python_dispatch import TorchDispatchMode

from fanin._trace._graph import Graph, Value
from fanin._trace._nested import tensors_in
from fanin._trace._record import Recorder

__all__ = ["Edge", "Edges"]


@final
@dataclass(frozen=True, slots=True)
class Edge:
    """A tensor of the run, and its place in autograd's graph before it was changed in place."""

    tensor: Tensor
    edge: GradientEdge
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def like(self, tensor: Tensor) -> Tensor:
        """The entries with this one's dtype, on its device."""
        return tensor.to(device=self.device, dtype=self.dtype)

    def zeros(self) -> Tensor:
        """A tensor of zeros like this one."""
        return torch.zeros(self.shape, dtype=self.dtype, device=self.device)


@final
class Edges:
    """Watches a run for the tensors that are two values of an earlier run's graph.

    A tensor is looked at when something is about to be computed from it. Earlier autograd does not
    know it, a view may get another object, and later it may have been changed in place.
    """

    def __init__(self, graph: Graph, first: Value, last: Value, recorder: Recorder) -> None:
        self._recorder = recorder
        ends = [_with_bias(graph, value) for value in (first, last)]
        self._wanted = [_Mark.of(graph, value) for value in ends]
        self._found: list[Edge | None] = [None, None]
        self._why = "the run did not go the same way again"

    def found(self) -> tuple[Edge, Edge] | str:
        """Both ends; or why there are not two."""
        first, last = self._found
        if first is None or last is None:
            return self._why
        if last.tensor.grad_fn is not last.edge.node:
            # Autograd takes an edge for it too, but torch 2.6 crashes if it is a user's function.
            return "what the last layer is given is changed in place later"
        return first, last

    @contextmanager
    def following(self) -> Iterator[None]:
        """Inside, every tensor that something is computed from is looked at."""
        with _Arguments(self):
            yield

    def see(self, tensor: Tensor) -> None:
        """Keep the tensor's place in autograd's graph if it is one of the two."""
        if None not in self._found or not (tensor.is_floating_point() or tensor.is_complex()):
            return
        value = self._recorder.tensors.value_of(tensor)
        for end, mark in enumerate(self._wanted):
            if self._found[end] is None and mark.fits(self._recorder.graph, value):
                if tensor.is_complex():
                    self._why = "its numbers are complex"
                elif not tensor.requires_grad:
                    self._why = "autograd does not follow the run from its first layer to its last"
                else:
                    edge = get_gradient_edge(tensor)
                    self._found[end] = Edge(tensor, edge, value.shape, tensor.dtype, tensor.device)


@final
@dataclass(frozen=True, slots=True)
class _Mark:
    """A value by what is the same in every run: which operation of its module it comes from."""

    module: str
    operation: str
    before: int
    """How many operations of this name ran in the module before."""
    output: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, graph: Graph, value: Value) -> "_Mark":
        node = value.node
        alike = (node.module, node.operation)
        before = sum((one.module, one.operation) == alike for one in graph.nodes[: node.index])
        return cls(*alike, before, node.outputs.index(value), value.shape)

    def fits(self, graph: Graph, value: Value) -> bool:
        node = value.node
        is_alike = node.operation == self.operation and node.module == self.module
        return is_alike and _Mark.of(graph, value) == self


def _with_bias(graph: Graph, value: Value) -> Value:
    """The sum of a product and its bias where torch computed both at once: the one tensor of both.

    Where it did not, the sum has the same Jacobian.
    """
    after = graph.nodes[value.node.index + 1 :][:1]
    is_sum = bool(after) and after[0].kind == "add" and len(after[0].inputs) == 2
    if value.node.kind == "product" and is_sum:
        product, added = after[0].inputs
        if product is value and added.parameter:
            return after[0].value
    return value


@final
class _Arguments(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Entered last, so that it sees a call before it is recorded and run."""

    def __init__(self, edges: Edges) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.edges = edges

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        for tensor in tensors_in([*args, *(kwargs or {}).values()]):
            self.edges.see(tensor)
        return func(*args, **(kwargs or {}))
