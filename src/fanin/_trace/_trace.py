"""The trace of a model: its sites, and how they were found."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, final

from torch import nn

from fanin._errors import FaninError, nearest
from fanin._observe import require_shapes
from fanin._site import Site
from fanin._text import table
from fanin._trace._flow import Flow
from fanin._trace._names import Tensors, tensors_of
from fanin._trace._roles import Reading
from fanin._trace._run import describe, graph_of
from fanin._trace._siblings import completed
from fanin._trace._sites import sites_of

__all__ = ["Trace", "trace"]

Mode = Literal["evaluation", "training", "evaluation and training"]


@final
@dataclass(frozen=True, slots=True)
class Trace:
    """The sites of a model, parameters before buffers, and how they were found.

    ``mode`` says in which mode the model ran, ``operations`` how many operations were seen.

    >>> import torch
    >>> found = trace(nn.Linear(3, 2), torch.ones(4, 3))
    >>> print(found)
    trace of Linear: 2 tensors, 6 operations, evaluation mode, on float32 4x3
    name    role     axes                          activation  runs
    ------  -------  ----------------------------  ----------  ----
    weight  readout  matrix product [out=2, in=3]  identity       1
    bias    bias     sum [out=2]                   identity       1
    """

    model: str
    sites: tuple[Site, ...]
    mode: Mode
    batch: str
    operations: int

    def __str__(self) -> str:
        rows = [
            [site.name, site.role, str(site.layout or "unknown"), _name(site), str(site.uses)]
            for site in self.sites
        ]
        head = (
            f"trace of {self.model}: {len(self)} tensors, {self.operations} operations, "
            f"{self.mode} mode, on {self.batch}\n"
        )
        columns = ["name", "role", "axes", "activation", "runs"]
        return head + table(columns, rows, left=(0, 1, 2, 3), width=120)

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def __getitem__(self, name: str) -> Site:
        """The site of this name, also of a tied one.

        Raises:
            FaninError: if there is none, with the nearest names.
        """
        for site in self.sites:
            if name == site.name or name in site.tied or name in site.stored:
                return site
        raise FaninError(
            "there is no such parameter",
            where=f"the trace of {self.model}",
            found=repr(name),
            fix=f"use one of: {nearest(name, [site.name for site in self.sites])}",
        )


def trace(model: nn.Module, batch: object, *, training: bool | None = None) -> Trace:
    """What each parameter and buffer of ``model`` does, learned from running ``batch`` once.

    ``batch`` is a tensor, a tuple of positional or a mapping of keyword arguments. The model is
    then bit for bit as before. It runs in evaluation mode, and again in training mode if some
    parameters did not run; ``training`` True or False asks for one mode only. Parameters that ran
    in neither are described like a sibling (another expert) where there is one.

    On the meta device nothing is computed, so a model of any size is traced without memory.

    Raises:
        FaninError: if the model fails on the batch, needs data that meta tensors do not have, has
            lazy parameters, or changes its own parameters.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> site = trace(net, torch.randn(4, 8))["2.weight"]
    >>> site.activation, site.role
    ('relu', 'readout')
    """
    if not isinstance(model, nn.Module):
        raise FaninError(
            "this is not a model",
            where="fanin.trace",
            found=repr(model)[:80],
            fix="give a torch.nn.Module",
        )
    require_shapes(model)
    tensors = tensors_of(model)
    first = bool(training)
    graph = graph_of(model, tensors, batch, training=first)
    sites = sites_of(Reading(Flow(graph)), tensors, "training" if first else "evaluation")
    mode: Mode = "training" if first else "evaluation"
    operations = len(graph.nodes)
    if training is None and any(_is_missing(site) for site in sites):
        sites, ran = _with_training(model, tensors, batch, sites)
        mode = "evaluation and training" if ran else mode
    return Trace(type(model).__name__, completed(sites), mode, describe(batch), operations)


def _name(site: Site) -> str:
    if isinstance(site.activation, str):
        return site.activation
    return getattr(site.activation, "__name__", repr(site.activation))


def _is_missing(site: Site) -> bool:
    return site.uses == 0 and site.role != "buffer"


def _with_training(
    model: nn.Module, tensors: list[Tensors], batch: object, sites: list[Site]
) -> tuple[list[Site], bool]:
    try:
        graph = graph_of(model, tensors, batch, training=True)
    except FaninError:
        # In training mode a model may want more than a batch (targets); what evaluation mode
        # showed stands, and what did not run is said not to have run.
        return sites, False
    others = sites_of(Reading(Flow(graph)), tensors, "training")
    merged = [
        other if _is_missing(site) and not _is_missing(other) else site
        for site, other in zip(sites, others, strict=True)
    ]
    return merged, merged != sites
