"""Copies of the drawn starts, shown by the model's own parameters while it runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from fanin._fill import Job, padding_row
from fanin._plan._calibrate._drawing import drawn_beside
from fanin._plan._calibrate._targets import Wanted
from fanin._plan._calibrate._weights import Per, Weight, units_of, write_through
from fanin._plan._draw._apply import draw_of
from fanin._plan._draw._match import Pair
from fanin._plan._entry import Entry
from fanin._trace._names import Tensors

__all__ = ["Copies"]


@final
@dataclass(slots=True)
class Copies:
    """The drawn starts of a plan, and the weights among them that are measured."""

    tensors: list[tuple[Tensors, Tensor, Job]] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)

    @classmethod
    def drawn(
        cls, pairs: Sequence[Pair], wanted: Mapping[str, Wanted], *, seed: int, per: Per
    ) -> "Copies":
        """One copy of each filled parameter, drawn for (seed, name) as `Plan.apply` draws it."""
        copies = cls()
        filled = [(entry, target) for entry, target in pairs if entry.state == "filled"]
        jobs = [
            Job(target.owner, target.local, draw_of(entry, padding_row(target.owner)))
            for entry, target in filled
        ]
        drawn = drawn_beside([(_like(job), job.draw) for job in jobs], seed)
        for (entry, target), job, copy in zip(filled, jobs, drawn, strict=True):
            copies.tensors.append((target, copy, job))
            if entry.name in wanted:
                copies.weights.append(_weight(entry, wanted[entry.name], job, copy, per))
        return copies

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Inside, the parameters of ``model`` show the copies; after, their own memory again.

        The parameters themselves stay the same objects, so ties, lists of them and what a
        recurrent layer has collected all show the copies.
        """
        shown = self._by_place()
        own = [(one, one.data) for one in model.parameters() if _place(one) in shown]
        try:
            for parameter, data in own:
                copy = shown[_place(parameter)]
                parameter.data = data.clone() if copy is None else copy
            for _, copy, job in self.tensors:
                if job.computed:
                    write_through(job, copy)
            for weight in self.weights:
                if weight.waits and weight.computed and not _is_proportional(weight):
                    weight.leave("its parametrization fixes its scale")
            yield
        finally:
            for parameter, data in own:
                parameter.data = data

    def _by_place(self) -> dict[object, Tensor | None]:
        """What is shown in place of which memory; None for a clone, to be written through."""
        shown: dict[object, Tensor | None] = {}
        for target, copy, job in self.tensors:
            if job.computed:
                shown.update((_place(kept), None) for kept in job.kept)
            else:
                shown[_place(target.tensors[0])] = copy
        return shown


def _weight(entry: Entry, wanted: Wanted, job: Job, copy: Tensor, per: Per) -> Weight:
    if wanted.std is not None and not _has_values(copy):
        wanted = Wanted(None, "it starts at zero, and zero has no scale")
    units = units_of(entry.site.layout, per) if wanted.std is not None else ()
    return Weight(entry, wanted, job, copy, units)


def _is_proportional(weight: Weight) -> bool:
    """Whether twice the value written makes twice the weight; not so for spectral norm."""
    job, value = weight.job, weight.copy
    once = getattr(job.owner, job.name).detach().clone()
    write_through(job, 2 * value)
    twice = getattr(job.owner, job.name).detach().clone()
    write_through(job, value)
    return bool(torch.allclose(twice, 2 * once, rtol=1e-3, atol=0))


def _has_values(copy: Tensor) -> bool:
    """Whether an entry is not zero; the first one tells it of almost all."""
    return copy.numel() > 0 and bool(copy.flatten()[0] != 0 or copy.any())


def _like(job: Job) -> Tensor:
    """Memory for the draw: as the parameter lies, so that the copy runs as fast."""
    stored = job.stored.detach()
    if job.computed or tuple(stored.shape) != job.shape:
        return stored.new_empty(job.shape)
    return torch.empty_like(stored)


def _place(tensor: Tensor) -> object:
    """What two names of one tensor have in common, be they one object or two."""
    if tensor.numel() == 0:
        return id(tensor)
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()
