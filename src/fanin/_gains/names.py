"""The activations that have a name: their formulas, and how a name is read and written."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import Final, final

import torch
from torch import Tensor
from torch.nn import functional

from fanin._errors import FaninError, nearest

__all__ = ["FAMILIES", "GATES", "Family", "Named", "names", "parse"]


@final
@dataclass(frozen=True, slots=True)
class Family:
    """``phi(x, *parameters)``: parameters have torch's names, order and defaults.

    ``negative_slope`` is there when phi(x) = x above zero and slope * x below: then every
    moment has a closed form. ``defaults`` is empty where torch has none. ``unit`` follows a
    written number: ``sin(30x)``.
    """

    name: str
    formula: Callable[..., Tensor]
    parameters: tuple[str, ...] = ()
    defaults: tuple[float, ...] = ()
    negative_slope: Callable[..., float] | None = None
    unit: str = ""


@final
@dataclass(frozen=True, slots=True)
class Named:
    """One activation of a family: ``leaky_relu`` at slope 0.2."""

    family: Family
    values: tuple[float, ...]

    def __str__(self) -> str:
        """The canonical name: parameters are left out when all are torch's defaults."""
        if self.values == self.family.defaults:
            return self.family.name
        written = ",".join(repr(v).removesuffix(".0") + self.family.unit for v in self.values)
        return f"{self.family.name}({written})"

    def __call__(self, x: Tensor) -> Tensor:
        return self.family.formula(x, *self.values)


def _hardsigmoid(x: Tensor) -> Tensor:
    # functional.hardsigmoid divides by 6 through a float32 constant, 2e-9 off in float64.
    return (x / 6 + 0.5).clamp(0, 1)


_FAMILIES: Final = (
    Family("identity", lambda x: x.clone(), negative_slope=lambda: 1.0),
    Family("relu", torch.relu, negative_slope=lambda: 0.0),
    Family("abs", torch.abs, negative_slope=lambda: -1.0),
    Family("leaky_relu", functional.leaky_relu, ("negative_slope",), (0.01,), lambda slope: slope),
    Family("prelu", functional.leaky_relu, ("weight",), (0.25,), lambda slope: slope),
    Family(
        "rrelu",
        lambda x, lower, upper: functional.leaky_relu(x, (lower + upper) / 2),
        ("lower", "upper"),
        (1 / 8, 1 / 3),
        lambda lower, upper: (lower + upper) / 2,
    ),
    Family("elu", functional.elu, ("alpha",), (1.0,)),
    Family("celu", functional.celu, ("alpha",), (1.0,)),
    Family("selu", functional.selu),
    Family("gelu", functional.gelu),
    Family("gelu(tanh)", lambda x: functional.gelu(x, approximate="tanh")),
    Family("quick_gelu", lambda x, a: x * torch.sigmoid(a * x), ("coefficient",), (1.702,)),
    Family("silu", functional.silu),
    Family("mish", functional.mish),
    Family("softplus", functional.softplus, ("beta", "threshold"), (1.0, 20.0)),
    Family("tanh", torch.tanh),
    Family("sigmoid", torch.sigmoid),
    Family("logsigmoid", functional.logsigmoid),
    Family("hardswish", lambda x: x * _hardsigmoid(x)),
    Family("hardsigmoid", _hardsigmoid),
    Family("hardtanh", functional.hardtanh, ("min_val", "max_val"), (-1.0, 1.0)),
    Family("relu6", lambda x: x.clamp(0, 6)),
    Family("softsign", functional.softsign),
    Family("tanhshrink", functional.tanhshrink),
    Family("softshrink", functional.softshrink, ("lambd",), (0.5,)),
    Family("hardshrink", functional.hardshrink, ("lambd",), (0.5,)),
    Family("threshold", functional.threshold, ("threshold", "value")),
    Family("relu^2", lambda x: torch.relu(x).square()),
    Family("sin", lambda x, frequency: torch.sin(frequency * x), ("frequency",), (1.0,), unit="x"),
    Family("cos", torch.cos),
    Family("exp", torch.exp),
    Family("exp(-x^2)", lambda x: torch.exp(-x.square())),
    Family("erf", torch.erf),
    Family("atan", torch.atan),
)

FAMILIES: Final = MappingProxyType({family.name: family for family in _FAMILIES})

# A product unit and the activation of its gate; theory: Shazeer 2020, "GLU variants".
GATES: Final = MappingProxyType(
    {
        "glu": "sigmoid",
        "bilinear": "identity",
        "reglu": "relu",
        "geglu": "gelu",
        "geglu(tanh)": "gelu(tanh)",
        "swiglu": "silu",
    }
)

_LINEAR: Final = ("linear", *(f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)))

# Names that torch.nn.init or a table writes for something that is here already.
_READ_AS: Final = MappingProxyType(
    {"gelu(erf)": "gelu", "rrelu(eval)": "rrelu"} | dict.fromkeys(_LINEAR, "identity")
)

_CALL: Final = re.compile(r"([^()]+)\(([^()]*)\)")


def names() -> tuple[str, ...]:
    """Every name that ``gain`` takes without parameters, the names of torch.nn.init included.

    >>> from fanin._gains import names
    >>> [name for name in names() if "gelu" in name]
    ['gelu', 'gelu(tanh)', 'quick_gelu']
    """
    whole = (f.name for f in _FAMILIES if len(f.defaults) == len(f.parameters))
    return (*whole, *GATES, *_LINEAR)


def parse(text: str) -> Named:
    """The activation called ``text``, such as ``"relu"``, ``"celu(2)"``, ``"sin(30x)"``.

    Raises:
        FaninError: no activation has that name, or its parameters do not fit.
    """
    text = _READ_AS.get(text, text)
    family, written = FAMILIES.get(text), ""
    if family is None and (call := _CALL.fullmatch(text)):
        family, written = FAMILIES.get(call[1].strip()), call[2]
    if family is None:
        raise FaninError(
            "no activation has this name",
            where=f"activation {text!r}",
            found=repr(text),
            fix=f"a name such as {_meant(text)}, or the function itself",
        )
    return Named(family, _values(family, written, text))


def _meant(text: str) -> str:
    """The nearest names; other libraries call some of ours otherwise, or write them large."""
    other = {"swish": "silu", "linear": "identity", "none": "identity", "lrelu": "leaky_relu"}
    small = text.lower()
    return nearest(other.get(small, small), names())


def _values(family: Family, written: str, text: str) -> tuple[float, ...]:
    if not written:
        values = family.defaults
    else:
        try:
            given = [float(part.strip().removesuffix(family.unit)) for part in written.split(",")]
        except ValueError:
            given = []
        values = (*given, *family.defaults[len(given) :]) if given else ()
    if len(values) != len(family.parameters) or not all(map(isfinite, values)):
        wanted = f"{family.name}({', '.join(family.parameters)})"
        raise FaninError(
            f"the parameters of {family.name} do not fit",
            where=f"activation {text!r}",
            found=repr(written),
            fix=f"write {wanted if family.parameters else family.name}",
        )
    return values
