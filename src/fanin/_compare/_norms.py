"""A model with batch or layer norm behind each hidden weight, where that can be done cleanly."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias, final

import torch
from torch import Tensor, nn

from fanin._compare._facts import made
from fanin._errors import FaninError
from fanin._observe import run
from fanin._site import Site
from fanin._trace import trace

__all__ = ["NAMES", "AnyMaker", "Norm", "has_norms", "maker_of", "takes_norm", "with_norms"]

Norm: TypeAlias = Literal["batch", "layer"] | None
"""What stands behind hidden weights: nothing, batch norm, or layer norm."""
Maker: TypeAlias = Callable[[], nn.Module]
AnyMaker: TypeAlias = Callable[..., nn.Module]
"""Makes a model; of no argument, or of one: the norm."""
NAMES: Final[Mapping[Norm, str]] = {None: "none", "batch": "batch", "layer": "layer"}

_CONVOLUTIONS: Final[Mapping[type[nn.Module], type[nn.Module]]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
    nn.ConvTranspose1d: nn.BatchNorm1d,
    nn.ConvTranspose2d: nn.BatchNorm2d,
    nn.ConvTranspose3d: nn.BatchNorm3d,
}
_LAYERS: Final[tuple[type[nn.Module], ...]] = (nn.Linear, *_CONVOLUTIONS)
_PLAIN: Final = ("weight", "readout", "residual_out", "shortcut", "embedding", "bias", "slope",
                 "buffer", "branch_scale", "elementwise")  # fmt: skip
"""Roles in models where a norm behind the hidden weights is what people mean by one."""


@final
@dataclass(frozen=True, slots=True)
class _Normed:
    """Makes the model with a norm behind the layers at these paths; it can be pickled."""

    make_model: Maker
    norm: Norm
    paths: tuple[str, ...]

    def __call__(self) -> nn.Module:
        return with_norms(self.make_model(), self.norm, self.paths)


def maker_of(make_model: AnyMaker, norm: Norm, inputs: object) -> tuple[Maker, tuple[str, ...]]:
    """What makes the model with this norm, and the paths of the layers that were given one.

    ``make_model`` is asked for it, where it takes a norm; else norm layers are put behind each
    Linear and convolution whose output goes through an activation to another weight, as ``inputs``
    show.

    Raises:
        FaninError: for models where it is not clear where norm layers belong, or that do not run
            with them.

    >>> make = lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    >>> normed, paths = maker_of(make, "batch", torch.randn(8, 6))
    >>> paths, type(normed()[0][1]).__name__
    (('0',), 'BatchNorm1d')
    """
    if takes_norm(make_model):
        return partial(make_model, norm), ()
    if norm is None:
        return make_model, ()
    model = made(make_model)
    found = _hidden_layers(model, trace(model, inputs))
    if norm == "batch":
        _require_features_last(model, found, inputs)
    normed = _Normed(make_model, norm, tuple(found))
    _require_normed(normed, inputs)
    return normed, normed.paths


def takes_norm(make_model: AnyMaker) -> bool:
    """Whether it has a parameter called ``norm``, or one parameter that must be given.

    >>> takes_norm(lambda kind: nn.Identity()), takes_norm(nn.Identity)
    (True, False)
    """
    try:
        parameters = inspect.signature(make_model).parameters.values()
    except (TypeError, ValueError):
        return False
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = [one for one in parameters if one.kind in places]
    needed = [one for one in given if one.default is inspect.Parameter.empty]
    return len(needed) == 1 or (bool(given) and given[0].name == "norm")


def has_norms(sites: Iterable[Site]) -> bool:
    """Whether a signal is normalized somewhere, by a layer with weights or without."""
    return any(
        site.role in ("norm_scale", "norm_shift") or site.normalized_input or site.normalized_output
        for site in sites
    )


def with_norms(model: nn.Module, norm: Norm, paths: Iterable[str]) -> nn.Module:
    """``model`` with each layer at ``paths`` replaced by it and its norm, in place."""
    for path in paths:
        parent, _, name = path.rpartition(".")
        layer = model.get_submodule(path)
        model.get_submodule(parent).register_module(name, nn.Sequential(layer, _norm(layer, norm)))
    return model


def _norm(layer: nn.Module, norm: Norm) -> nn.Module:
    where: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    if isinstance(layer, nn.Linear):
        kind = nn.BatchNorm1d if norm == "batch" else nn.LayerNorm
        return kind(layer.out_features, **where)
    channels: Any = layer.out_channels
    if norm == "layer":
        return nn.GroupNorm(1, channels, **where)
    kinds = (norms for kind, norms in _CONVOLUTIONS.items() if isinstance(layer, kind))
    return next(kinds)(channels, **where)


def _hidden_layers(model: nn.Module, sites: Iterable[Site]) -> dict[str, nn.Module]:
    """By path, the layers whose output goes through an activation to another weight."""
    known = {site.name: site for site in sites}
    if has_norms(known.values()):
        raise _unclear("the model has norm layers of its own", type(model).__name__)
    for site in known.values():
        if site.role not in _PLAIN:
            what = "where norm layers belong in such a model is not told by its weights"
            raise _unclear(what, f"{site.name}, a {site.role} weight")
    hidden = {name: site for name, site in known.items() if _is_hidden(site)}
    found = {
        path: layer
        for path, layer in model.named_modules()
        if isinstance(layer, _LAYERS) and f"{path}.weight" in hidden
    }
    for name, site in hidden.items():
        if name.removesuffix(".weight") not in found:
            raise _unclear("a hidden weight is not of a Linear or a convolution", name)
        if site.uses != 1 or site.tied:
            raise _unclear("a hidden weight is used several times", name)
    if found:
        return found
    raise _unclear("no weight's output goes through an activation to another weight", "none")


def _is_hidden(site: Site) -> bool:
    return site.role == "weight" and site.activation_after != "identity"


def _require_features_last(
    model: nn.Module, layers: Mapping[str, nn.Module], inputs: object
) -> None:
    """Batch norm behind a Linear reads [batch, features]; of more axes it would take the wrong."""
    axes: dict[str, int] = {}

    def remember(path: str, layer: nn.Module, given: object, output: Tensor) -> None:  # noqa: ARG001
        axes[path] = output.dim()

    for path, layer in layers.items():
        layer.register_forward_hook(partial(remember, path))
    with torch.no_grad():
        run(model, inputs)
    for path, layer in layers.items():
        if isinstance(layer, nn.Linear) and axes.get(path, 2) != 2:
            found = f"{path} gives {axes[path]} axes"
            raise _unclear("batch norm behind a Linear is for outputs [batch, features]", found)


def _require_normed(make_model: _Normed, inputs: object) -> None:
    """Raise FaninError where the model passes its new norm layers by, or fails on them."""
    try:
        sites = trace(make_model(), inputs)
    except FaninError as error:
        raise _unclear("the model does not run with norm layers", error.found[:200]) from error
    known = {site.name: site for site in sites}
    for path in make_model.paths:
        if not known[f"{path}.0.weight"].normalized_output:
            raise _unclear("a norm layer is not where the output of its weight goes", path)


def _unclear(what: str, found: str) -> FaninError:
    return FaninError(
        what,
        where="fanin.sweep_scale, norms=",
        found=found,
        fix="give a make_model of one argument, the norm (None, 'batch' or 'layer'), that places "
        "them itself; or norms=(None,)",
    )
