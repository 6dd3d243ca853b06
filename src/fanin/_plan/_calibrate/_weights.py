"""A weight of a calibrating run: its copy, with a factor for each unit of its outputs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import geometric_mean
from typing import Literal, final

import torch
from torch import Tensor

from fanin._fill import Job, refresh, wanted_for
from fanin._layout import Layout
from fanin._plan._calibrate._products import Spread
from fanin._plan._calibrate._targets import Wanted
from fanin._plan._entry import Entry
from fanin.initializers import Ones, ScaledOutputs

__all__ = ["Per", "Weight", "in_memory_of", "multiply", "units_of", "write_through"]

Per = Literal["tensor", "output"]


@final
@dataclass(slots=True, eq=False)
class Weight:
    """One weight of the run, and what is known of its outputs so far.

    Its outputs fall into units, each with a factor of its own: the blocks and experts of the
    weight, or every output. ``units`` has the unit of each output, and is empty where all outputs
    are one unit. ``found`` is each unit's std at its first use, before it was scaled, 0 for one
    that was the same for all inputs; ``later`` the std of the whole output at each further use.
    """

    entry: Entry
    wanted: Wanted
    job: Job
    copy: Tensor
    units: tuple[int, ...] = ()
    factors: list[float] = field(init=False)
    found: list[float | None] = field(init=False)
    later: list[float] = field(default_factory=list)
    uses: int = 0
    most: float = 0
    """How many numbers the largest unit was measured on."""
    differs: bool = False
    """Whether the output of a use was not the same for all inputs."""
    lost: str = ""
    """The operation behind which the weight could not be followed."""
    computed: bool = field(init=False)
    """Whether the module computes it from other tensors, and must be written through them."""
    is_open: list[bool] = field(init=False)
    """Whether each unit is still to be calibrated."""
    _labels: Tensor | None = None

    def __post_init__(self) -> None:
        self.computed = self.job.computed
        number = max(self.units, default=0) + 1
        self.factors, self.found, self.is_open = [1.0] * number, [None] * number, [True] * number

    @property
    def name(self) -> str:
        """The canonical name of the parameter."""
        return self.entry.name

    @property
    def waits(self) -> bool:
        """Whether a unit is still to be calibrated."""
        return self.wanted.std is not None and any(self.is_open)

    @property
    def is_table(self) -> bool:
        """Whether its rows are looked up."""
        layout = self.entry.site.layout
        return layout is not None and "lookup" in layout.axes

    def leave(self, why: str) -> None:
        """Measure it as a whole, and do not scale it."""
        self.wanted, self.units = Wanted(None, why), ()
        self.factors, self.found, self.is_open = [1.0], [None], [True]

    def holds(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` is a view of what `scale` multiplies."""
        own = self.job.kept if self.computed else [self.copy]
        address = tensor.untyped_storage().data_ptr()
        return any(one.untyped_storage().data_ptr() == address for one in own)

    @property
    def measured(self) -> list[float]:
        """The stds that were found, without the units that had none."""
        return [std for std in self.found if std]

    def first_use(self, spread: Spread, *, is_lookup: bool) -> list[float] | None:
        """The factors [unit] that one use asks for; None where it is not the first of any unit.

        An output without spread is passed by: a state that starts at zero is the input of many.
        One among others that have a spread gets their mean factor, and so the size of its siblings.
        """
        target = self.wanted.std
        if target is None or not any(self.is_open) or is_lookup != self.is_table:
            self._see(spread.over_all)
            return None
        here = [is_open and n > 0 for is_open, n in zip(self.is_open, spread.count, strict=True)]
        units = [unit for unit, is_here in enumerate(here) if is_here]
        own = {unit: target / spread.std[unit] for unit in units if spread.std[unit]}
        for unit in units:
            self.found[unit] = spread.std[unit]
            self.is_open[unit] = not own
        self.most = max(self.most, *spread.count)
        if not own:
            return None
        shared = geometric_mean(own.values())
        return [own.get(unit, shared if is_here else 1.0) for unit, is_here in enumerate(here)]

    def _see(self, std: float) -> None:
        """A use that nothing is made of."""
        if self.wanted.std is None and self.found[0] is None and std > 0:
            self.found[0] = std
        else:
            self.later.append(std)

    def labels(self) -> Tensor | None:
        """The unit of every entry of the copy, in the order of its memory; None for one unit."""
        if self._labels is None:
            self._labels = self.labels_in(self.copy)
        return self._labels

    def labels_in(self, tensor: Tensor) -> Tensor | None:
        """The unit of every entry of a tensor that holds the weight; as `labels`."""
        layout = self.entry.site.layout
        if not self.units or not self.waits or layout is None:
            return None
        units = ScaledOutputs(Ones, tuple(map(float, self.units)))
        wide = torch.float32 if len(self.factors) < 1 << 24 else torch.float64
        drawn = units.fill_(torch.empty(layout.shape, dtype=wide), layout=layout, seed=0)
        return in_memory_of(drawn, tensor)

    def scale(self, factors: Sequence[float]) -> None:
        """Multiply the copy, through its parametrization if it has one; ``factors`` [unit]."""
        self.factors = [a * b for a, b in zip(self.factors, factors, strict=True)]
        if not self.computed:
            multiply(flat(self.copy), self.labels(), factors)
        else:
            value = self.copy.clone()
            multiply(flat(value), self.labels(), self.factors)
            write_through(self.job, value)
        if not self.waits:
            self._labels = None


def in_memory_of(labels: Tensor, like: Tensor) -> Tensor:
    """``labels``, shaped as ``like``, in the order in which that lies in memory: [numel]."""
    placed = torch.empty_like(like, dtype=torch.int32)
    return flat(placed.copy_(labels))


def flat(tensor: Tensor) -> Tensor:
    """A dense tensor in the order in which it lies in memory."""
    return tensor.as_strided((tensor.numel(),), (1,))


def multiply(tensor: Tensor, labels: Tensor | None, factors: Sequence[float]) -> None:
    """Multiply each entry by the factor of its unit, in place; the labels are broadcast."""
    if labels is None:
        tensor.mul_(factors[0])
        return
    real = torch.float64 if tensor.dtype in (torch.float64, torch.complex128) else torch.float32
    tensor.mul_(torch.tensor(factors, dtype=real, device=tensor.device)[labels])


def write_through(job: Job, value: Tensor) -> None:
    """What the module keeps for a computed weight becomes such that it computes ``value``."""
    for kept, wanted in zip(job.kept, wanted_for(job, value), strict=True):
        if not torch.equal(kept, wanted):
            # By its data: a parameter that counts a write would have been changed by the model.
            kept.data.copy_(wanted)
    refresh(job.owner, job.name)


def units_of(layout: Layout | None, per: Per) -> tuple[int, ...]:
    """The unit of each output, in the order of `ScaledOutputs`; empty where all are one.

    By tensor, each block and each expert is a unit; the groups of a convolution are not.

    >>> units_of(Layout((2, 3, 4), "batch out in"), "tensor")
    (0, 0, 0, 1, 1, 1)
    """
    if layout is None or not layout.has_fans:
        return ()
    if per == "output":
        return tuple(range(layout.outputs * _batches(layout)))
    if not layout.blocks and "batch" not in layout.axes:
        return ()
    kept = ("batch", "out") if layout.blocks else ("batch",)
    numbers: dict[tuple[int, ...], int] = {}
    units: list[int] = []
    for part in layout.parts():
        starts = zip(part.index, layout.axes, strict=True)
        key = tuple(cut.start for cut, word in starts if word in kept)
        units += [numbers.setdefault(key, len(numbers))] * part.layout.outputs
    return tuple(units) if len(numbers) > 1 else ()


def _batches(layout: Layout) -> int:
    sizes = [n for n, word in zip(layout.shape, layout.axes, strict=True) if word == "batch"]
    return int(torch.Size(sizes).numel())
