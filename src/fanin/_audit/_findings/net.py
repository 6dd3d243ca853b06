"""The layers of a report: what arrives at each, what leaves it, and what its activation passes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from fanin._audit._evidence import Evidence
from fanin._audit._limits import Limits
from fanin._audit._records import ParameterState, Place
from fanin._audit._report import Report
from fanin._errors import FaninError
from fanin._gains import gain
from fanin._site import Site, SiteActivation

__all__ = ["MATRICES", "Layer", "Net", "is_zero", "varies"]

MATRICES = frozenset(
    {
        "weight", "residual_out", "shortcut", "embedding", "readout", "query", "key", "value",
        "query_key_value", "key_value", "gate", "gate_value", "gated", "router", "recurrent",
        "projection",
    }
)  # fmt: skip
"""The roles of what is drawn: matrices and tables."""
_CONSTANT = 1e-10
"""A share of E x² that rounding makes: outputs that are all alike measure 1e-17 to 1e-13."""
_ONLY_BIAS = 0.99
"""Where the bias makes so much of E y², the rest has too few digits."""


@final
@dataclass(frozen=True, slots=True)
class Layer:
    """One use of a weight. Second moments, all of them."""

    place: Place
    site: Site
    reads: Place | None
    """What arrives; None for the model's input, which is not measured."""
    sums: Place
    """Behind the bias."""
    end: Place
    """Behind the activation."""
    power: float | None
    """fan_in E w², which is E y² / E x² of independent weights; None where there is no fan."""
    usual: float
    """The squared gain of the activation in front: what ``ratio`` is where the signal is kept."""
    bias: float = 0.0
    """E b²."""

    @property
    def ratio(self) -> float | None:
        """E (W x)² / E x²; for the model's input, which is not measured, of independent weights."""
        leaves = self.sums.signal.second_moment
        if self.reads is None or self.bias > _ONLY_BIAS * leaves:
            return self.power
        arrives = self.reads.signal.second_moment
        return (leaves - self.bias) / arrives if arrives > 0 else None

    @property
    def factor(self) -> float | None:
        """E phi(y)² / E x²: what one layer does to the signal, with its bias.

        None for a readout of mostly its bias, which has the mean of the targets and is no trend.
        """
        leaves, passes = self.sums.signal.second_moment, self.end.signal.second_moment
        if self.site.role == "readout" and self.is_of_its_bias:
            return None
        if self.reads is None:
            return self.power * passes / leaves if self.power and leaves > 0 else None
        arrives = self.reads.signal.second_moment
        return passes / arrives if arrives > 0 else None

    @property
    def gradient(self) -> float | None:
        """The squared gradient of one input of the batch, at the layer's output.

        Before a norm that of an output of unit size: the norm divides it by the size it has.
        """
        signal = self.sums.signal
        if signal.gradient is None:
            return None
        return signal.gradient * signal.size * (self._size if self.site.normalized_output else 1.0)

    @property
    def is_of_its_bias(self) -> bool:
        """Whether most of what leaves is the bias."""
        return self.bias > self.sums.signal.second_moment / 2

    @property
    def _size(self) -> float:
        """E y², without a bias that is most of it: batch norm takes that off."""
        signal = self.sums.signal
        is_apart = self.is_of_its_bias and signal.variance
        return signal.variance or 0.0 if is_apart else signal.second_moment


@final
class Net:
    """What the findings read: places and who reads them, layers, parameters, sites, limits."""

    def __init__(self, evidence: Evidence) -> None:
        self.report: Report = evidence.report
        self.limits: Limits = evidence.report.limits
        self.sites = evidence.sites
        self.powers = evidence.powers
        self.places = evidence.report.places
        self.states: dict[str, ParameterState] = {
            state.name: state for state in evidence.report.parameters
        }
        self.readers: list[list[int]] = [[] for _ in self.places]
        for place in self.places:
            for before in place.inputs:
                self.readers[before].append(place.index)
        self._gains: dict[SiteActivation, float] = {}
        self.layers: tuple[Layer, ...] = tuple(
            self._layer(place)
            for place in self.places
            if place.weight in self.sites and self.sites[place.weight].layout is not None
        )
        self.first_use: dict[str, Layer] = {}
        for layer in self.layers:
            self.first_use.setdefault(layer.place.weight, layer)

    def _layer(self, place: Place) -> Layer:
        site = self.sites[place.weight]
        before = [self.places[index] for index in place.inputs]
        sums = self._follow(place, lambda one: one.kind == "add" and one.stream is None)
        # A factor such as that of dropout belongs to what is passed on.
        end = self._follow(sums, lambda one: one.kind in ("pointwise", "multiply"))
        gates = any(self._is_gated(self.places[index]) for index in self.readers[end.index])
        if gates or site.role == "readout":
            end = sums  # The size of a gate or of a probability is no size of a signal.
        return Layer(
            place=place,
            site=site,
            reads=max(before, key=lambda one: one.signal.second_moment, default=None),
            sums=sums,
            end=end,
            power=self._power(site),
            usual=self._usual(site.activation),
            bias=self.bias_of(site.name),
        )

    @staticmethod
    def _is_gated(place: Place) -> bool:
        return place.kind == "multiply" and len(place.inputs) > 1

    def _follow(self, place: Place, is_part: Callable[[Place], bool]) -> Place:
        """The last place of a chain behind this one, where nothing else joins or branches off."""
        while len(self.readers[place.index]) == 1:
            following = self.places[self.readers[place.index][0]]
            if following.weight or following.inputs != (place.index,) or not is_part(following):
                break
            place = following
        return place

    def bias_name(self, weight: str) -> str | None:
        """The bias beside a weight."""
        path, dot, local = weight.rpartition(".")
        name = path + dot + local.replace("weight", "bias")
        return name if name != weight and name in self.states else None

    def bias_of(self, weight: str) -> float:
        """E b² of the bias beside a weight; 0 where there is none."""
        name = self.bias_name(weight)
        return 0.0 if name is None else self.states[name].second_moment

    def _power(self, site: Site) -> float | None:
        state, layout = self.states.get(site.name), site.layout
        if state is None or layout is None or not layout.has_fans:
            return None
        return layout.fan_in * state.second_moment

    def _usual(self, activation: SiteActivation) -> float:
        if activation not in self._gains:
            try:
                self._gains[activation] = gain(activation) ** 2
            except FaninError:
                self._gains[activation] = 1.0
        return self._gains[activation]

    def behind(self, index: int) -> set[int]:
        """The places that a place reaches, itself included."""
        found, waiting = {index}, [index]
        while waiting:
            for reader in self.readers[waiting.pop()]:
                if reader not in found:
                    found.add(reader)
                    waiting.append(reader)
        return found

    def only_scores(self, place: Place) -> bool:
        """Whether nothing but a softmax reads this, as a mask that is added: it may hold -inf."""
        readers = [self.places[index] for index in self.readers[place.index]]
        return (
            not place.weight
            and place.kind != "product"
            and bool(readers)
            and all(one.kind == "softmax" or self.only_scores(one) for one in readers)
        )

    def weight_before(self, place: Place) -> Layer | None:
        """The layer that a place belongs to: up the only way, to the nearest weight."""
        while not place.weight:
            if len(place.inputs) != 1:
                return None
            place = self.places[place.inputs[0]]
        return next((layer for layer in self.layers if layer.place is place), None)

    def place_of(self, parameter: str) -> int | None:
        """The first place at which a parameter, or the weight beside it, is used."""
        if parameter in self.first_use:
            return self.first_use[parameter].place.index
        path, dot, local = parameter.rpartition(".")
        beside = path + dot + local.replace("bias", "weight")
        if beside in self.first_use:
            return self.first_use[beside].place.index
        return next((one.index for one in self.places if path and one.name == path), None)


def is_zero(state: ParameterState | None) -> bool:
    """Whether all entries are zero."""
    return state is not None and state.second_moment == 0 and state.finite == 1.0


def varies(place: Place) -> bool | None:
    """Whether it differs from input to input by more than rounding; None for a single input."""
    variance, moment = place.signal.variance, place.signal.second_moment
    if moment == 0:
        return False
    return None if variance is None else variance > _CONSTANT * moment
