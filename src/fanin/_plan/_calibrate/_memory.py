"""Know a weight again in the run: by its memory, and through casts and multiples of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

from torch import Tensor
from torch._ops import OpOverload
from torch.multiprocessing.reductions import StorageWeakRef

from fanin._plan._calibrate._products import PICKS
from fanin._plan._calibrate._weights import Weight, in_memory_of

__all__ = ["Found", "Known", "Memory"]

_PROPORTIONAL: Final = ("_to_copy", "clone", "neg", "tril", "triu", "mul", "div")
"""Operations whose result is as many times larger as the one weight among their arguments."""
Labels: TypeAlias = Callable[[], Tensor | None]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What a stretch of memory holds: a multiple of one weight, or what was made of weights.

    ``labels``: the unit of each entry, in the order in which it lies in memory; None for one unit.
    ``through``: the operation that a factor cannot be followed through; empty for a multiple.
    """

    hold: object
    weights: tuple[Weight, ...]
    labels: Labels
    through: str = ""

    def labels_of(self, tensor: Tensor) -> Tensor | None:
        """The unit of each entry of a view of this memory."""
        found = self.labels()
        if found is None:
            return None
        return found.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


Found: TypeAlias = tuple[int, Tensor, Known]
"""The place of an argument, the argument, and what its memory is known for."""


@final
class Memory:
    """What the memories of the run are known for, by their addresses."""

    def __init__(self) -> None:
        self._known: dict[int, Known] = {}

    def see(self, tensor: Tensor, weights: Iterable[Weight], labels: Labels, through: str) -> None:
        """From now on the memory of ``tensor`` is known."""
        storage = tensor.untyped_storage()
        # While the weak hold lasts, no other memory gets this address.
        hold = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        self._known[_address(tensor)] = Known(hold, tuple(weights), labels, through)

    def see_weight(self, tensor: Tensor, weight: Weight) -> None:
        """The memory of ``tensor`` holds the weight itself."""
        if tensor is weight.copy:
            self.see(tensor, (weight,), weight.labels, "")
        else:
            self.see(tensor, (weight,), _fixed(weight.labels_in(tensor)), "")

    def found(self, args: Sequence[Any]) -> list[Found]:
        """The arguments that are known, also those in lists."""
        known = ((place, one, self._of(one)) for place, one in _tensors(args))
        return [(place, one, what) for place, one, what in known if what is not None]

    def _of(self, tensor: Tensor) -> Known | None:
        try:
            return self._known.get(_address(tensor))
        except (NotImplementedError, RuntimeError):
            # Sparse, nested and wrapped tensors have no memory of their own.
            return None

    def derive(
        self,
        operation: OpOverload,
        name: str,
        args: Sequence[Any],
        found: list[Found],
        made: object,
    ) -> None:
        """Know what an operation other than a product made of what is known."""
        if operation.is_view:
            return
        is_written = operation._schema.is_mutable  # noqa: SLF001 - says whether it works in place
        weights = dict.fromkeys(weight for _, _, known in found for weight in known.weights)
        labels = _carried(operation, name, args, found)
        through = next((known.through for _, _, known in found if known.through), name)
        for _, tensor in _tensors((made,)):
            if not (tensor.is_floating_point() or tensor.is_complex()):
                continue
            if any(_address(tensor) == _address(one) for _, one, _ in found) and not is_written:
                continue  # a view that torch does not call one
            if labels is None:
                for weight in weights:
                    weight.lost = weight.lost or through
                self.see(tensor, weights, lambda: None, through)
            elif (known := self._of(tensor)) is None or known.through:
                self.see(tensor, weights, _fixed(labels(tensor)), "")


def _carried(
    operation: OpOverload, name: str, args: Sequence[Any], found: list[Found]
) -> Callable[[Tensor], Tensor | None] | None:
    """From the result to its labels; None for a result that is no multiple of one weight."""
    place, operand, known = found[0]
    if len(found) > 1 or known.through or len(known.weights) > 1:
        return None
    if name in _PROPORTIONAL and (name != "div" or place == 0):
        pick = None
    elif name in PICKS and place == 0:
        pick = operation
    else:
        return None

    def carried(result: Tensor) -> Tensor | None:
        labels = known.labels_of(operand)
        if labels is None:
            return None
        picked = labels if pick is None else pick(labels, *args[1:])
        return in_memory_of(picked, result)

    return carried


def _fixed(labels: Tensor | None) -> Labels:
    return lambda: labels


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the address of the storage


def _tensors(args: Sequence[Any]) -> Iterator[tuple[int, Tensor]]:
    """The tensors among the arguments, also those in lists, with the argument's place."""
    for place, one in enumerate(args):
        if isinstance(one, Tensor):
            yield place, one
        elif isinstance(one, (list, tuple)):
            yield from ((place, entry) for entry in one if isinstance(entry, Tensor))
