"""What torch calls by many spellings has one name here: nn.GELU(), functional.gelu, torch.relu_."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fanin._errors import FaninError
from fanin._gains.gated import Gated
from fanin._gains.names import FAMILIES, GATES, Named, parse

__all__ = ["of_function", "of_module"]

_IDENTITIES: Final = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)

_MODULES: Final[Mapping[type[nn.Module], str]] = MappingProxyType(
    dict.fromkeys(_IDENTITIES, "identity")
    | {
        nn.ReLU: "relu",
        nn.ReLU6: "relu6",  # before Hardtanh, of which it is a subclass
        nn.PReLU: "prelu",
        nn.GELU: "gelu",
        nn.GLU: "glu",
        nn.LeakyReLU: "leaky_relu",
        nn.RReLU: "rrelu",
        nn.ELU: "elu",
        nn.CELU: "celu",
        nn.SELU: "selu",
        nn.SiLU: "silu",
        nn.Mish: "mish",
        nn.Softplus: "softplus",
        nn.Tanh: "tanh",
        nn.Sigmoid: "sigmoid",
        nn.LogSigmoid: "logsigmoid",
        nn.Hardswish: "hardswish",
        nn.Hardsigmoid: "hardsigmoid",
        nn.Hardtanh: "hardtanh",
        nn.Softsign: "softsign",
        nn.Tanhshrink: "tanhshrink",
        nn.Softshrink: "softshrink",
        nn.Hardshrink: "hardshrink",
        nn.Threshold: "threshold",
    }
)

_SPELLINGS: Final = MappingProxyType(
    {"abs": ("abs", "absolute"), "atan": ("atan", "arctan"), "sigmoid": ("sigmoid", "expit")}
)


def _torch_functions() -> Mapping[Callable[..., Any], str]:
    found: dict[Callable[..., Any], str] = {abs: "abs"}
    # functional.prelu wants a tensor of slopes; torch has no function called identity.
    for name in FAMILIES.keys() - {"identity", "prelu"}:
        for spelling in _SPELLINGS.get(name, (name,)):
            for holder in (torch, functional, torch.Tensor, torch.special):
                for attribute in (spelling, spelling + "_"):
                    if (function := getattr(holder, attribute, None)) is not None:
                        found[function] = name
    return MappingProxyType(found)


_FUNCTIONS: Final = _torch_functions()


def of_module(module: nn.Module) -> Named | Gated | nn.Module:
    """The named activation that a module computes in evaluation mode, or the module itself."""
    if type(module) is nn.Sequential:
        return _of_sequence(module)
    kind = _torch_kind(type(module))
    if kind is None:
        return module
    if isinstance(module, nn.PReLU):
        return Named(FAMILIES["prelu"], (_only_slope(module),))
    if isinstance(module, nn.GELU):
        return _gelu(module.approximate)
    if isinstance(module, nn.GLU):
        return Gated(GATES["glu"])
    family = FAMILIES[_MODULES[kind]]
    return Named(family, tuple(float(getattr(module, p)) for p in family.parameters))


def of_function(
    function: Callable[[Tensor], Tensor],
) -> Named | Gated | Callable[[Tensor], Tensor]:
    """The named activation that a torch function, or a partial of one, is; or the function."""
    inner: Callable[..., Any] = function
    bound: dict[str, Any] = {}
    if isinstance(function, partial) and not function.args:
        inner, bound = function.func, dict(function.keywords)
    bound.pop("inplace", None)
    if inner is functional.glu and bound.keys() <= {"dim"}:
        return Gated(GATES["glu"])
    if inner is functional.gelu and bound.keys() <= {"approximate"}:
        return _gelu(bound.get("approximate"))
    try:
        family = FAMILIES[_FUNCTIONS[inner]]
    except (KeyError, TypeError):  # not torch's own; or a callable without a hash
        return function
    if bound.get("training") is False:
        del bound["training"]
    given = dict(zip(family.parameters, family.defaults, strict=False)) | bound
    if given.keys() != set(family.parameters):
        return function
    return Named(family, tuple(float(given[p]) for p in family.parameters))


def _torch_kind(kind: type[nn.Module]) -> type[nn.Module] | None:
    # A subclass with a forward of its own is another function, whatever it is called.
    return next((k for k in _MODULES if issubclass(kind, k) and k.forward is kind.forward), None)


def _gelu(approximate: object) -> Named:
    return parse("gelu(tanh)" if approximate == "tanh" else "gelu")


def _of_sequence(modules: nn.Sequential) -> Named | Gated | nn.Module:
    identity = parse("identity")
    parts = [part for part in map(of_module, modules) if part != identity]
    if len(parts) > 1:
        return modules
    return parts[0] if parts else identity


def _only_slope(module: nn.PReLU) -> float:
    slopes = module.weight
    known = [] if slopes.is_meta else slopes.detach().flatten().tolist()
    if len(set(known)) != 1:
        raise FaninError(
            "a PReLU with a slope for each channel is not one function of one number",
            where=f"activation {module!r}",
            found=f"{len(set(known))} different slopes" if known else "slopes without values",
            fix='give one slope, such as "prelu(0.25)"',
        )
    return float(known[0])
