"""A tensor in parts of bounded size, and whether a draw can be made in such parts."""

from collections.abc import Iterator
from itertools import product
from math import prod

from fanin._engine import Region
from fanin._plan._entry import Entry
from fanin.initializers import (
    Constant,
    DeltaOrthogonal,
    Initializer,
    LooksLinear,
    Normal,
    Orthogonal,
    ScaledOutputs,
    Uniform,
    VarianceScaling,
)

__all__ = ["costs_its_size", "is_product", "slices"]


def slices(shape: tuple[int, ...], most: int) -> Iterator[Region]:
    """Parts of at most ``most`` elements, in row-major order; none of an empty tensor.

    >>> [region.count for region in slices((3, 4), 8)]
    [(2, 4), (1, 4)]
    >>> [region.count for region in slices((2, 4), 3)]
    [(1, 3), (1, 1), (1, 3), (1, 1)]
    """
    if 0 in shape:
        return
    axis = 0
    while axis < len(shape) and prod(shape[axis + 1 :]) > most:
        axis += 1
    if axis == len(shape):
        yield Region.whole(shape)
        return
    inner = shape[axis + 1 :]
    step = max(1, most // prod(inner))
    steps = (1,) * len(shape)
    for outer in product(*map(range, shape[:axis])):
        for first in range(0, shape[axis], step):
            start = (*outer, first, *(0 for _ in inner))
            count = (*(1 for _ in outer), min(step, shape[axis] - first), *inner)
            yield Region(shape, start, count, steps)


def costs_its_size(initializer: Initializer, entry: Entry) -> bool:
    """Whether a part is drawn without the rest."""
    if isinstance(initializer, ScaledOutputs):
        return len(entry.axes.parts()) == 1 and costs_its_size(initializer.base, entry)
    alike = len({block.size for block in entry.axes.blocks}) <= 1
    return alike and isinstance(initializer, (Constant, Normal, Uniform, VarianceScaling))


def is_product(initializer: Initializer) -> bool:
    """Whether it is made by matrix products, which agree to 1e-6 between machines.

    >>> is_product(0.5 * Orthogonal()), is_product(Normal(1))
    (True, False)
    """
    base = getattr(initializer, "base", None)
    if isinstance(base, Initializer):
        return is_product(base)
    return isinstance(initializer, (Orthogonal, DeltaOrthogonal, LooksLinear))
