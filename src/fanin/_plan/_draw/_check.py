"""After an apply: what was filled is finite and has the planned std, what was kept is untouched."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Final, final

import torch
from torch import Tensor

from fanin._errors import FaninError
from fanin._fill import kept_for, padding_row
from fanin._plan._draw._law import law_of
from fanin._plan._draw._match import Pair
from fanin._plan._draw._measure import checksum, has_bytes, measure
from fanin._plan._entry import Entry
from fanin._plan._receipt import Stamp
from fanin._trace._names import Tensors
from fanin.initializers._target import has_no_data

__all__ = ["Before", "stamp", "verified"]

_PORTION: Final = 1 << 22
"""Elements for a thread at a time."""


@final
@dataclass(frozen=True, slots=True)
class Before:
    """What tells later whether a tensor that is not to be filled was written."""

    by_bytes: bool
    marks: Mapping[str, list[object]]

    @classmethod
    def of(cls, pairs: Sequence[Pair], *, by_bytes: bool) -> "Before":
        """The marks of the kept and unclaimed tensors.

        ``by_bytes``: where code of the user's will run, which may write as autograd does not see.
        """
        rest = ((entry, target) for entry, target in pairs if entry.state != "filled")
        marks = {entry.name: _marks(target.tensors, by_bytes=by_bytes) for entry, target in rest}
        return cls(by_bytes, marks)

    def is_changed(self, name: str, tensors: Sequence[Tensor]) -> bool:
        """Whether the tensors kept for ``name`` were written since."""
        return _marks(tensors, by_bytes=self.by_bytes) != self.marks[name]


def _marks(tensors: Sequence[Tensor], *, by_bytes: bool) -> list[object]:
    # The version counts writes; tensors made in inference mode have none.
    return [
        checksum([tensor]) if by_bytes or tensor.is_inference() else tensor._version  # noqa: SLF001
        for tensor in tensors
    ]


def verified(
    pairs: Sequence[Pair], before: Before, through: Mapping[str, list[Tensor]]
) -> tuple[Stamp, ...]:
    """The stamps of all tensors.

    Raises:
        FaninError: where a tensor is not what the plan says; the model is changed then.
    """
    filled = sum(entry.state == "filled" for entry, _ in pairs)
    written = {
        id(tensor)
        for entry, target in pairs
        if entry.name in through
        for tensor in kept_for(target.owner, target.local)
    }
    """Also buffers: a parametrization keeps there what it computes the weight from."""

    def verify(some: Sequence[Pair]) -> list[Stamp]:
        return [
            _verify(*pair, before, through.get(pair[0].name), filled)
            if pair[0].state == "filled" or id(pair[1].tensors[0]) not in written
            else Stamp(pair[0].name, "filled", checksum(pair[1].tensors))
            for pair in some
        ]

    # Hashing and summing let go of Python's lock.
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        return tuple(stamp for some in threads.map(verify, _portions(pairs)) for stamp in some)


def _portions(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    """Neighbours together, so that a thread has something to do."""
    start, size = 0, 0
    for end, (_, target) in enumerate(pairs, start=1):
        size += sum(tensor.numel() for tensor in target.tensors)
        if size >= _PORTION or end == len(pairs):
            yield pairs[start:end]
            start, size = end, 0


def _verify(
    entry: Entry,
    target: Tensors,
    before: Before,
    through: Sequence[Tensor] | None,
    filled: int,
) -> Stamp:
    tensors = target.tensors
    if entry.state != "filled":
        if before.is_changed(entry.name, tensors):
            raise _failure(entry, "it was written", "kept as it was")
        return Stamp(entry.name, entry.state, checksum(tensors))
    if any(has_no_data(tensor) for tensor in tensors):
        return Stamp(entry.name, "not drawn", None)
    if through is not None:
        _verify_computed(entry, kept_for(target.owner, target.local), through)
        return Stamp(entry.name, "filled", checksum(tensors))
    if not has_bytes(tensors[0]):
        return Stamp(entry.name, "filled", None)
    return stamp(entry, tensors[0], padding_row(target.owner), comparisons=filled)


def _verify_computed(entry: Entry, kept: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    for tensor, value in zip(kept, wanted, strict=True):
        if not torch.equal(tensor, value):
            raise _failure(entry, "other tensors behind its parametrization", "those of the draw")


def stamp(entry: Entry, tensor: Tensor, row: int | None, *, comparisons: int) -> Stamp:
    """The stamp of a filled tensor, one of ``comparisons`` that are looked at; ``row`` is zero.

    Raises:
        FaninError: where it has not the planned std, or numbers that are not finite.
    """
    assert entry.initializer is not None  # noqa: S101 - asked of filled entries only
    law = law_of(entry.initializer, entry.axes)
    mean = 0.0 if law is None else float(torch.tensor(law.mean, dtype=_real(tensor)))
    found = measure(tensor, mean)
    if not isfinite(found.squares):
        raise _failure(entry, "numbers that are not finite", "finite ones")
    if law is not None and tensor.numel() > 0:
        zeroed = 0 if row is None else entry.axes.row(tensor, row).numel()
        number = tensor.numel() - zeroed
        margin = law.margin(number, _real(tensor), comparisons)
        _verify_std(entry, found.squares - zeroed * mean**2, number, law.std, margin)
    return Stamp(entry.name, "filled", found.checksum)


def _real(tensor: Tensor) -> torch.dtype:
    return tensor.dtype.to_real()


def _verify_std(entry: Entry, squares: float, number: int, std: float, margin: float) -> None:
    expected = number * std**2
    if abs(squares - expected) <= margin:
        return
    low, high = sqrt(max(expected - margin, 0) / number), sqrt((expected + margin) / number)
    raise _failure(
        entry,
        f"a std of {sqrt(max(squares, 0) / number):.4g}",
        f"{std:.4g}, which {number} draws keep between {low:.4g} and {high:.4g}",
    )


def _failure(entry: Entry, found: str, planned: str) -> FaninError:
    return FaninError(
        "a tensor is not what the plan says, and the model is now changed",
        where=f"{entry.name}: {entry.initializer or entry.why}",
        found=f"{found}; planned: {planned}",
        fix="apply again, and report it with this plan: it is an error of fanin, or of code that "
        "writes to the model at the same time",
    )
