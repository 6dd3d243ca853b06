"""Measure what every operation of a run gives, and the gradient that comes back to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

from torch import Tensor

from fanin._audit._attention import entropy
from fanin._audit._batch import BatchAxis
from fanin._audit._measure import (
    Numbers,
    dead_units,
    flat_output,
    flat_side,
    numbers_of,
    power,
    real,
    saturated,
)
from fanin._trace._graph import Kind, Node

__all__ = ["Seen", "Watcher"]

_MEASURED: Final[tuple[Kind, ...]] = (
    "pointwise", "add", "multiply", "product", "lookup", "norm", "softmax", "attention", "reduce",
    "pool", "concatenate", "recurrent", "glu", "other",
)  # fmt: skip
_FOURIER: Final = frozenset({"_fft_r2c", "_fft_c2c", "_fft_c2r"})
"""They move entries, and change their size."""
_CHANNELS_FIRST: Final = ("convolution", "_convolution", "mkldnn_convolution", "cudnn_convolution")


@final
@dataclass(slots=True)
class Seen:
    """What was measured of one operation's output."""

    node: Node
    shape: tuple[int, ...]
    numbers: Numbers
    gradient: float | None = None
    dead: float | None = None
    samples: int = 0
    saturated: float | None = None
    entropy: float | None = None


@final
@dataclass(slots=True)
class Watcher:
    """Measures each operation right after it ran; nothing of the run is kept but numbers.

    ``inputs`` is the size of the batch; ``overwritten`` tells where the activation that has just
    run is flat, if it has written over its input.
    """

    inputs: int
    overwritten: Callable[[], Tensor | None]
    seen: dict[int, Seen] = field(default_factory=dict)
    """By the node's index, in the order of the run."""
    _depends: dict[Node, bool] = field(default_factory=dict)
    _channels_first: dict[Node, bool] = field(default_factory=dict)
    _batch: BatchAxis = field(init=False)
    _waiting: list[tuple[Seen, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._batch = BatchAxis(self.inputs)

    def __call__(
        self, node: Node, args: Sequence[Any], keywords: Mapping[str, Any], outputs: list[Tensor]
    ) -> None:
        """Measure the first output of ``node``, if it is a signal of the model."""
        self.attach()
        if not outputs or not self._is_signal(node, outputs[0]):
            return
        tensor = outputs[0]
        found = self._measured(node, args, keywords, tensor)
        self.seen[node.index] = found
        self._waiting.append((found, tensor))

    def attach(self) -> None:
        """Ask for the gradients of what has run; autograd knows a tensor after its operation."""
        for found, tensor in self._waiting:
            if tensor.requires_grad:
                tensor.register_hook(_noting(found))  # type: ignore[no-untyped-call]
        self._waiting.clear()

    def _depends_on_input(self, node: Node) -> bool:
        """Whether what the node gives differs from input to input, or is looked up."""
        if node not in self._depends:
            own = node.kind in ("input", "lookup")
            self._depends[node] = own or any(
                self._depends_on_input(one.node) for one in node.inputs
            )
        return self._depends[node]

    def _is_channels_first(self, node: Node) -> bool:
        """Whether the second axis has the features: behind a convolution."""
        if node not in self._channels_first:
            own = node.operation in _CHANNELS_FIRST
            ends = node.kind in ("product", "lookup", "input", "parameter", "constant")
            before = [one.node for one in node.inputs]
            self._channels_first[node] = own or (
                not ends and any(self._is_channels_first(one) for one in before)
            )
        return self._channels_first[node]

    def _is_signal(self, node: Node, tensor: Tensor) -> bool:
        is_number = tensor.is_floating_point() or tensor.is_complex()
        is_kind = node.kind in _MEASURED or node.operation in _FOURIER
        is_measured = is_number and tensor.numel() > 1 and is_kind
        return is_measured and self._depends_on_input(node)

    def _measured(
        self, node: Node, args: Sequence[Any], keywords: Mapping[str, Any], tensor: Tensor
    ) -> Seen:
        place = self._batch.place(node.value) if self.inputs > 1 else None
        is_sequence = not self._is_channels_first(node)
        numbers = numbers_of(tensor, self.inputs, place, positions=is_sequence)
        found = Seen(node, tuple(tensor.shape), numbers)
        if node.kind == "pointwise":
            flat = self._flat_side(node.operation, args, tensor)
            units = dead_units(tensor, unit=-1 if is_sequence else 1, flat=flat)
            found.dead, found.samples = units if units is not None else (None, 0)
            found.saturated = saturated(node.operation, args, tensor)
        elif _is_softsign(node):
            found.saturated = saturated("softsign", args, tensor)
        elif node.kind in ("softmax", "attention"):
            found.entropy = entropy(node.operation, args, keywords)
        return found

    def _flat_side(self, operation: str, args: Sequence[Any], output: Tensor) -> Tensor | None:
        before, flat = self.overwritten(), flat_side(operation, args)
        if flat is None or args[0].data_ptr() != output.data_ptr():
            return flat
        return flat_output(operation, args, output) if before is None else before


def _is_softsign(node: Node) -> bool:
    """Whether this is the quotient in x / (1 + |x|), as torch writes it out."""
    if node.operation != "div" or len(node.inputs) != 2:
        return False
    given, below = node.inputs
    sizes = [one.node for one in below.node.inputs if one.node.operation == "abs"]
    return below.node.operation == "add" and any(given in size.inputs for size in sizes)


def _noting(found: Seen) -> Callable[[Tensor], None]:
    def hook(gradient: Tensor) -> None:
        moment, finite = power(real(gradient))
        found.gradient = moment if finite == 1.0 else float("nan")

    return hook
