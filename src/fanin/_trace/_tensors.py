"""Know a tensor again: which value of the graph a tensor of the run is."""

from typing import TypeAlias

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from fanin._trace._graph import Graph, Value

__all__ = ["Tensors", "is_continuous"]

Key: TypeAlias = tuple[object, ...]


class Tensors:
    """Values by what their tensors show: a stretch of memory, its shape and strides.

    Tensors are not known by identity: autograd hands out new objects for one and the same tensor.
    Only a weak hold is kept on each memory, so that what the run is done with is freed while no
    address is taken for another's.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._values: dict[Key, Value] = {}
        self._held: dict[int, object] = {}
        self._written: dict[int, tuple[Key, Value]] = {}
        self._on: dict[int, Value] = {}

    def is_known(self, tensor: Tensor) -> bool:
        """Whether this very tensor is a value already."""
        return self._key(tensor)[1] in self._values

    def same(self, first: Tensor, second: Tensor) -> bool:
        """Whether both show the same entries."""
        return self._key(first)[1] == self._key(second)[1]

    def value_of(self, tensor: Tensor) -> Value:
        """The value of a tensor; one that was never seen is a constant."""
        memory, key = self._key(tensor)
        found = self._values.get(key)
        written = self._written.get(memory)
        if written is not None and written[0] != key:
            # A view of this memory was written after this value was made.
            if found is None or written[1].node.index > found.node.index:
                sources = (written[1],) if found is None else (found, written[1])
                found = self._new(tensor, "overwritten", sources)
        elif found is None:
            base = self._on.get(memory)
            found = self._new(tensor, "seen", () if base is None else (base,))
        self._values[key] = found
        return found

    def _new(self, tensor: Tensor, operation: str, sources: tuple[Value, ...]) -> Value:
        node = self._graph.add(operation, "move" if sources else "constant", sources)
        value = node.output(tuple(tensor.shape), is_continuous(tensor))
        self.remember(tensor, value)
        return value

    def remember(self, tensor: Tensor, value: Value, *, written: bool = False) -> None:
        """From now on this tensor is ``value``; ``written``: its memory was changed in place."""
        memory, key = self._key(tensor)
        self._values[key] = value
        self._on.setdefault(memory, value)
        if written:
            self._written[memory] = (key, value)

    def _key(self, tensor: Tensor) -> tuple[int, Key]:
        try:
            storage = tensor.untyped_storage()
            memory = int(storage._cdata)  # noqa: SLF001 - the address of the storage, data or not
            if memory not in self._held:
                self._held[memory] = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
            place: Key = (memory, tensor.storage_offset(), tensor.stride())
        except (NotImplementedError, RuntimeError):
            # Sparse, nested and wrapped tensors have no storage of their own.
            memory = id(tensor)
            self._held[memory] = tensor
            place = (memory,)
        return memory, (*place, tuple(tensor.shape), tensor.dtype)


def is_continuous(tensor: Tensor) -> bool:
    """Whether its entries are real or complex numbers, that is, whether a gradient can flow."""
    return tensor.is_floating_point() or tensor.is_complex()
