"""Draw the parameters of one layer, named as the layer's arguments name them."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from typing import TypeVar, cast, final

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import parametrize

from fanin._errors import FaninError, nearest
from fanin._layout import Layout, layout
from fanin.initializers import Initializer, InitializerLike, as_initializer
from fanin.initializers._base import take_seed
from fanin.initializers._target import has_no_data, require_writable

__all__ = ["argument_names", "as_values", "fill", "fill_chosen", "parameter_names"]

Layer = TypeVar("Layer", bound=nn.Module)

_SUFFIX = "_initializer"


def parameter_names(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """For each kind of parameter that ``module`` owns, the names of its tensors.

    The kind is the parameter's name; a recurrent layer's tensors of all layers and directions are
    one kind, and so are the query, key and value projections of attention.

    >>> parameter_names(nn.LSTM(2, 3, num_layers=2))["weight_hh"]
    ('weight_hh_l0', 'weight_hh_l1')
    """
    own = [name for name, value in module._parameters.items() if value is not None]  # noqa: SLF001
    own += list(getattr(module, "parametrizations", {}))
    kinds: dict[str, list[str]] = {}
    for name in own:
        kinds.setdefault(_kind(module, name), []).append(name)
    if isinstance(module, nn.MultiheadAttention):
        for name, value in module.out_proj.named_parameters():
            if value is not None:
                kinds[f"out_proj_{name}"] = [f"out_proj.{name}"]
    return {kind: tuple(names) for kind, names in kinds.items()}


def _kind(module: nn.Module, name: str) -> str:
    if isinstance(module, nn.RNNBase):
        return re.sub(r"_l\d+(_reverse)?$", "", name)
    if isinstance(module, nn.MultiheadAttention) and name.endswith("_proj_weight"):
        return "in_proj_weight"
    return name


def argument_names(module: nn.Module) -> tuple[str, ...]:
    """The ``*_initializer`` arguments that `fill` and ``fanin.nn`` take for this layer.

    >>> argument_names(nn.Linear(2, 3))
    ('weight_initializer', 'bias_initializer')
    """
    return tuple(kind + _SUFFIX for kind in parameter_names(module))


@final
@dataclass(frozen=True, slots=True)
class _Job:
    owner: nn.Module
    name: str
    initializer: Initializer
    layout: Layout
    stream_name: str
    parametrized: bool

    @property
    def place(self) -> str:
        return f"{type(self.owner).__name__}.{self.name}"

    @property
    def stored(self) -> Tensor:
        """The parameter; of a parametrized one, what is kept in its place.

        Reading the parameter itself would compute it, and spectral norm counts each reading.
        """
        if self.parametrized:
            return next(_parametrization(self.owner, self.name).parameters())
        tensor = getattr(self.owner, self.name)
        assert isinstance(tensor, Tensor)  # noqa: S101 - the layout was read from it
        return tensor


def as_values(initializers: Mapping[str, InitializerLike | None]) -> dict[str, Initializer]:
    """The arguments that are not None, as initializers; an error names the argument."""
    values = {}
    for name, given in initializers.items():
        if given is not None:
            with _said_of(f"{name}={given!r}", instead=True):
                values[name] = as_initializer(given)
    return values


@contextmanager
def _said_of(place: str, *, instead: bool = False) -> Iterator[None]:
    """An error inside is raised again with ``place`` before, or instead of, where it was."""
    try:
        yield
    except FaninError as error:
        where = place if instead else f"{place}, {error.where}"
        raise FaninError(error.what, where=where, found=error.found, fix=error.fix) from None


def fill(
    module: Layer,
    *,
    seed: int | None = None,
    generator: Generator | None = None,
    **initializers: InitializerLike | None,
) -> Layer:
    """The named parameters of one built layer become their initializers' draws; returns the layer.

    The arguments are those of the layer's ``fanin.nn`` twin: ``weight_initializer``,
    ``bias_initializer``; for recurrent layers ``weight_ih_initializer`` and so on; for attention
    ``in_proj_weight_initializer``, ``out_proj_weight_initializer`` and so on. Parameters that are
    not named, or None, stay as they are. Each is a value, a number, a name, or a function
    ``(tensor, layout)``. A parametrized weight is written through its parametrization. The row
    ``padding_idx`` of an embedding is zero afterwards.

    The values are a function of the seed and the parameter's name in the layer. With no ``seed``,
    one number is taken from ``generator``, or from torch's global one.

    Raises:
        FaninError: for an argument that names no parameter of this layer, or that does not fit it.
            Nothing is written then.

    >>> import torch
    >>> layer = fill(nn.Linear(300, 100), weight_initializer="xavier_uniform", bias_initializer=0)
    >>> bool(layer.weight.abs().max() <= (6 / 400) ** 0.5), bool(layer.bias.any())
    (True, False)
    """
    if not isinstance(module, nn.Module):
        raise FaninError(
            "this is not a layer",
            where="fanin.fill",
            found=f"a {type(module).__name__}",
            fix="give a torch.nn.Module; for a tensor: initializer.fill_(tensor, layout=...)",
        )
    chosen = as_values(initializers)
    fill_chosen(module, chosen, seed=seed, generator=generator)
    return module


def fill_chosen(
    module: nn.Module,
    initializers: Mapping[str, Initializer],
    *,
    seed: int | None = None,
    generator: Generator | None = None,
) -> None:
    """`fill` with the initializers as values, by argument name."""
    jobs = _jobs(module, initializers)
    if all(has_no_data(job.stored) for job in jobs):
        with torch.no_grad():
            for job in jobs:
                _fill_in_place(job, job.stored, 0)  # refuses what could not be drawn
        return
    number = take_seed(seed, generator)
    # The largest is drawn in place and last, the others aside and before: whatever fails, nothing
    # has been written, and no second copy of the largest is made.
    plain = sorted(
        (job for job in jobs if not job.parametrized), key=lambda job: prod(job.layout.shape)
    )
    with torch.no_grad():
        aside = [(job.stored, _draw(job, number)) for job in plain[:-1]]
        for job in jobs:
            if job.parametrized:
                aside += _behind(job, _draw(job, number))
        for job in plain[-1:]:
            _fill_in_place(job, job.stored, number)
        for stored, value in aside:
            stored.copy_(value)


def _draw(job: _Job, seed: int) -> Tensor:
    stored = job.stored
    if not job.parametrized:
        require_writable(stored)
    aside = torch.empty(job.layout.shape, dtype=stored.dtype, device=stored.device)
    return _fill_in_place(job, aside, seed)


def _behind(job: _Job, value: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What a parametrization keeps, and what it is to keep for ``value``; found on a copy."""
    trial = deepcopy(job.owner)
    try:
        setattr(trial, job.name, value)
        # Before the weight is read: spectral norm steps when it is.
        wanted = [tensor.clone() for tensor in _kept(trial, job.name)]
    except Exception as error:  # noqa: BLE001 - a parametrization is the user's own code
        raise FaninError(
            "the parametrization does not take a value",
            where=job.place,
            found=f"{type(error).__name__}: {error}".splitlines()[0],
            fix="give it a right_inverse, or initialize what it is made of",
        ) from None
    if not bool(torch.isfinite(getattr(trial, job.name)).all()):
        raise FaninError(
            "the parametrization cannot express this start: it gives numbers that are not finite",
            where=job.place,
            found=f"{job.initializer!r} under {_parametrization(job.owner, job.name)}",
            fix="give a start without zero rows; weight norm, for one, divides by their norm",
        )
    return list(zip(_kept(job.owner, job.name), wanted, strict=True))


def _kept(owner: nn.Module, name: str) -> list[Tensor]:
    """The parameters and buffers from which a parametrized weight is computed."""
    module = _parametrization(owner, name)
    return [*module.parameters(), *module.buffers()]


def _parametrization(owner: nn.Module, name: str) -> nn.Module:
    return cast("nn.ModuleDict", owner.parametrizations)[name]


def _fill_in_place(job: _Job, tensor: Tensor, seed: int) -> Tensor:
    with _said_of(job.place):
        job.initializer.fill_(tensor, layout=job.layout, seed=seed, name=job.stream_name)
    _zero_padding_row(job, tensor)
    return tensor


def _zero_padding_row(job: _Job, tensor: Tensor) -> None:
    # No gradient ever reaches this row, so what a draw left there would stay: torch zeroes it too.
    if isinstance(job.owner, (nn.Embedding, nn.EmbeddingBag)) and job.owner.padding_idx is not None:
        job.layout.row(tensor, job.owner.padding_idx).zero_()


def _jobs(module: nn.Module, initializers: Mapping[str, Initializer]) -> list[_Job]:
    kinds = parameter_names(module)
    jobs = []
    for argument, initializer in initializers.items():
        names = kinds.get(argument.removesuffix(_SUFFIX)) if argument.endswith(_SUFFIX) else None
        if names is None:
            known = argument_names(module)
            raise FaninError(
                "this layer has no such parameter",
                where=f"{type(module).__name__}(... {argument}={initializer!r})",
                found=argument,
                fix=f"use one of: {nearest(argument, known)}"
                if known
                else "it owns none; fill the layers in it: for layer in module.modules()",
            )
        for name in names:
            path, _, local = name.rpartition(".")
            owner = module.get_submodule(path)
            hidden = parametrize.is_parametrized(owner, local)
            jobs.append(_Job(owner, local, initializer, layout(module, name), name, hidden))
    return jobs
