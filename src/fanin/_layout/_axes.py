"""A weight's axes by name, the fans that follow, and the matrices it is made of."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import final

from torch import Tensor

from fanin._errors import FaninError
from fanin._layout._block import Block
from fanin._layout._checks import as_tuple, check_sizes, check_words, place
from fanin._layout._words import Axis, Role

__all__ = ["Layout", "Part"]


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """``fan_in = connections / outputs`` and ``fan_out = connections / inputs`` of one weight.

    ``axes`` names every axis of ``shape``, as words in one string or a tuple: ``out``, ``in``,
    ``kernel``, ``batch`` (independent matrices, such as experts), ``lookup`` (one row is picked,
    as in an embedding) or ``channel`` (multiplied elementwise: norms, slopes). A weight without an
    ``in`` or ``lookup`` axis (a bias, a norm) has no fans.

    ``groups`` splits the first of the out and in axes, as torch's convolutions do.
    ``taps_per_output`` and ``taps_per_input`` count the kernel positions that reach one output and
    leave one input, on average over positions; they default to the kernel's size.
    ``blocks`` cuts the out axis into matrices that are drawn each on its own; the fans are those of
    one block.

    Raises:
        FaninError: for unknown words, or sizes that do not fit together.

    >>> Layout((8, 64, 32), "batch out in").fan_in
    32.0
    >>> Layout((768, 2304), "in out").fan_out
    2304.0
    """

    shape: tuple[int, ...]
    axes: tuple[Axis, ...] | str
    groups: int = 1
    taps_per_output: float | None = None
    taps_per_input: float | None = None
    blocks: tuple[Block, ...] = ()
    role: Role = "weight"
    operation: str = "matrix product"

    def __post_init__(self) -> None:
        axes = as_tuple("axes", self.axes.split() if isinstance(self.axes, str) else self.axes)
        object.__setattr__(self, "shape", as_tuple("shape", self.shape))
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "blocks", as_tuple("blocks", self.blocks))
        check_words(self)
        kernel = float(prod(self._sizes("kernel")))
        for name in ("taps_per_output", "taps_per_input"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, kernel)
        check_sizes(self)

    def _sizes(self, axis: Axis) -> tuple[int, ...]:
        return tuple(n for n, word in zip(self.shape, self.axes, strict=True) if word == axis)

    @property
    def _grouped_axis(self) -> int:
        return next(i for i, word in enumerate(self.axes) if word in ("out", "in"))

    def _per_group(self, axis: Axis) -> tuple[int, ...]:
        sizes = self._sizes(axis)
        if self.groups > 1 and self.axes[self._grouped_axis] == axis:
            return (sizes[0] // self.groups, *sizes[1:])
        return sizes

    @property
    def outputs(self) -> int:
        """How many outputs this weight or bias reaches, over all groups and blocks.

        >>> Layout((16, 8, 4), "in out kernel", groups=4).outputs
        32
        """
        shared = self.groups if self.groups > 1 and self.axes[self._grouped_axis] == "in" else 1
        return prod(self._sizes("out")) * shared

    @property
    def has_fans(self) -> bool:
        """Whether outputs are sums over inputs: not for a bias, a norm or a slope.

        >>> Layout((10,), "out", role="bias").has_fans
        False
        """
        return "out" in self.axes and ("in" in self.axes or "lookup" in self.axes)

    @property
    def fan_in(self) -> float:
        """Connections per output: ``in / groups * taps_per_output``.

        With weights of variance s² and inputs of mean square q the output's mean square is
        ``fan_in * s² * q``.

        Raises:
            FaninError: for a weight without fans.

        >>> Layout((32, 4, 3, 3), "out in kernel kernel", groups=4).fan_in
        36.0
        """
        self._require_fans("fan_in")
        return prod(self._per_group("in")) * _number(self.taps_per_output)

    @property
    def fan_out(self) -> float:
        """Connections per input, into one block: ``out / groups * taps_per_input``.

        With an output gradient of mean square g each block gives the input's gradient
        ``fan_out * s² * g``. Of several inputs (bilinear) it is that of the first.

        Raises:
            FaninError: for a weight without fans, or with blocks of different sizes.

        >>> Layout((32, 4, 3, 3), "out in kernel kernel", groups=4).fan_out
        72.0
        """
        self._require_fans("fan_out")
        sizes = {block.size for block in self.blocks} or {prod(self._per_group("out"))}
        if len(sizes) > 1:
            raise FaninError(
                "the blocks have different fan_out",
                where=place(self),
                found=", ".join(f"{block.name}: {block.size}" for block in self.blocks),
                fix="ask each of parts() for its own, or use fan_in",
            )
        others = prod(self._per_group("in")[1:])
        return sizes.pop() * others * _number(self.taps_per_input)

    def _require_fans(self, name: str) -> None:
        if not self.has_fans:
            raise FaninError(
                f"a weight with these axes has no {name}",
                where=place(self),
                found="no axis is summed over: fans need an 'out' axis and an 'in' or 'lookup' one",
                fix="use an initializer without fans (Zeros, Ones, Constant, Normal, Uniform), "
                "or name the axes: Layout(shape, 'out in')",
            )

    def check(self, tensor: Tensor) -> None:
        """Raises FaninError unless ``tensor`` has this layout's shape."""
        if tuple(tensor.shape) != self.shape:
            raise FaninError(
                "the layout does not fit the tensor",
                where=place(self),
                found=f"a tensor of shape {tuple(tensor.shape)}",
                fix="take the layout of this very parameter: fanin.layout(module, 'weight')",
            )

    def parts(self) -> tuple["Part", ...]:
        """The matrices that this weight is made of: one for each batch entry, group and block.

        >>> packed = Layout((6, 4), "out in", blocks=(Block("gate", 3), Block("up", 3)))
        >>> [part.name for part in packed.parts()]
        ['gate', 'up']
        """
        return tuple(self._parts())

    def _parts(self) -> Iterator["Part"]:
        cuts = [self._cuts(position) for position in range(len(self.shape))]
        layouts: dict[tuple[int, ...], Layout] = {}
        for choice in product(*cuts):
            index = tuple(piece for _, piece in choice)
            sizes = tuple(piece.stop - piece.start for piece in index)
            if sizes not in layouts:
                layouts[sizes] = replace(self, shape=sizes, groups=1, blocks=())
            yield Part(".".join(label for label, _ in choice if label), index, layouts[sizes])

    def _cuts(self, position: int) -> list[tuple[str, slice]]:
        size, word = self.shape[position], self.axes[position]
        if word == "batch":
            return [(str(i), slice(i, i + 1)) for i in range(size)]
        groups = self.groups if self.groups > 1 and position == self._grouped_axis else 1
        blocks = self.blocks if word == "out" else ()
        if not blocks:
            labels = [str(i) if groups > 1 else "" for i in range(groups)]
            blocks_here = [(label, size // groups) for label in labels]
        else:
            blocks_here = [(block.name, block.size) for block in blocks]
        cuts, start = [], 0
        for label, length in blocks_here:
            cuts.append((label, slice(start, start + length)))
            start += length
        return cuts

    def _matrix_axes(self) -> tuple[list[int], list[int]]:
        rows = [i for i, word in enumerate(self.axes) if word == "out"]
        columns = [i for i, word in enumerate(self.axes) if word in ("in", "lookup")]
        return rows, columns

    def matrix_shape(self) -> tuple[int, int]:
        """``(outputs, inputs * kernel)`` of a part, the shape `from_matrix` takes.

        >>> Layout((16, 8, 3, 3), "out in kernel kernel").matrix_shape()
        (16, 72)
        """
        self._require_matrix()
        rows, columns = self._matrix_axes()
        kernel = prod(self._sizes("kernel"))
        return (
            prod(self.shape[i] for i in rows),
            prod(self.shape[i] for i in columns) * kernel,
        )

    def from_matrix(self, matrix: Tensor) -> Tensor:
        """A part ``[*shape]`` from its matrix ``[out, in * kernel]``, whatever its axis order.

        >>> import torch
        >>> Layout((2, 3), "in out").from_matrix(torch.arange(6.0).view(3, 2)).tolist()
        [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]
        """
        rows, columns = self._matrix_axes()
        kernel = [i for i, word in enumerate(self.axes) if word == "kernel"]
        batch = [i for i, word in enumerate(self.axes) if word == "batch"]
        order = [*batch, *rows, *columns, *kernel]
        inverse = [order.index(i) for i in range(len(order))]
        return matrix.reshape([self.shape[i] for i in order]).permute(inverse)

    def at_centre(self, matrix: Tensor) -> Tensor:
        """A part that is ``matrix`` [out, in] at the kernel's centre tap and zero elsewhere.

        >>> import torch
        >>> Layout((1, 1, 3), "out in kernel").at_centre(torch.ones(1, 1)).tolist()
        [[[0.0, 1.0, 0.0]]]
        """
        kernel = self._sizes("kernel")
        taps = matrix.new_zeros((*matrix.shape, *kernel))
        centre: tuple[int | slice, ...] = (slice(None), slice(None), *(n // 2 for n in kernel))
        taps[centre] = matrix
        return self.from_matrix(taps.flatten(1))

    def channels_shape(self) -> tuple[int, int]:
        """``(outputs, inputs)`` of a part, without the kernel: the shape `at_centre` takes."""
        rows, columns = self.matrix_shape()
        return rows, columns // prod(self._sizes("kernel"))

    def along_outputs(self, values: Tensor) -> Tensor:
        """``values`` [out] shaped to this layout, for a weight whose only axis is ``out``."""
        if self.axes != ("out",):
            raise FaninError(
                "one value for each output needs a bias",
                where=place(self),
                found=f"axes {' '.join(self.axes)}",
                fix="use this initializer for a bias: fanin.layout(module, 'bias')",
            )
        return values.reshape(self.shape)

    def row(self, tensor: Tensor, number: int) -> Tensor:
        """The view of ``tensor`` that is row ``number`` of a table."""
        return tensor.select(self.axes.index("lookup"), number)

    def narrow_outputs(self, times: int) -> "Layout":
        """The same weight with ``times`` times fewer outputs, in one group, for repeated draws."""
        if self.groups > 1 or self.blocks or self.outputs % times:
            raise FaninError(
                "the outputs cannot be shared evenly",
                where=place(self),
                found=f"{self.outputs} outputs to be repeated {times} times, "
                f"{self.groups} groups, {len(self.blocks)} blocks",
                fix="use a layer in one group whose out channels divide by upscale squared",
            )
        rows, _ = self._matrix_axes()
        shape = tuple(n // times if i == rows[0] else n for i, n in enumerate(self.shape))
        return replace(self, shape=shape)

    def repeat_outputs(self, tensor: Tensor, times: int) -> Tensor:
        """``tensor`` with every output repeated ``times`` times in place, along the out axis."""
        rows, _ = self._matrix_axes()
        return tensor.repeat_interleave(times, dim=rows[0])

    def _require_matrix(self) -> None:
        if not self.has_fans:
            raise FaninError(
                "a weight with these axes is not a matrix",
                where=place(self),
                found=f"axes {' '.join(self.axes) or '(none: a scalar)'}",
                fix="use an elementwise initializer (Zeros, Normal, Uniform), "
                "or name the axes: Layout(shape, 'out in')",
            )

    def __str__(self) -> str:
        named = ", ".join(f"{word}={n}" for n, word in zip(self.shape, self.axes, strict=True))
        extra = f", groups={self.groups}" if self.groups > 1 else ""
        blocks = f", blocks {'/'.join(block.name for block in self.blocks)}" if self.blocks else ""
        return f"{self.operation} [{named}{extra}{blocks}]"


@final
@dataclass(frozen=True, slots=True)
class Part:
    """One matrix of a weight: where it lies in the tensor, and its own layout."""

    name: str
    index: tuple[slice, ...]
    layout: Layout


def _number(taps: float | None) -> float:
    assert taps is not None  # noqa: S101 - filled in by __post_init__
    return float(taps)
