"""Where the numbers of one tensor come from: its draw, another tensor, or its own module."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from torch import Tensor

from fanin._checkpoint._slices import slabs, whole
from fanin._engine import Region
from fanin._fill import Draw, Job, said_of, wanted_for
from fanin._plan import Entry
from fanin._plan._draw._apply import drawn_into, draws_alone
from fanin._plan._draw._slices import costs_its_size, slices
from fanin._plan._local._rebuild import rebuilt
from fanin._site import Site
from fanin._stream import Stream
from fanin._trace._names import Tensors
from fanin.initializers._base import take_region
from fanin.initializers._matrices import MatrixInitializer
from fanin.initializers._target import fill_target

__all__ = ["Drawn", "Kept", "Rebuilt", "Source", "Through"]


class Source(ABC):
    """The numbers of one tensor, a part at a time."""

    @abstractmethod
    def regions(self, shape: tuple[int, ...], most: int) -> Iterator[Region]:
        """The parts to take, in row-major order: of at most ``most`` elements where possible."""

    @abstractmethod
    def take(self, region: Region, out: Tensor) -> None:
        """``out``, of the region's shape, becomes the part."""


@final
@dataclass(frozen=True, slots=True)
class Drawn(Source):
    """The draw of a filled entry; ``row`` is the padding row."""

    entry: Entry
    draw: Draw
    seed: int

    def regions(self, shape: tuple[int, ...], most: int) -> Iterator[Region]:
        """Slices where a part costs its size; else one matrix of a batch, or the whole."""
        initializer, axes = self.draw.initializer, self.entry.axes
        if costs_its_size(initializer, self.entry):
            return slices(shape, most)
        is_batch = isinstance(initializer, MatrixInitializer) and axes.axes[:1] == ("batch",)
        return slabs(shape) if is_batch else whole(shape)

    def take(self, region: Region, out: Tensor) -> None:
        if region.is_whole or not draws_alone(self.draw.initializer):
            drawn_into(out, self.draw, self.seed)
            return
        stream, draw_into = Stream(self.seed, self.draw.stream), self.draw.initializer.draw_into
        with said_of(self.draw.place):
            fill_target(out, lambda part: draw_into(part, self.entry.axes, stream, region))
        axis, row = self.padding(region)
        if row is not None:
            out.select(axis, row).zero_()

    def padding(self, region: Region) -> tuple[int, int | None]:
        """The axis of the padding row, and the row in the region; None where it is not there."""
        words = self.entry.axes.axes
        if self.draw.padding_row is None or "lookup" not in words:
            return 0, None
        axis = words.index("lookup")
        row = self.draw.padding_row % region.full[axis] - region.start[axis]
        return axis, row if 0 <= row < region.count[axis] else None


@final
@dataclass(frozen=True, slots=True)
class Through(Source):
    """One of the tensors that a parametrization keeps, so that the weight is the draw."""

    job: Job
    number: int
    seed: int

    def regions(self, shape: tuple[int, ...], most: int) -> Iterator[Region]:  # noqa: ARG002
        """The whole."""
        return whole(shape)

    def take(self, region: Region, out: Tensor) -> None:  # noqa: ARG002 - it is the whole
        value = self.job.stored.new_empty(self.job.shape)
        drawn = drawn_into(value, self.job.draw, self.seed)
        out.copy_(wanted_for(self.job, drawn)[self.number])


@final
@dataclass(frozen=True, slots=True)
class Kept(Source):
    """What the tensor holds."""

    tensor: Tensor

    def regions(self, shape: tuple[int, ...], most: int) -> Iterator[Region]:
        """Slices."""
        return slices(shape, most)

    def take(self, region: Region, out: Tensor) -> None:
        out.copy_(take_region(self.tensor.detach(), region))


@final
@dataclass(frozen=True, slots=True)
class Rebuilt(Source):
    """What the tensor's own module writes into it."""

    target: Tensors
    site: Site | None

    @property
    def is_known(self) -> bool:
        """Whether the module writes the same each time."""
        return rebuilt(self.target, self.site) is not None

    def regions(self, shape: tuple[int, ...], most: int) -> Iterator[Region]:  # noqa: ARG002
        """The whole."""
        return whole(shape)

    def take(self, region: Region, out: Tensor) -> None:  # noqa: ARG002 - it is the whole
        values = rebuilt(self.target, self.site)
        assert values is not None  # noqa: S101 - looked at before anything is written
        out.copy_(values)
