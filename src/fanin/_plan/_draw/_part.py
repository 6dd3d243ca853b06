"""The part of one parameter that this process holds: drawn alone, and checked alone."""

from dataclasses import dataclass, replace
from math import isfinite
from typing import final

from torch import Tensor

from fanin._engine import Region
from fanin._errors import FaninError
from fanin._fill import Draw, padding_row, said_of
from fanin._layout import Layout
from fanin._plan._draw._apply import draw_of, drawn_into, draws_alone
from fanin._plan._draw._check import stamp
from fanin._plan._draw._measure import measure
from fanin._plan._entry import Entry
from fanin._plan._local._flat import Piece
from fanin._plan._local._shards import held
from fanin._plan._receipt import Stamp
from fanin._stream import Stream
from fanin._trace._names import Tensors
from fanin.initializers import Constant, Normal, Uniform, VarianceScaling
from fanin.initializers._base import take_region
from fanin.initializers._target import fill_target

__all__ = ["Part"]


@final
@dataclass(frozen=True, slots=True)
class Part:
    """What this process is to draw of one parameter."""

    draw: Draw
    axes: Layout
    region: Region
    axis: int | None
    """The axis along which the padding row is one of many."""
    begin: int | None = None
    """Where, in the region in row-major order, what is held begins; None: it is the region."""

    @classmethod
    def of(
        cls, entry: Entry, target: Tensors, fsdp: set[int], piece: Piece | None = None
    ) -> "Part":
        """The part that is held; raises where it is not known which that is.

        ``fsdp``: the modules under ``fully_shard``; ``piece``: what FSDP1 holds of the parameter.
        """
        draw = draw_of(entry, padding_row(target.owner))
        if piece is None:
            return cls.of_tensor(draw, target.tensors[0], by_fsdp=id(target.owner) in fsdp)
        region, begin = piece.box()
        return cls._of_region(draw, region, begin)

    @classmethod
    def of_tensor(cls, draw: Draw, tensor: Tensor, *, by_fsdp: bool) -> "Part":
        """The part that a tensor is; raises where it is not known which that is."""
        return cls._of_region(draw, held(tensor, draw.stream, by_fsdp=by_fsdp), None)

    @classmethod
    def _of_region(cls, draw: Draw, region: Region, begin: int | None) -> "Part":
        axes = Layout((), "") if draw.layout is None else draw.layout
        words = axes.axes
        axis = words.index("lookup") if draw.padding_row is not None and "lookup" in words else None
        return cls(draw, axes, region, axis, begin)

    @property
    def row(self) -> int | None:
        """The padding row in the part, if it is there."""
        if self.axis is None or self.draw.padding_row is None:
            return None
        row = self.draw.padding_row - self.region.start[self.axis]
        return row if 0 <= row < self.region.count[self.axis] else None

    def draw_into(self, local: Tensor, seed: int) -> Tensor:
        """``local`` becomes the part; `Plan.apply` draws the same numbers there."""
        if self.begin is not None:
            box = replace(self, begin=None).draw_into(local.new_empty(self.region.count), seed)
            return local.copy_(box.flatten()[self.begin : self.begin + local.numel()])
        if self.region.is_whole:
            return drawn_into(local, self.draw, seed)
        if local.numel() == 0:
            return local
        if not draws_alone(self.draw.initializer):
            whole = local.new_empty(self.region.full)
            return local.copy_(take_region(drawn_into(whole, self.draw, seed), self.region))
        draw_into, stream = self.draw.initializer.draw_into, Stream(seed, self.draw.stream)
        with said_of(self.draw.place):
            fill_target(
                local,
                lambda out: draw_into(out, self.axes, stream, self.region),
                on_any_device=self.draw.initializer.on_any_device,
            )
        if self.axis is not None and self.row is not None:
            local.select(self.axis, self.row).zero_()
        return local

    def stamped(self, entry: Entry, local: Tensor, comparisons: int) -> Stamp:
        """The stamp of the drawn part, one of ``comparisons``; its std is judged where it can be.

        Raises:
            FaninError: for numbers that are not finite, or of another std than planned.
        """
        is_region = self.begin is None
        is_random = _is_drawn_one_by_one(entry) and (is_region or self.row is None)
        if (self.region.is_whole and is_region) or is_random:
            return stamp(entry, local, self.row, comparisons=comparisons)
        found = measure(local)
        if not isfinite(found.squares):
            raise FaninError(
                "a tensor is not what the plan says",
                where=f"{entry.name}: {entry.initializer!r}",
                found="numbers that are not finite",
                fix="report it with this plan: it is an error of fanin, or of code that writes to "
                "the model at the same time",
            )
        return Stamp(entry.name, "filled", found.checksum)


def _is_drawn_one_by_one(entry: Entry) -> bool:
    """Whether a part has the std of the whole: not so for orthogonal matrices, or unlike blocks."""
    alike = len({block.size for block in entry.axes.blocks}) <= 1
    return alike and isinstance(entry.initializer, (Constant, Normal, Uniform, VarianceScaling))
