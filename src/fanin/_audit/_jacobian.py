"""Singular values of the Jacobian between two tensors of a run, for any eager model.

The model runs once more with autograd on. Jᵀu is a backward pass; J v is the derivative of Jᵀu,
which is linear in u (the double-backward trick), by a second one. Only ``torch.autograd.grad`` is
called, so that no gradient of a parameter is written.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from math import isfinite, prod
from typing import Final, final

import torch
from torch import Generator, Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fanin._audit._edges import Edge, Edges
from fanin._audit._lanczos import Operator, Product, extremes, mean_square
from fanin._audit._records import Spectrum
from fanin._audit._run import batch_size
from fanin._errors import FaninError
from fanin._observe import observing
from fanin._stream import Stream
from fanin._trace._graph import Graph, Value
from fanin._trace._propagate import weight_operand
from fanin._trace._record import Recorder, recording, results_in
from fanin._trace._run import own_batch, run_recorded

__all__ = ["spectrum_of"]

_PROBES: Final = 16
_STEPS: Final = 20
_AT_ONCE: Final = 32
"""Rows of an exact Jacobian in one backward pass."""
_TOGETHER: Final = 2**20
"""Entries of the inputs that are looked at together, where one has fewer."""
_LONGEST: Final = 2**22
"""Entries of a vector of which Lanczos keeps forty."""
_APART: Final = 1e-6
"""Up to which share of its own gradient that of other inputs is rounding."""
_ATTENTION: Final = 2**26
"""Entries of attention matrices that may be kept, so that there is a second derivative."""


def spectrum_of(
    model: nn.Module,
    batch: object,
    graph: Graph,
    first: Value,
    last: Value,
    *,
    training: bool | None,
    exact_up_to: int = 256,
    inputs: int = 4,
    seed: int = 0,
) -> tuple[Spectrum | None, str]:
    """The singular values of d(last)/d(first), two values of ``graph``; and what is to be said.

    ``graph`` is of a run of ``model`` on ``batch`` in this mode; the model runs again, from the
    generators' present states, and is then as it was. Of the first ``inputs`` inputs of the batch
    each has a matrix of its own; where inputs act on each other, as in batch normalization, it is
    the one of the whole batch. Up to ``exact_up_to`` entries at both ends all singular values are
    computed; beyond that their mean square is estimated, and the extreme ones sought. They are
    those of the arithmetic of the model: under a rounding unit of the largest, they are noise.

    Without a spectrum the text says why; else what it is not.
    """
    names = _name(graph, first), _name(graph, last)
    ways: list[AbstractContextManager[None]] = [nullcontext()]
    if _needs_second_derivative(graph):
        # The fused kernels of attention have none.
        ways.insert(0, sdpa_kernel(SDPBackend.MATH))
    said = ""
    for way in ways:
        try:
            with torch.inference_mode(mode=False), observing(model, training=training):
                ends = _run(model, batch, graph, (first, last), way)
                if isinstance(ends, str):
                    said = ends
                    continue
                with torch.enable_grad():
                    jacobian = _Jacobian(*ends, batch, inputs)
                    return _spectrum(jacobian, names, exact_up_to, seed)
        except FaninError as error:
            said = f"the model did not run again: {error.what}"
        except Exception as error:  # noqa: BLE001 - whatever a user's own backward raises
            said = f"no derivative: {_line(error)}"
    return None, said


def _name(graph: Graph, value: Value) -> str:
    node = value.node
    if any(value is result for result in graph.results):
        return "output"
    while node.kind in ("view", "copy") and node.inputs:
        node = node.inputs[0].node
    weight = weight_operand(node) if node.kind in ("product", "lookup") else None
    if weight is not None:
        return weight.parameter.removesuffix(".weight")
    return node.module or node.operation


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160]


def _needs_second_derivative(graph: Graph) -> bool:
    entries = 0
    for node in graph.of_kind("attention"):
        query, key = node.inputs[0].shape, node.inputs[1].shape
        entries += prod(query[:-1]) * key[-2]
    return 0 < entries <= _ATTENTION


def _run(
    model: nn.Module,
    batch: object,
    graph: Graph,
    ends: tuple[Value, Value],
    way: AbstractContextManager[None],
) -> tuple[Edge, Edge] | str:
    """Where the two values are in autograd's graph of one more run; or why they are not."""
    recorder = Recorder()
    edges = Edges(graph, *ends, recorder)
    given = own_batch(batch)
    for tensor in results_in(given):
        recorder.source(tensor, "input", "input")
        if ends[0].node.kind == "input" and tensor.is_floating_point():
            edges.see(tensor.requires_grad_(True))  # noqa: FBT003
    for parameter in model.parameters():
        # A frozen layer passes gradients on, but what comes first has to ask for them.
        if parameter.is_floating_point() and not parameter.is_inference():
            parameter.requires_grad_(True)  # noqa: FBT003
    with way, recording(recorder, model, gradients=True), edges.following():
        result = run_recorded(model, given, recorder)
        for tensor in results_in(result):
            edges.see(tensor)
    return edges.found()


def _spectrum(
    jacobian: "_Jacobian", names: tuple[str, str], exact_up_to: int, seed: int
) -> tuple[Spectrum | None, str]:
    is_exact = max(jacobian.inputs, jacobian.outputs) <= exact_up_to
    measured = _exactly(jacobian) if is_exact else _estimated(jacobian, seed)
    if measured is None:
        return None, "the Jacobian is not finite"
    whole = "of the whole batch, whose inputs act on each other" if jacobian.is_whole else ""
    spectrum = Spectrum(
        first=names[0],
        last=names[1],
        exact=is_exact,
        values=tuple(measured.values.tolist()),
        mean_square=measured.mean_square,
        error=measured.error,
        inputs=jacobian.batch if jacobian.is_whole else jacobian.rows,
    )
    return spectrum, "; ".join(text for text in (whole, measured.said) if text)


@final
@dataclass(frozen=True, slots=True)
class _Measured:
    """Singular values, the mean square of all with its standard error, and what is to be said."""

    values: Tensor
    mean_square: float
    error: float = 0.0
    said: str = ""


def _exactly(jacobian: "_Jacobian") -> _Measured | None:
    matrices = jacobian.dense().double()
    if not bool(matrices.isfinite().all()):
        return None
    values = torch.linalg.svdvals(matrices).flatten().sort(descending=True).values
    return _Measured(values, float(values.square().mean()))


def _estimated(jacobian: "_Jacobian", seed: int) -> _Measured | None:
    generator = torch.Generator().manual_seed(_key(seed))
    operator = jacobian.operator()
    square, error = mean_square(operator, generator, probes=_PROBES)
    if not isfinite(square):
        return None
    values, said = _extremes(operator, generator)
    return _Measured(values, square, error, said)


def _extremes(operator: Operator, generator: Generator) -> tuple[Tensor, str]:
    """The extreme singular values that were found, and why there are none."""
    none = torch.zeros(0)
    if max(operator.inputs, operator.outputs) > _LONGEST:
        return none, "extreme values not sought: the vectors are too long"
    try:
        values = extremes(operator, generator, steps=_STEPS)
    except Exception as error:  # noqa: BLE001 - whatever a user's own code raises
        return none, f"extreme values not sought: no second derivative ({_line(error)})"
    return values, "" if values.numel() else f"no extreme value is known to 1 % in {_STEPS} steps"


def _key(seed: int) -> int:
    return int.from_bytes(Stream(seed, "jacobian").digest()[:8], "little") >> 1


@final
@dataclass(frozen=True, slots=True)
class _Split:
    """How the entries of a tensor belong to ``count`` inputs: as [outer, count, the rest]."""

    outer: int
    count: int

    def rows(self, tensor: Tensor) -> Tensor:
        """The entries of each input: [count, entries]."""
        return tensor.reshape(self.outer, self.count, -1).movedim(1, 0).reshape(self.count, -1)

    def whole(self, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A tensor of this shape from the rows of its first inputs, zero elsewhere."""
        full = torch.zeros(self.count, prod(shape) // self.count, dtype=rows.dtype)
        full[: len(rows)] = rows
        return full.reshape(self.count, self.outer, -1).movedim(0, 1).reshape(shape)


def _splits(shapes: Sequence[tuple[int, ...]], batch: object) -> Iterator[tuple[_Split, ...]]:
    """How the inputs may lie in tensors of these shapes, the likeliest first."""
    given = next((tuple(one.shape) for one in results_in(batch) if one.ndim), ())
    if given and all(shape and shape[0] % given[0] == 0 for shape in shapes):
        # Positions are often folded into the first axis, those of one input together.
        yield tuple(_Split(1, given[0]) for _ in shapes)
    outer = [_outer(shape, given) for shape in shapes]
    if all(outer):
        yield tuple(_Split(one, given[1]) for one in outer)
    yield tuple(_Split(1, 1) for _ in shapes)


def _outer(shape: tuple[int, ...], given: tuple[int, ...]) -> int:
    """How many positions lie before the axis of the inputs, for [positions, inputs, ...]; or 0."""
    if len(given) < 2 or not shape:
        return 0
    if shape[:2] == given[:2] or shape[0] == given[0] * given[1]:
        return given[0]
    return int(shape[0] == given[1])


@final
class _Jacobian:
    """d(last)/d(first), for each of the first inputs of the batch."""

    def __init__(self, first: Edge, last: Edge, batch: object, most: int) -> None:
        self.first, self.last, self.batch = first, last, batch_size(batch)
        shapes = first.shape, last.shape
        self.split = next(one for one in _splits(shapes, batch) if self._is_apart(*one))
        count = self.split[0].count
        self.is_whole = count == 1 and self.batch > 1
        self.inputs, self.outputs = (prod(shape) // count for shape in shapes)
        fitting = max(1, _TOGETHER // max(self.inputs, self.outputs, 1))
        self.rows = min(count, most, fitting)

    def _is_apart(self, first: _Split, last: _Split) -> bool:
        """Whether an input's output depends on this input alone: the gradient is zero elsewhere."""
        if first.count == 1:
            return True
        rows = torch.zeros(last.count, prod(self.last.shape) // last.count)
        middle = last.count // 2
        rows[middle] = torch.linspace(0.5, 1.5, rows.shape[1])
        gradient = first.rows(self._back(last.whole(rows, self.last.shape)))
        sizes = gradient.abs().amax(1)
        own = float(sizes[middle])
        sizes[middle] = 0
        return float(sizes.max()) <= _APART * own

    def _back(self, cotangent: Tensor) -> Tensor:
        found = torch.autograd.grad(
            [self.last.tensor],
            [self.first.edge],
            [self.last.like(cotangent)],
            retain_graph=True,
            allow_unused=True,
        )[0]
        return self.first.zeros() if found is None else found

    def operator(self) -> Operator:
        """Its products with vectors."""
        precision = max(torch.finfo(one.dtype).eps for one in (self.first, self.last))
        return Operator(
            self.rows, self.inputs, self.outputs, self._forward(), self._transposed, precision
        )

    def _transposed(self, rows: Tensor) -> Tensor:
        gradient = self._back(self.split[1].whole(rows, self.last.shape))
        return self._rows(self.split[0], gradient)

    def _rows(self, split: _Split, tensor: Tensor) -> Tensor:
        """The rows of the inputs that are looked at, in single precision or better."""
        wide = torch.promote_types(tensor.dtype, torch.float32)
        return split.rows(tensor.detach().to(device="cpu", dtype=wide))[: self.rows]

    def _forward(self) -> Product:
        """J v as the derivative by u of v · Jᵀu, whose graph is made once."""
        aside = self.last.zeros().requires_grad_(True)  # noqa: FBT003

        @cache
        def back() -> Tensor | None:
            return torch.autograd.grad(
                [self.last.tensor],
                [self.first.edge],
                [aside],
                create_graph=True,
                allow_unused=True,
            )[0]

        def times(rows: Tensor) -> Tensor:
            tangent = self.first.like(self.split[0].whole(rows, self.first.shape))
            linear = back()
            found = None
            if linear is not None and linear.requires_grad:
                found = torch.autograd.grad(
                    [linear], [aside], [tangent], retain_graph=True, allow_unused=True
                )[0]
            return self._rows(self.split[1], self.last.zeros() if found is None else found)

        return times

    def dense(self) -> Tensor:
        """The matrices, [rows, outputs, inputs]: a row of each at a time."""
        found = []
        units = torch.eye(self.outputs)
        for start in range(0, self.outputs, _AT_ONCE):
            block = units[start : start + _AT_ONCE]
            whole = [
                self.split[1].whole(one.expand(self.rows, -1), self.last.shape) for one in block
            ]
            gradients = self._back_together(self.last.like(torch.stack(whole)))
            found += [self._rows(self.split[0], one) for one in gradients]
        return torch.stack(found, 1)

    def _back_together(self, cotangents: Tensor) -> Iterable[Tensor]:
        try:
            found = torch.autograd.grad(
                [self.last.tensor],
                [self.first.edge],
                [cotangents],
                retain_graph=True,
                allow_unused=True,
                is_grads_batched=True,
            )[0]
        except Exception:  # noqa: BLE001 - as above
            # Not every derivative can be taken of several cotangents at once.
            return [self._back(one) for one in cotangents]
        return [self.first.zeros()] * len(cotangents) if found is None else found
