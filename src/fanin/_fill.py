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
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from fanin._errors import FaninError, nearest
from fanin._layout import Layout, layout
from fanin.initializers import Initializer, InitializerLike, as_initializer
from fanin.initializers._base import take_seed
from fanin.initializers._target import has_no_data, require_writable

__all__ = [
    "Draw",
    "Job",
    "argument_names",
    "as_values",
    "fill",
    "fill_chosen",
    "is_computed",
    "kept_for",
    "padding_row",
    "parameter_names",
    "refresh",
    "said_of",
    "wanted_for",
]

Layer = TypeVar("Layer", bound=nn.Module)

_SUFFIX = "_initializer"
_POWER_STEPS = 15
"""As many as torch takes when a spectral norm is set up."""


def parameter_names(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """For each kind of parameter that ``module`` owns, the names of its tensors.

    The kind is the parameter's name; a recurrent layer's tensors of all layers and directions are
    one kind, and so are the query, key and value projections of attention.

    >>> parameter_names(nn.LSTM(2, 3, num_layers=2))["weight_hh"]
    ('weight_hh_l0', 'weight_hh_l1')
    """
    own = [name for name, value in module._parameters.items() if value is not None]  # noqa: SLF001
    own += list(getattr(module, "parametrizations", {}))
    for local, hook in _hooks(module).items():
        own = [local, *(name for name in own if name not in _behind(local, hook))]
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
class Draw:
    """The draw of one parameter, into any tensor of its shape."""

    initializer: Initializer
    layout: Layout | None
    stream: str
    """The name of its stream of random numbers."""
    place: str
    """How an error names it."""
    padding_row: int | None = None
    """The row of an embedding that is zero afterwards."""

    def fill_(self, tensor: Tensor, seed: int) -> Tensor:
        """``tensor`` becomes the draw for ``seed``, in place; it is returned."""
        with said_of(self.place):
            self.initializer.fill_(tensor, layout=self.layout, seed=seed, name=self.stream)
        axes = self.layout
        if self.padding_row is not None and axes is not None and "lookup" in axes.axes:
            with torch.no_grad():
                axes.row(tensor, self.padding_row).zero_()
        return tensor


@final
@dataclass(frozen=True, slots=True)
class Job:
    """A draw, and the parameter of a module that is to become it."""

    owner: nn.Module
    name: str
    draw: Draw

    @property
    def computed(self) -> bool:
        """Whether the module computes it from other tensors, and must be written through them."""
        return is_computed(self.owner, self.name)

    @property
    def kept(self) -> list[Tensor]:
        """The tensors that the module keeps for it."""
        return kept_for(self.owner, self.name)

    @property
    def stored(self) -> Tensor:
        """The parameter; of a computed one, the first of what is kept in its place.

        Reading the parameter itself would compute it, and spectral norm counts each reading.
        """
        return self.kept[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape to draw."""
        layout = self.draw.layout
        return tuple(self.stored.shape) if layout is None else layout.shape

    def aside(self, seed: int) -> Tensor:
        """The draw in a tensor of its own; the parameter is only looked at."""
        stored = self.stored
        if not self.computed:
            with said_of(self.draw.place):
                require_writable(stored)
        return self.draw.fill_(stored.new_empty(self.shape), seed)


def padding_row(module: nn.Module) -> int | None:
    """The row of an embedding that starts at zero: no gradient reaches it, so a draw would stay.

    >>> padding_row(nn.Embedding(5, 2, padding_idx=3)), padding_row(nn.Linear(2, 2))
    (3, None)
    """
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return module.padding_idx
    return None


def as_values(initializers: Mapping[str, InitializerLike | None]) -> dict[str, Initializer]:
    """The arguments that are not None, as initializers; an error names the argument."""
    values = {}
    for name, given in initializers.items():
        if given is not None:
            with said_of(f"{name}={given!r}", instead=True):
                values[name] = as_initializer(given)
    return values


@contextmanager
def said_of(place: str, *, instead: bool = False) -> Iterator[None]:
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
                job.aside(0)  # refuses what could not be drawn
        return
    number = take_seed(seed, generator)
    # The largest is drawn in place and last, the others aside and before: whatever fails, nothing
    # has been written, and no second copy of the largest is made.
    plain = sorted((job for job in jobs if not job.computed), key=lambda job: prod(job.shape))
    with torch.no_grad():
        aside = [(job.stored, job.aside(number)) for job in plain[:-1]]
        for job in jobs:
            if job.computed:
                aside += zip(job.kept, wanted_for(job, job.aside(number)), strict=True)
        for job in plain[-1:]:
            job.draw.fill_(job.stored, number)
        for stored, value in aside:
            stored.copy_(value)
    for job in jobs:
        refresh(job.owner, job.name)


def is_computed(module: nn.Module, name: str) -> bool:
    """Whether ``module`` computes its parameter ``name`` from others, as weight norm does.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    >>> is_computed(layer, "weight"), is_computed(layer, "bias")
    (True, False)
    """
    return parametrize.is_parametrized(module, name) or name in _hooks(module)


def kept_for(module: nn.Module, name: str) -> list[Tensor]:
    """The parameters and buffers that ``module`` keeps for ``name``: itself, or what it comes from.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> [tuple(tensor.shape) for tensor in kept_for(layer, "weight")]
    [(3, 1), (3, 2)]
    """
    hook = _hooks(module).get(name)
    if parametrize.is_parametrized(module, name):
        return _tensors(_parametrization(module, name))
    if hook is not None:
        return [getattr(module, stored) for stored in _behind(name, hook)]
    tensor = getattr(module, name)
    assert isinstance(tensor, Tensor)  # noqa: S101 - the layout was read from it
    return [tensor]


def wanted_for(job: Job, value: Tensor) -> list[Tensor]:
    """What `kept_for` is to be, so that the computed parameter is ``value``; the module stays.

    Raises:
        FaninError: for a parametrization that takes no value, or cannot express this one.
    """
    hook = _hooks(job.owner).get(job.name)
    if hook is None:
        wanted, made = _through_copy(job, value)
    elif isinstance(hook, WeightNorm):
        lengths = torch.norm_except_dim(value, 2, hook.dim)
        wanted, made = [value, lengths], value / lengths
    else:
        wanted = _estimated(job.owner, hook, value)
        made = value / value.norm()
    if not bool(torch.isfinite(made).all()):
        under = type(hook).__name__ if hook else _kinds(_parametrization(job.owner, job.name))
        raise FaninError(
            "the parametrization cannot express this start: it gives numbers that are not finite",
            where=job.draw.place,
            found=f"{job.draw.initializer!r} under {under}",
            fix="give a start without zero rows; weight norm, for one, divides by their norm",
        )
    return wanted


def _estimated(owner: nn.Module, hook: SpectralNorm, value: Tensor) -> list[Tensor]:
    """The weight, and the singular vectors that older spectral norm keeps beside it."""
    matrix = hook.reshape_weight_to_matrix(value)
    left = getattr(owner, f"{hook.name}_u").clone()
    right = getattr(owner, f"{hook.name}_v").clone()
    for _ in range(_POWER_STEPS):
        right = nn.functional.normalize(matrix.t() @ left, dim=0, eps=hook.eps)
        left = nn.functional.normalize(matrix @ right, dim=0, eps=hook.eps)
    return [value, left, right]


def refresh(module: nn.Module, name: str) -> None:
    """Let legacy weight norm compute its weight, which it else does when the layer runs."""
    hook = _hooks(module).get(name)
    if isinstance(hook, WeightNorm):
        with torch.enable_grad():
            setattr(module, name, hook.compute_weight(module))


def _through_copy(job: Job, value: Tensor) -> tuple[list[Tensor], Tensor]:
    """What a copy of the parametrization keeps for ``value``, and what it makes of that."""
    trial = deepcopy(_parametrization(job.owner, job.name))
    try:
        # What ``module.weight = value`` calls.
        trial.right_inverse(value)
        if list(trial.buffers()):
            # Spectral norm divides by an estimate that it renews when it is trained; of another
            # matrix it is no estimate.
            trial.train()
            for _ in range(_POWER_STEPS):
                trial()
            trial.eval()
        wanted = [tensor.clone() for tensor in _tensors(trial)]
    except Exception as error:  # noqa: BLE001 - a parametrization is the user's own code
        raise FaninError(
            "the parametrization does not take a value",
            where=job.draw.place,
            found=f"{type(error).__name__}: {error}".splitlines()[0],
            fix="give it a right_inverse, or initialize what it is made of",
        ) from None
    return wanted, trial()


def _kinds(parametrization: parametrize.ParametrizationList) -> str:
    return ", ".join(type(one).__name__ for one in parametrization)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _parametrization(owner: nn.Module, name: str) -> parametrize.ParametrizationList:
    found = cast("nn.ModuleDict", owner.parametrizations)[name]
    assert isinstance(found, parametrize.ParametrizationList)  # noqa: S101 - torch keeps no other
    return found


def _hooks(module: nn.Module) -> dict[str, WeightNorm | SpectralNorm]:
    """The parameters that torch's older weight and spectral norm compute, and by which hook."""
    hooks = module._forward_pre_hooks.values()  # noqa: SLF001 - there is no public way to see them
    return {hook.name: hook for hook in hooks if isinstance(hook, (WeightNorm, SpectralNorm))}


def _behind(name: str, hook: WeightNorm | SpectralNorm) -> tuple[str, ...]:
    if isinstance(hook, WeightNorm):
        return f"{name}_v", f"{name}_g"
    return f"{name}_orig", f"{name}_u", f"{name}_v"


def _jobs(module: nn.Module, initializers: Mapping[str, Initializer]) -> list[Job]:
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
            place, row = f"{type(owner).__name__}.{local}", padding_row(owner)
            draw = Draw(initializer, layout(module, name), name, place, row)
            jobs.append(Job(owner, local, draw))
    return jobs
