"""A recorded activation as a function: it keeps what was computed, not the run."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast, final

import torch
from torch import Tensor

from fanin._trace._graph import Node, Value

__all__ = ["Call", "Replay", "recorded"]

_NEUTRAL: Final = {"_prelu_kernel": 0.25, "prelu": 0.25, "pow": 1.0}
"""What stands for a parameter: torch's own start, or what changes nothing."""
_SIGNAL: Final = "x"


@final
@dataclass(frozen=True, slots=True)
class _Result:
    """The result of an earlier call."""

    place: int


@final
@dataclass(frozen=True, slots=True)
class _Neutral:
    """A tensor that is no part of the signal, by a number that changes nothing."""

    number: float


@final
@dataclass(frozen=True, slots=True)
class Call:
    """One operation of ATen, by name, with its arguments."""

    operation: str
    arguments: tuple[object, ...]
    keywords: tuple[tuple[str, object], ...]


@final
@dataclass(frozen=True, slots=True)
class Replay:
    """A recorded activation as a function of any tensor; parameters in it change nothing."""

    calls: tuple[Call, ...]

    @property
    def __name__(self) -> str:
        names = [call.operation for call in reversed(self.calls) if call.operation != "add"]
        return " of ".join(dict.fromkeys(names))

    def __repr__(self) -> str:
        return f"<{self.__name__}>"

    def __call__(self, x: Tensor) -> Tensor:
        """The activation of ``x``."""
        known: list[Tensor] = []
        for call in self.calls:
            function: Callable[..., Any] = getattr(torch.ops.aten, call.operation)
            result = function(
                *(_filled(argument, x, known) for argument in call.arguments),
                **{key: _filled(argument, x, known) for key, argument in call.keywords},
            )
            known.append(result[0] if isinstance(result, tuple) else result)
        return known[-1]


def _filled(argument: object, x: Tensor, known: list[Tensor]) -> object:
    if isinstance(argument, _Result):
        return known[argument.place]
    if isinstance(argument, _Neutral):
        return torch.full((), argument.number, dtype=x.dtype)
    if isinstance(argument, tuple):
        return [_filled(entry, x, known) for entry in argument]
    return x if argument is _SIGNAL else argument


def recorded(
    nodes: tuple[Node, ...], behind: Callable[[Value], Node], data: Collection[Node]
) -> Replay:
    """The function that ``nodes`` compute of the one value that they do not compute themselves."""
    places: Mapping[Node, int] = {node: i for i, node in enumerate(nodes)}

    def written(argument: object, neutral: float) -> object:
        if isinstance(argument, Value):
            before = behind(argument)
            if before in places:
                return _Result(places[before])
            return _SIGNAL if before in data else _Neutral(neutral)
        if isinstance(argument, tuple):
            return tuple(written(entry, neutral) for entry in argument)
        return argument

    calls = []
    for node in nodes:
        neutral = _NEUTRAL.get(node.operation, 1.0 if node.kind == "multiply" else 0.0)
        arguments = cast("tuple[object, ...]", written(node.arguments, neutral))
        keywords = tuple(
            (key, written(entry, neutral))
            for key, entry in node.keywords.items()
            if key not in ("dtype", "out")
        )
        operation = "add" if node.operation == "bias" else node.operation
        calls.append(Call(operation, arguments, keywords))
    return Replay(tuple(calls))
