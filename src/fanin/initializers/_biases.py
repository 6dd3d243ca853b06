"""Starts of biases: class priors, open forget gates, time scales."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from math import log, sqrt
from typing import final

import torch
from torch import Tensor

from fanin._errors import FaninError
from fanin._layout import Layout
from fanin._stream import Region, Stream, fill_uniform
from fanin.initializers._arguments import finite
from fanin.initializers._base import Initializer, formula_number, take_region

__all__ = ["Chrono", "ForgetGate", "PriorProbability"]

_KEEPING = ("forget", "update")
"""The gates that keep the state when open: LSTM's forget, GRU's update."""


class BiasInitializer(Initializer):
    """An initializer that gives one value for each output."""

    __slots__ = ()

    @abstractmethod
    def values(self, layout: Layout, stream: Stream) -> Tensor:
        """The bias [out], in float64."""

    def std(self, layout: Layout) -> float:
        """The standard deviation over the outputs, for one typical draw."""
        return float(self.values(layout, Stream(0, "")).std(correction=0))

    def bound(self, layout: Layout) -> float:
        """The largest magnitude, for one typical draw."""
        return float(self.values(layout, Stream(0, "")).abs().max())

    def draw_into(self, out: Tensor, layout: Layout, stream: Stream, region: Region | None) -> None:
        """Compute all the values and write the region's."""
        values = layout.along_outputs(self.values(layout, stream))
        out.copy_(take_region(values, region))


@final
@dataclass(frozen=True, slots=True, repr=False)
class PriorProbability(BiasInitializer):
    """b = ln(p / (1 - p)): a sigmoid output starts at probability p; classes at b_c = ln(p_c).

    With zero weights before it the first loss is then the entropy of the prior, not ln(classes).
    Give one number for independent outputs (Lin et al. 2017, "Focal loss", section 3.3, uses
    p = 0.01), or one for each class of a softmax.

    Raises:
        FaninError: if a probability is not between 0 and 1, or the classes' do not sum to 1.

    >>> import torch
    >>> b = PriorProbability(0.01).fill_(torch.empty(5))
    >>> print(f"{torch.sigmoid(b)[0]:.4f}")
    0.0100
    """

    probability: float | tuple[float, ...]

    def __post_init__(self) -> None:
        given = self.probability
        each = tuple(given) if isinstance(given, Iterable) else (given,)
        each = tuple(finite("PriorProbability", "probability", p) for p in each)
        object.__setattr__(self, "probability", each if isinstance(given, Iterable) else each[0])
        if not all(0 < p < 1 for p in each) or (self._of_classes() and abs(sum(each) - 1) > 1e-6):
            raise FaninError(
                "these are not probabilities",
                where="PriorProbability",
                found=f"{self.probability}",
                fix="give one number between 0 and 1, or one for each class, summing to 1",
            )

    def _of_classes(self) -> bool:
        return isinstance(self.probability, tuple)

    def _each(self) -> tuple[float, ...]:
        return self.probability if isinstance(self.probability, tuple) else (self.probability,)

    def values(self, layout: Layout, stream: Stream) -> Tensor:  # noqa: ARG002
        """The logit, or the logarithms of the class probabilities."""
        each = torch.tensor(self._each(), dtype=torch.float64, device="cpu")
        if not self._of_classes():
            return torch.logit(each).expand(layout.outputs)
        if layout.outputs != len(each):
            raise FaninError(
                "there is not one probability for each class",
                where=repr(self),
                found=f"{len(each)} probabilities for {layout.outputs} outputs",
                fix="give as many probabilities as the layer has outputs",
            )
        return each.log()

    def times(self, factor: float) -> Initializer:
        raise _unscalable(self, factor)

    def __str__(self) -> str:
        logit = "ln(p)" if self._of_classes() else "ln(p / (1 - p))"
        return f"b = {logit}, p = {self.probability}"


@final
@dataclass(frozen=True, slots=True, repr=False)
class ForgetGate(BiasInitializer):
    """b = value at the gate that keeps the state (LSTM forget, GRU update), 0 elsewhere.

    torch's recurrent layers add two biases: give this to one of them and `Zeros` to the other.
    Jozefowicz et al. 2015, "An empirical exploration of recurrent network architectures", use 1.

    Raises:
        FaninError: when drawn, if the layer has no such gate.

    >>> import torch, fanin
    >>> lstm = torch.nn.LSTM(2, 3)
    >>> _ = ForgetGate(1.0).fill_(lstm.bias_ih_l0, layout=fanin.layout(lstm, "bias_ih_l0"))
    >>> lstm.bias_ih_l0.tolist()
    [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """

    value: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", finite("ForgetGate", "value", self.value))

    def values(self, layout: Layout, stream: Stream) -> Tensor:  # noqa: ARG002
        """The value at the keeping gate."""
        bias = torch.zeros(layout.outputs, dtype=torch.float64, device="cpu")
        for gate in _keeping_gates(layout, self):
            bias[gate] = self.value
        return bias

    def times(self, factor: float) -> "ForgetGate":
        return ForgetGate(self.value * factor)

    def __str__(self) -> str:
        return f"b = {formula_number(self.value)} at the forget gate, 0 elsewhere"


@final
@dataclass(frozen=True, slots=True, repr=False)
class Chrono(BiasInitializer):
    """b_forget = ln(u), u ~ U(1, longest - 1), b_input = -b_forget, 0 elsewhere.

    A gate of bias ln(u) keeps its state for about 1 + u steps, so the layer starts with memories of
    2 to ``longest`` steps. A GRU's update gate gets ln(u). Give this to one of torch's two biases
    and `Zeros` to the other.
    Tallec & Ollivier 2018, "Can recurrent neural networks warp time?", section 2.

    Raises:
        FaninError: if longest is not above 2, or, when drawn, if the layer has no such gate.

    >>> import torch, fanin
    >>> lstm = torch.nn.LSTM(2, 500)
    >>> b = Chrono(100).fill_(lstm.bias_ih_l0, layout=fanin.layout(lstm, "bias_ih_l0"), seed=0)
    >>> steps = 1 + b[500:1000].exp()
    >>> bool(steps.min() >= 2), bool(steps.max() <= 100)
    (True, True)
    """

    longest: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "longest", finite("Chrono", "longest", self.longest))
        if self.longest <= 2:
            raise FaninError(
                "the longest memory is too short",
                where="Chrono",
                found=f"longest={self.longest}",
                fix="give a number of steps above 2, about the longest dependency in the data",
            )

    def values(self, layout: Layout, stream: Stream) -> Tensor:
        """Log-uniform time scales at the keeping gate, their negatives at the input gate."""
        bias = torch.zeros(layout.outputs, dtype=torch.float64, device="cpu")
        for gate in _keeping_gates(layout, self):
            steps = torch.empty(gate.stop - gate.start, dtype=torch.float64, device="cpu")
            fill_uniform(steps, stream, 1.0, self.longest - 1)
            bias[gate] = steps.log()
            for part in layout.parts():
                if part.name == "input":
                    bias[part.index[0]] = -steps.log()
        return bias

    def std(self, layout: Layout) -> float:
        """The standard deviation over the outputs, of ln(u) and the gates that stay 0."""
        _keeping_gates(layout, self)
        top = self.longest - 1
        mean = top * log(top) / (top - 1) - 1
        square = (top * (log(top) ** 2 - 2 * log(top) + 2) - 2) / (top - 1)
        gates = {part.name for part in layout.parts()}
        share = 1 / len(gates)
        if "input" in gates:
            return sqrt(2 * share * square)
        return sqrt(share * square - (share * mean) ** 2)

    def bound(self, layout: Layout) -> float:
        """ln(longest - 1)."""
        _keeping_gates(layout, self)
        return log(self.longest - 1)

    def times(self, factor: float) -> Initializer:
        raise _unscalable(self, factor)

    def __str__(self) -> str:
        return f"b_forget = ln u, u ~ U(1, {formula_number(self.longest - 1)}), b_input = -b_forget"


def _keeping_gates(layout: Layout, initializer: Initializer) -> list[slice]:
    gates = [part.index[0] for part in layout.parts() if part.name in _KEEPING]
    if not gates:
        raise FaninError(
            "this layer has no gate that keeps a state",
            where=repr(initializer),
            found=str(layout),
            fix="use it for a bias of an LSTM or GRU: fanin.layout(lstm, 'bias_ih_l0')",
        )
    return gates


def _unscalable(initializer: Initializer, factor: float) -> FaninError:
    return FaninError(
        "a bias that encodes a probability or a time cannot be multiplied",
        where=repr(initializer),
        found=f"{factor} * {initializer!r}",
        fix="make another one, with the probability or time you mean",
    )
