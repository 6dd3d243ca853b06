"""From what users write for an initializer to the value: one lookup for layers and commands."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import nan
from typing import TypeAlias, final

from torch import Tensor

from fanin._errors import FaninError, nearest
from fanin._layout import Layout
from fanin._numbers import is_number
from fanin._stream import Region, Stream
from fanin.initializers import _paper_names
from fanin.initializers._arguments import finite
from fanin.initializers._base import Initializer, take_region
from fanin.initializers._biases import Chrono, ForgetGate, PriorProbability
from fanin.initializers._elementwise import Constant, Normal, Ones, Uniform, Zeros
from fanin.initializers._matrices import (
    DeltaOrthogonal,
    Hadamard,
    Identity,
    LooksLinear,
    Orthogonal,
)
from fanin.initializers._structured import ICNR, Sparse

__all__ = ["Custom", "InitializerLike", "as_initializer", "named", "names"]

InitializerLike: TypeAlias = Initializer | float | str | Callable[[Tensor, Layout], object]
"""An initializer, a number, the name of one, or a function ``(tensor, layout)`` that fills."""

_BY_NAME: dict[str, Callable[[], Initializer]] = {
    "zeros": lambda: Zeros,
    "ones": lambda: Ones,
    "orthogonal": Orthogonal,
    "delta_orthogonal": DeltaOrthogonal,
    "identity": Identity,
    "hadamard": Hadamard,
    "looks_linear": LooksLinear,
    "sparse": Sparse,
    "forget_gate": ForgetGate,
    **{name: getattr(_paper_names, name) for name in _paper_names.__all__},
}
_WITH_ARGUMENTS = {
    "constant": Constant,
    "normal": Normal,
    "uniform": Uniform,
    "icnr": ICNR,
    "chrono": Chrono,
    "prior_probability": PriorProbability,
}
_OTHER_SPELLINGS = {"glorot": "xavier", "he": "kaiming"}


def names() -> tuple[str, ...]:
    """The names that `named` knows, sorted.

    >>> "xavier_uniform" in names()
    True
    """
    return tuple(sorted(_BY_NAME))


def named(name: str) -> Initializer:
    """The initializer of this name, with its default arguments.

    Raises:
        FaninError: for an unknown name, with the nearest ones.

    >>> named("xavier_uniform")
    VarianceScaling(fan='avg', distribution='uniform')
    """
    if name in _BY_NAME:
        return _BY_NAME[name]()
    if name in _WITH_ARGUMENTS:
        kind = _WITH_ARGUMENTS[name].__name__
        raise FaninError(
            "this initializer needs an argument, so its name alone is not enough",
            where="initializers.named",
            found=repr(name),
            fix=f"give the value: fanin.initializers.{kind}(...)",
        )
    known = name
    for other, ours in _OTHER_SPELLINGS.items():
        known = re.sub(rf"^{other}_", f"{ours}_", known)
    raise FaninError(
        "there is no initializer of this name",
        where="initializers.named",
        found=repr(name),
        fix=f"use one of: {nearest(known, _BY_NAME)}",
    )


@final
@dataclass(frozen=True, slots=True, repr=False)
class Custom(Initializer):
    """w = whatever ``function(tensor, layout)`` fills in; its random numbers are its own.

    The function gets a tensor of the weight's shape on the CPU, full of NaN, and writes into it.

    Raises:
        FaninError: for what is no function (tensor, layout); when drawn, if it leaves a NaN.

    >>> import torch
    >>> diagonal = Custom(lambda tensor, layout: torch.nn.init.eye_(tensor))
    >>> diagonal.fill_(torch.empty(2, 2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    function: Callable[[Tensor, Layout], object]
    factor: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", finite("Custom", "factor", self.factor))
        if not callable(self.function) or isinstance(self.function, type):
            raise self._refusal(
                "this is not a function", repr(self.function), "give a function (tensor, layout)"
            )
        home = getattr(self.function, "__module__", None) or ""
        if home == _paper_names.__name__:
            fix = f"call it: {self._name}()"
            raise self._refusal("this makes an initializer, and is not one", self._name, fix)
        if home == "torch.nn.init":
            fix = f"use fanin's own, such as {nearest(self._name.rstrip('_'), _BY_NAME)}"
            raise self._refusal("torch's function does not take a layout", self._name, fix)

    def _refusal(self, what: str, found: str, fix: str) -> FaninError:
        return FaninError(what, where="Custom", found=found, fix=fix)

    def std(self, layout: Layout) -> float:  # noqa: ARG002
        """Not a number: a function says nothing of what it draws."""
        return nan

    def bound(self, layout: Layout) -> float:  # noqa: ARG002
        """Not a number."""
        return nan

    def draw_into(self, out: Tensor, layout: Layout, stream: Stream, region: Region | None) -> None:  # noqa: ARG002
        """Let the function fill a whole tensor, and take the region of it."""
        whole = out.new_full(layout.shape, nan)
        returned = self.function(whole, layout)
        if whole.isnan().any():
            ignored = ", and returned a tensor" if isinstance(returned, Tensor) else ""
            raise self._refusal(
                "the function did not fill the tensor it was given",
                f"{self._name} left entries that are no numbers{ignored}",
                "write into its first argument: tensor.copy_(...), tensor.normal_(), tensor[...] =",
            )
        out.copy_(take_region(whole, region) * self.factor)

    def times(self, factor: float) -> "Custom":
        return replace(self, factor=self.factor * factor)

    def __repr__(self) -> str:
        factor = "" if self.factor == 1 else f"{self.factor} * "
        return f"{factor}Custom({self._name})"

    def __str__(self) -> str:
        factor = "" if self.factor == 1 else f"{self.factor:g} "
        return f"w = {factor}{self._name}(tensor, layout)"

    @property
    def _name(self) -> str:
        # Without the address that repr would show: equal programs print equal text.
        return getattr(self.function, "__qualname__", type(self.function).__qualname__)


def as_initializer(value: InitializerLike) -> Initializer:
    """The initializer that a layer's argument means: a value, number, name or function.

    Raises:
        FaninError: for anything else, or an unknown name.

    >>> as_initializer(0.5), as_initializer("zeros")
    (Constant(0.5), Zeros)
    """
    if isinstance(value, Initializer):
        return value
    if isinstance(value, str):
        return named(value)
    if is_number(value):
        return Constant(value)
    if isinstance(value, type) or not callable(value):
        raise FaninError(
            "this is not an initializer",
            where="as_initializer",
            found=repr(value),
            fix="give an initializer such as kaiming_normal('relu'), a number, a name such as "
            "'xavier_uniform', or a function (tensor, layout)",
        )
    return Custom(value)
