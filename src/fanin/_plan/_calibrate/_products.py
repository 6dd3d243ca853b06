"""Products with a weight: where the weight stands, its output alone, and the spread of that."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isfinite, nan, sqrt
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast, final

import torch
from torch import Tensor
from torch._ops import OpOverload

__all__ = [
    "LOOKUPS",
    "PICKS",
    "PRODUCTS",
    "Product",
    "Spread",
    "differs_by_input",
    "output_units",
    "spread_of",
]

_FIRST, _SECOND = ((0, 0),), ((1, 1),)
_BATCHED = ((0, 0), (1, 1)), ((0, 0), (2, 2))


@final
@dataclass(frozen=True, slots=True)
class Product:
    """``free``: for each argument that may be the weight, which of its axes is which of the output.

    ``summand``: the place of the argument that is added to the product.
    """

    free: Mapping[int, tuple[tuple[int, int], ...]]
    summand: int | None = None

    def alone(
        self, call: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[object, Callable[[Tensor], None] | None]:
        """The result without the summand, and what adds it in place afterwards."""
        added = (
            args[self.summand] if self.summand is not None and self.summand < len(args) else None
        )
        if added is None:
            return call(*args, **kwargs), None
        if self.summand != 0:
            without = [None if place == self.summand else one for place, one in enumerate(args)]
            return call(*without, **kwargs), lambda out: _add_bias(out, added)
        # What is written in place, or given as `out`, may be the summand itself.
        kept = added.clone() if call._schema.is_mutable else added  # noqa: SLF001 - torch's own name
        beta = kwargs.get("beta", 1)
        result = call(*args, **{**kwargs, "beta": 0})
        return result, lambda out: _add(out, kept, beta)


def _add(out: Tensor, summand: Tensor, beta: float) -> None:
    if beta != 0:
        out.add_(summand, alpha=beta)


def _add_bias(out: Tensor, bias: Tensor) -> None:
    """A convolution's channels are axis 1, a linear layer's outputs the last."""
    out.add_(bias.reshape(-1, *[1] * (out.dim() - 2)) if out.dim() > 2 else bias)


PICKS: Final = ("index", "index_select", "gather")
LOOKUPS: Final = (*PICKS, "embedding", "_embedding_bag", "_embedding_bag_forward_only")
PRODUCTS: Final[Mapping[str, Product]] = MappingProxyType(
    {
        "mm": Product({0: _FIRST, 1: _SECOND}),
        "addmm": Product({1: _FIRST, 2: _SECOND}, summand=0),
        "bmm": Product({0: _BATCHED[0], 1: _BATCHED[1]}),
        "baddbmm": Product({1: _BATCHED[0], 2: _BATCHED[1]}, summand=0),
        "mv": Product({0: _FIRST, 1: ()}),
        "addmv": Product({1: _FIRST, 2: ()}, summand=0),
        "convolution": Product({1: ((0, 1),)}, summand=2),
        "_trilinear": Product({1: ((0, -1),)}),
        "embedding": Product({0: ((1, -1),)}),
        "_embedding_bag": Product({0: ((1, -1),)}),
        "_embedding_bag_forward_only": Product({0: ((1, -1),)}),
        "_grouped_mm": Product({1: ((0, 0), (2, 1))}),
        **dict.fromkeys(PICKS, Product({0: ()})),
    }
)
"""Products as torch dispatches them, by name without overload or underscore."""


def output_units(
    call: OpOverload,
    name: str,
    args: Sequence[Any],
    place: int,
    labels: Tensor,
    output: Tensor,
) -> Tensor:
    """The unit of each output entry, shaped to broadcast against ``output``.

    ``labels``: the unit of each entry of the weight as it stands at ``place`` among ``args``.
    """
    if name in PICKS:
        return cast("Tensor", call(labels, *args[1:]))
    if name == "convolution" and args[6]:
        # [in, out / groups, *kernel]: the groups lie along the in axis.
        groups = int(args[8])
        rows = labels.flatten(2)[..., 0][:: labels.shape[0] // groups].reshape(-1)
        return rows.reshape(1, -1, *[1] * (output.dim() - 2))
    if name == "_grouped_mm":
        return _of_grouped(labels, args[2], output)
    free = PRODUCTS[name].free[place]
    index: list[int | slice] = [0] * labels.dim()
    shape = [1] * output.dim()
    for axis, becomes in free:
        index[axis] = slice(None)
        shape[becomes] = labels.shape[axis]
    return labels[tuple(index)].reshape(shape)


def _of_grouped(labels: Tensor, ends: Tensor, output: Tensor) -> Tensor:
    """Rows of the input one expert after the other; ``ends`` says where each one's rows end."""
    rows = torch.arange(output.shape[0], device=ends.device, dtype=ends.dtype)
    expert = torch.bucketize(rows, ends, right=True).clamp(max=labels.shape[0] - 1)
    return labels[:, 0][expert]


def differs_by_input(name: str, place: int, output: Tensor) -> bool:
    """Whether an output is not the same for all inputs; of one input nobody can tell, so True.

    What a net makes of its biases alone varies over outputs, and an image's border over positions.
    """
    if name in ("convolution", "_grouped_mm"):
        axis = 0
    else:
        outputs = {becomes % output.dim() for _, becomes in PRODUCTS[name].free[place]}
        axis = next((one for one in range(output.dim()) if one not in outputs), -1)
    if axis < 0 or output.shape[axis] < 2:
        return True
    first = output.narrow(axis, 0, 1)
    least = sqrt(torch.finfo(output.dtype).eps) * first.abs().max()
    # The last one tells it nearly always, and at less cost than all.
    others = (output.narrow(axis, output.shape[axis] - 1, 1), output)
    return any(bool((other - first).abs().max() > least) for other in others)


@final
@dataclass(frozen=True, slots=True)
class Spread:
    """For each unit the std of its outputs, 0 where they are all but the same, and how many."""

    std: list[float]
    count: list[float]

    @property
    def is_finite(self) -> bool:
        """Whether all outputs are."""
        return all(map(isfinite, self.std))

    @property
    def over_all(self) -> float:
        """The root mean square of the stds."""
        squares = fsum(n * std**2 for n, std in zip(self.count, self.std, strict=True))
        return sqrt(squares / fsum(self.count))


def spread_of(output: Tensor, units: Tensor | None = None, number: int = 1) -> Spread:
    """The spread of an output about its mean, for each of ``number`` units.

    >>> spread_of(torch.tensor([1.0, 3.0])).std
    [1.0]
    """
    narrow = output.dtype in (torch.bfloat16, torch.float16)
    moments = _moments(output.float() if narrow else output, units, number)
    if not all((isfinite(v) and abs(m) ** 2 + v > _SMALLEST) or not n for n, m, v in moments):
        # Squares beyond what float32 holds, or below.
        moments = _moments(_wide(output), units, number)
    # A spread that is a smaller part of the mean has lost half of its digits to rounding.
    least = sqrt(torch.finfo(output.dtype).eps)
    stds = [_certain(variance, abs(mean), least) for _, mean, variance in moments]
    return Spread(stds, [count for count, _, _ in moments])


_SMALLEST: Final = 1e-30
Moments: TypeAlias = tuple[float, complex, float]
"""How many entries, their mean, and their variance about it."""


def _certain(variance: float, mean: float, least: float) -> float:
    """The std; 0 where it is so small a part of the mean, not a number where there is none.

    >>> _certain(1e-14, 1.0, least=1e-6)
    0.0
    """
    if not isfinite(variance):
        return nan
    return sqrt(variance) if variance > least**2 * (variance + mean**2) else 0.0


def _moments(output: Tensor, units: Tensor | None, number: int) -> list[Moments]:
    if units is None:
        mean, variance = _by_row(output.reshape(-1))
        return [(float(output.numel()), mean.item(), variance.item())]
    axes = [axis for axis in range(output.dim()) if units.shape[axis] == 1]
    others = [axis for axis in range(output.dim()) if axis not in axes]
    # Each row in one stretch of memory: reductions over outer axes are many times slower.
    rows = output.permute(*others, *axes).flatten(len(others)) if axes else output.unsqueeze(-1)
    return _pooled(*_by_row(rows.contiguous()), units, number, output.numel() / units.numel())


def _by_row(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the variance along the last axis, in two passes."""
    mean = rows.mean(-1, keepdim=True)
    centred = rows - mean
    squares = centred.abs().square_() if rows.is_complex() else centred.square_()
    return mean.squeeze(-1), squares.mean(-1)


def _pooled(
    means: Tensor, variances: Tensor, units: Tensor, number: int, each: float
) -> list[Moments]:
    """The moments of each unit from those of its rows, ``each`` of so many entries."""
    unit = units.flatten().to("cpu", torch.int64)
    rows = torch.bincount(unit, minlength=number).double()

    def average(values: Tensor) -> Tensor:
        wide = _wide(values.flatten()).cpu()
        return wide.new_zeros(number).index_add_(0, unit, wide) / rows.clamp(min=1)

    middle = average(means)
    squares = average(_wide(variances) + _wide(means).abs().square())
    spread = (squares - middle.abs().square()).tolist()
    return list(zip((rows * each).tolist(), middle.tolist(), spread, strict=True))


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.complex128 if values.is_complex() else torch.float64)
