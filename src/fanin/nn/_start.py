"""How a layer of `fanin.nn` keeps its initializers and resets by them."""

from collections.abc import Callable
from inspect import signature
from itertools import chain

from torch import nn
from torch.nn.parameter import is_lazy

from fanin._errors import FaninError
from fanin._fill import as_values, fill_chosen, parameter_names
from fanin.initializers import Initializer, InitializerLike

__all__ = [
    "Starts",
    "describe",
    "has_shapes",
    "is_complete",
    "require_owned",
    "reset",
    "starts",
    "without_bias",
]

Starts = dict[str, Initializer]
"""A layer's initializers, by the name of the argument that gave them."""

_SWITCHES = {
    "weight": ("affine", "elementwise_affine"),
    "bias": ("bias", "affine", "elementwise_affine"),
    "weight_hr": ("proj_size",),
    "bias_k": ("add_bias_kv",),
    "bias_v": ("add_bias_kv",),
}
"""The arguments of torch that say whether a layer has a parameter; ``bias`` where not listed."""


def starts(**initializers: InitializerLike | None) -> Starts:
    """The arguments that were given, as values, by argument name."""
    return as_values(initializers)


def reset(module: nn.Module, chosen: Starts, torch_default: Callable[[], None]) -> None:
    """torch's own start for the parameters without an initializer, then the others' draws.

    torch's is skipped where every parameter has one: it would be drawn to be overwritten.
    """
    require_owned(module, chosen)
    if not is_complete(module, chosen):
        torch_default()
    if chosen:
        fill_chosen(module, chosen)


def is_complete(module: nn.Module, chosen: Starts) -> bool:
    """Whether every parameter of the layer has an initializer."""
    return all(f"{kind}_initializer" in chosen for kind in parameter_names(module))


def require_owned(module: nn.Module, chosen: Starts) -> None:
    """Raise FaninError for an initializer of a parameter that this layer was built without."""
    owned = parameter_names(module)
    for argument, initializer in chosen.items():
        kind = argument.removesuffix("_initializer")
        if kind not in owned:
            raise FaninError(
                "an initializer is given for a parameter that this layer does not have",
                where=f"fanin.nn.{type(module).__name__}",
                found=f"{argument}={initializer!r}, parameters: {', '.join(owned) or 'none'}",
                fix=f"leave it out, or turn on {_switches(module, kind)}",
            )


def _switches(module: nn.Module, kind: str) -> str:
    known = signature(type(module)).parameters
    names = [name for name in _SWITCHES.get(kind, ("bias",)) if name in known]
    return " and ".join(names) or "that parameter"


def has_shapes(module: nn.Module) -> bool:
    """Whether no tensor of a lazy layer still waits for the first batch."""
    return not any(is_lazy(tensor) for tensor in chain(module.parameters(), module.buffers()))


def describe(torch_text: Callable[[], str], chosen: Starts) -> str:
    """torch's text with the initializers after it, for ``extra_repr``."""
    own = [f"{name}={value!r}" for name, value in chosen.items()]
    return ", ".join(filter(None, [torch_text(), *own]))


def without_bias(*, bias: bool) -> dict[str, bool]:
    """torch's ``bias=False`` for a norm, and nothing for ``bias=True``.

    Norms know the argument only in newer torch; an older one then refuses ``bias=False`` itself.
    """
    return {} if bias else {"bias": False}
