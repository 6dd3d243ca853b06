"""What mean field theory says of a run: E x² and the squared gradient, layer by layer.

Each layer is taken to sum many independent terms of mean zero, so that its outputs are normal, and
E z² = (connections per output) E w² E x² + E b²; an activation turns q = E z² into E φ(√q z)²
(Poole et al. 2016), and the squared gradient goes back through E φ'(√q z)² (Schoenholz et al. 2017,
eq. 13). E w² and E b² are those that the parameters have. Connections are counted, borders too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Final, TypeAlias, final

from fanin._audit._connections import connections
from fanin._audit._records import ParameterState, Prediction
from fanin._audit._watch import Seen
from fanin._errors import FaninError
from fanin._gains import identify, moments
from fanin._site import Site
from fanin._trace._flow import Flow
from fanin._trace._graph import Node, Value
from fanin._trace._propagate import weight_operand
from fanin._trace._replay import Replay, recorded

__all__ = ["predictions_of"]

_CHANCE: Final = 5.0
"""Standard errors by which the mean of drawn weights may be off zero: one weight in a million."""
_SAME: Final = 1e-9
_REARRANGED: Final = (
    "overwritten", "roll", "flip", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
    "replication_pad1d", "replication_pad2d", "replication_pad3d",
)  # fmt: skip
"""What moves or repeats entries, and makes none."""


def predictions_of(
    flow: Flow,
    sites: Mapping[str, Site],
    states: Mapping[str, ParameterState],
    seen: Mapping[int, Seen],
    *,
    given: Mapping[int, float] | None = None,
) -> tuple[tuple[Prediction, ...], str]:
    """E x² of each plain layer and residual sum, and its squared gradient beside the last one's.

    ``seen`` is what was measured, by the index of its node, and ``given`` E x² of the model's
    inputs, by theirs; without that the first layer is taken as it was measured. Places are numbered
    as in ``seen``. Theory goes on through weights that look drawn independently, activations, sums
    of independent branches and dropout, up to the first norm, pooling or gate; the text says at
    which weight it ends, and why. Nothing is predicted of a net with fewer than two such layers.
    """
    forward = _Forward(flow, sites, states, seen, given or {})
    weighted = sum(flow.is_weighted(node) for node in flow.graph.nodes)
    if len(forward.layers) < max(2, weighted / 2):
        return (), forward.said or "there are fewer than two layers"
    gradients = _backward(flow, forward)
    numbers = {index: place for place, index in enumerate(sorted(seen))}
    found = {}
    for node in forward.layers + forward.sums:
        value = _measured_with(flow, node)
        law = forward.of(value)
        if value.node.index in numbers and isinstance(law, _Law):
            found[numbers[value.node.index]] = Prediction(
                index=numbers[value.node.index],
                second_moment=law.power,
                gradient=gradients.get(node.value),
            )
    if not any(one.gradient not in (None, 1.0) for one in found.values()):
        found = {index: replace(one, gradient=None) for index, one in found.items()}
    return tuple(found[index] for index in sorted(found)), forward.said


def _measured_with(flow: Flow, node: Node) -> Value:
    """The sum of a product with its bias where torch computes them at once, else the output."""
    after = flow.graph.nodes[node.index + 1 :][:1]
    if after and after[0].kind == "add" and after[0].inputs[:1] == (node.value,):
        bias = after[0].inputs[1:]
        if any(one is argument for one in bias for argument in node.arguments):
            return after[0].value
    return node.value


@final
@dataclass(frozen=True, slots=True)
class _Law:
    """E x² of a value, and whether it is normal with mean 0."""

    power: float
    is_normal: bool
    links: tuple[tuple["Value", float], ...] = ()
    """What it is made of, each with the share of the sum of g² that goes back to it."""


_Found: TypeAlias = _Law | str
"""A law, or why there is none."""


@final
class _Forward:
    """The laws of a graph's values, as far as theory goes."""

    def __init__(
        self,
        flow: Flow,
        sites: Mapping[str, Site],
        states: Mapping[str, ParameterState],
        seen: Mapping[int, Seen],
        given: Mapping[int, float],
    ) -> None:
        self.flow, self.sites, self.states = flow, sites, states
        self.seen, self.given = seen, given
        self.elementwise = flow.elementwise
        self.laws: dict[Value, _Law] = {}
        self.layers: list[Node] = []
        self.sums: list[Node] = []
        self.said = ""
        self._why: dict[Value, str] = {}
        self._names: dict[Replay, str | None] = {}
        self._data = {
            node
            for node in flow.graph.nodes
            if node.outputs and self.elementwise.is_data(node.value)
        }
        for node in flow.graph.nodes:
            for value in node.outputs if node in self._data else ():
                # A function of a value is looked at when something is made of it.
                if not self.elementwise.step(value).nodes:
                    self._note(value)

    def _note(self, value: Value) -> None:
        found, node = self._law(value), value.node
        is_layer = node.kind == "product" and weight_operand(node) is not None
        if isinstance(found, str):
            self._why[value] = found
            if is_layer and not self.said:
                self.said = f"theory ends before {_name(node)}: {found}"
            return
        self.laws[value] = found
        if is_layer:
            self.layers.append(node)
        elif len(found.links) > 1 and node.kind == "add":
            self.sums.append(node)

    def of(self, value: Value) -> _Found:
        """The law of a value, or why it has none."""
        if value.node in self._data and value not in self.laws and value not in self._why:
            self._note(value)
        return self.laws.get(value) or self._why.get(value, "it does not depend on the input")

    def _law(self, value: Value) -> _Found:
        node, step = value.node, self.elementwise.step(value)
        if node.kind in ("input", "lookup"):
            return self._start(node)
        if step.nodes:
            return self._through(step.source, step.nodes)
        if step.source is not value:
            return self._alike(step.source)
        data = self.elementwise.data_inputs(node)
        return self._product(node) if node.kind == "product" else self._joined(node, data)

    def _joined(self, node: Node, data: list[Value]) -> _Found:
        if node.operation in ("add", "sub") and len(data) == 2:
            return self._sum(node, data)
        if node.kind == "slice" and data:
            return self._alike(data[0])
        if node.operation in _REARRANGED and data:
            return self._rearranged(data)
        return f"it is behind {node.operation}"

    def _start(self, node: Node) -> _Found:
        known = self.given.get(node.index)
        if known is None and node.index in self.seen:
            known = self.seen[node.index].numbers.second_moment
        return "its input was not measured" if known is None else _Law(known, is_normal=False)

    def _alike(self, source: Value) -> _Found:
        found = self.of(source)
        if isinstance(found, str):
            return found
        return _Law(found.power, found.is_normal, ((source, 1.0),))

    def _rearranged(self, data: list[Value]) -> _Found:
        found = [self.of(one) for one in data]
        laws = [one for one in found if isinstance(one, _Law)]
        if len(laws) < len(found) or max(one.power for one in laws) > 1.001 * laws[0].power:
            return next((one for one in found if isinstance(one, str)), "it is pieced together")
        size = sum(prod(one.shape) for one in data)
        links = tuple((one, prod(one.shape) / size) for one in data)
        return _Law(laws[0].power, all(one.is_normal for one in laws), links)

    def _product(self, node: Node) -> _Found:
        weight, data = weight_operand(node), self.flow.data_of(node)
        if weight is None or data is None:
            return "it is behind a product of two signals"
        state, count = self.states.get(weight.parameter), connections(node, data, weight)
        refused = _refused(self.sites.get(weight.parameter), state, weight)
        if refused or count is None or state is None:
            return refused or f"connections of {node.operation} are not counted"
        before = self.of(data)
        if isinstance(before, str):
            return before if self.layers else self._measured(node, before)
        size = prod(node.value.shape)
        share = state.second_moment * count / size
        return _Law(before.power * share, is_normal=True, links=((data, share),))

    def _measured(self, node: Node, why: str) -> _Found:
        """The first layer as it was measured, where its input is not known; its bias is in that."""
        shown = _measured_with(self.flow, node)
        seen = self.seen.get(shown.node.index)
        if seen is None:
            return why
        bias = 0.0 if shown is node.value else self._square(shown.node.inputs[1]) or 0.0
        return _Law(max(seen.numbers.second_moment - bias, 0.0), is_normal=True)

    def _square(self, parameter: Value) -> float | None:
        """E p² of a parameter."""
        state = self.states.get(parameter.parameter)
        return state.second_moment if state is not None and state.finite == 1.0 else None

    def _sum(self, node: Node, data: list[Value]) -> _Found:
        found = [self.of(one) for one in data]
        factors = (1.0, _number(node.keywords.get("alpha", 1)) ** 2)
        laws = [one for one in found if isinstance(one, _Law)]
        if len(laws) < 2:
            return next(one for one in found if isinstance(one, str))
        roots = [{one.node for one in self.flow.reached(value)} for value in data]
        if not any(one.is_normal for one in laws) or roots[0] & roots[1]:
            return "it is behind a sum of signals that are not independent"
        power = sum(law.power * factor for law, factor in zip(laws, factors, strict=True))
        links = tuple(zip(data, factors, strict=True))
        return _Law(power, all(one.is_normal for one in laws), links)

    def _through(self, source: Value, nodes: tuple[Node, ...]) -> _Found:
        """An elementwise function: parameters and dropout aside, E φ² and E φ'²."""
        before = self.of(source)
        if isinstance(before, str):
            return before
        power, is_normal, back, kept = before.power, before.is_normal, 1.0, list(nodes)
        while kept and (square := self._added(kept[0])) is not None:
            power, kept = power + square, kept[1:]
        factor = 1.0
        while kept and (times := self._multiplied(kept[-1])) is not None:
            factor, kept = factor * times, kept[:-1]
        if any(self._others(node) for node in kept):
            return f"it is behind {next(n.operation for n in kept if self._others(n))}"
        if kept:
            phi = recorded(tuple(kept), self._behind, self._data)
            if phi not in self._names:
                self._names[phi] = _identified(phi)
            passed = _passed(self._names[phi] or phi, power)
            if passed is None or not (before.is_normal or passed.is_linear):
                return f"it is behind {phi.__name__} of what is not normal"
            power, back = passed.power, passed.slope
            is_normal = before.is_normal and passed.is_linear
        return _Law(power * factor, is_normal, ((source, back * factor),))

    def _others(self, node: Node) -> list[Value]:
        """The tensors that a step takes beside the signal, parameters and masks."""
        return [
            one for one in node.inputs if not self.elementwise.is_data(one) and one.node is not node
        ]

    def _added(self, node: Node) -> float | None:
        """E b², where the step adds a parameter."""
        others = self._others(node)
        is_plain = node.kind == "add" and len(others) == 1 and "alpha" not in node.keywords
        return self._square(others[0]) if is_plain else None

    def _multiplied(self, node: Node) -> float | None:
        """E s², where the step multiplies by a parameter or by dropout's mask."""
        others = self._others(node)
        if node.operation != "mul" or len(others) != 1:
            return None
        return self._square(others[0]) if others[0].parameter else _dropout(others[0].node)

    def _behind(self, value: Value) -> Node:
        node = value.node
        while node.kind in ("view", "copy") and node.inputs:
            node = node.inputs[0].node
        return node


@final
@dataclass(frozen=True, slots=True)
class _Passed:
    """E φ² and E φ'² of a normal input."""

    power: float
    slope: float
    is_linear: bool


def _identified(phi: Replay) -> str | None:
    """The name of an activation, whose moments are quicker; a straight line has a slope."""
    try:
        name = identify(phi)
    except (RuntimeError, TypeError):
        return None
    return None if name == "identity" else name


def _passed(phi: Replay | str, power: float) -> _Passed | None:
    try:
        found = moments(phi, variance=power)
    except FaninError:
        return None
    # Var φ ≤ q E φ'², equal for straight lines alone (Chernoff 1981); through zero if the mean is.
    slope = power * found.derivative_second
    is_straight = abs(found.variance - slope) < _SAME * slope
    is_linear = is_straight and found.mean**2 < _SAME * found.second
    return _Passed(found.second, found.derivative_second, is_linear)


def _number(found: object) -> float:
    return float(found) if isinstance(found, (int, float)) else float("nan")


def _dropout(node: Node) -> float | None:
    """E m² of dropout's mask m, which is 0 or 1 / kept."""
    made = node.inputs[0].node if node.operation == "div" and node.inputs else None
    if made is None or made.operation != "bernoulli":
        return None
    # torch leaves out an argument that has its default value, here 0.5.
    kept = _number(made.arguments[1]) if len(made.arguments) > 1 else 0.5
    return 1 / kept if kept > 0 else None


def _refused(site: Site | None, state: ParameterState | None, weight: Value) -> str:
    """Why a weight does not look like independent draws, each used once; or nothing."""
    if site is None or state is None or prod(weight.shape) != prod(state.shape):
        return "it is not a parameter as it is"
    far = _CHANCE**2 * state.second_moment / prod(state.shape)
    checks = {
        "it is computed from other parameters": bool(site.stored),
        f"it is used {site.uses} times": site.uses != 1,
        "it is not finite": state.finite < 1,
        f"it is equal to {state.same_as}": bool(state.same_as),
        "most of it is zero": state.zeros > 0.5 and state.second_moment > 0,
        f"its mean is {state.mean:.2g}, not 0": state.mean**2 > far,
    }
    return next((reason for reason, holds in checks.items() if holds), "")


def _name(node: Node) -> str:
    weight = weight_operand(node)
    return weight.parameter.removesuffix(".weight") if weight is not None else node.operation


def _backward(flow: Flow, forward: _Forward) -> dict[Value, float]:
    """E g² of layers and sums beside the last layer's, where all ways on lead there."""
    users = _users(flow)
    end = forward.layers[-1].value
    total: dict[Value, float] = {end: float(prod(end.shape))}
    found: dict[Value, float] = {}
    wanted = {node.value for node in forward.layers + forward.sums}
    reached = {end.node}
    for node in reversed(flow.graph.nodes[: end.node.index + 1]):
        for value in node.outputs:
            if value not in total or value not in forward.laws:
                continue
            # A way on that theory does not follow brings a gradient that is not known.
            if value is not end and not users.get(value, set()) <= reached:
                continue
            reached.add(node)
            if value in wanted:
                found[value] = total[value] / prod(value.shape)
            for source, share in forward.laws[value].links:
                total[source] = total.get(source, 0.0) + share * total[value]
    return found


def _users(flow: Flow) -> dict[Value, set[Node | None]]:
    """Which operations use a value or an elementwise function of it; None: the model's result.

    Those that no result comes from do not count.
    """
    users: dict[Value, set[Node | None]] = {}
    step = flow.elementwise.step
    alive = {value.node for value in flow.graph.results}
    for node in reversed(flow.graph.nodes):
        if node not in alive:
            continue
        alive |= {value.node for value in node.inputs}
        if node.outputs and (step(node.value).nodes or step(node.value).source is not node.value):
            continue
        for value in node.inputs:
            users.setdefault(step(value).source, set()).add(node)
    for value in flow.graph.results:
        users.setdefault(step(value).source, set()).add(None)
    return users
