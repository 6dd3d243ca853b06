"""Know a tensor again: which value of the graph a tensor of the run is."""

from dataclasses import dataclass
from typing import TypeAlias, final

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from fanin._trace._graph import Graph, Value

__all__ = ["Tensors", "is_continuous"]

Key: TypeAlias = tuple[object, ...]


@final
@dataclass(frozen=True, slots=True)
class _Write:
    """A tensor that was written in place, and the stretch of its memory that it covers."""

    key: Key
    value: Value
    first: int
    last: int

    def meets(self, tensor: Tensor) -> bool:
        first, last = _stretch(tensor)
        return first <= self.last and self.first <= last


def _stretch(tensor: Tensor) -> tuple[int, int]:
    """The first and the last entry of its memory that a tensor can show."""
    try:
        first = int(tensor.storage_offset())
        sizes = zip(tensor.shape, tensor.stride(), strict=True)
    except (NotImplementedError, RuntimeError):
        return 0, 0
    return first, first + sum((n - 1) * stride for n, stride in sizes)


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
        self._written: dict[int, list[_Write]] = {}
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
        since = -1 if found is None else found.node.index
        written = [
            write.value
            for write in self._written.get(memory, ())
            if write.value.node.index > since and write.key != key and write.meets(tensor)
        ]
        if written:
            # Views of this memory were written after this value was made.
            sources = written if found is None else [found, *written]
            found = self._new(tensor, "overwritten", tuple(sources))
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
            self._written.setdefault(memory, []).append(_Write(key, value, *_stretch(tensor)))

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
