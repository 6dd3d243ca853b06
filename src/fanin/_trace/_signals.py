"""What arrives at each weight, and what its output meets next."""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Final, Literal, final

from fanin._site import SiteActivation
from fanin._trace._flow import Flow
from fanin._trace._graph import Node, Value
from fanin._trace._propagate import weight_operand
from fanin._trace._residual import Streams
from fanin._trace._units import Units

__all__ = ["Arrival", "Signals"]

_PASSED: Final = ("view", "slice", "copy", "move", "pool", "reduce")
_WRITES: Final = ("overwritten", "index_put", "scatter", "index_copy", "slice_scatter")
Join = Literal["none", "add", "concatenate"]


@final
@dataclass(slots=True)
class Arrival:
    """What arrives at an input: through which activation, norm and join, from which weights."""

    activation: SiteActivation = "identity"
    normalized: bool = False
    join: Join = "none"
    sources: dict[object, Node] = field(default_factory=dict)
    """By parameter, so that a weight that ran many times is one."""
    plain: Node | None = None
    """The one weight that it comes from, with no norm, sum or gate in between."""


@final
class Signals:
    """For each weighted node, what arrives at it and what follows it."""

    def __init__(self, flow: Flow, streams: Streams, units: Units) -> None:
        self._flow, self._streams = flow, streams
        self._units, self._averages = units.names, units.averages
        self._starts = {one.start for one in streams.sums.values()}
        self.weighted = [node for node in flow.graph.nodes if flow.is_weighted(node)]
        self._known: dict[Value, Arrival] = {}
        for node in flow.graph.nodes:
            # In the order of the run, what an arrival rests on is known before it is asked for.
            for value in node.inputs:
                if value.floating and flow.elementwise.is_data(value):
                    self.arrival(value)
        self.arrivals = {node: self.arrival(flow.data_of(node)) for node in self.weighted}
        self.depth = self._depths()
        self.plain_depth = self._plain_depths()
        self.after: dict[Node, SiteActivation] = {}
        self.normalized_after: set[Node] = set()
        self._look_ahead()
        self.feeds, self.leaves = self._ends()

    def arrival(self, value: Value | None) -> Arrival:
        """What stands between ``value`` and the weights before it."""
        if value is None:
            return Arrival()
        if value not in self._known:
            self._known[value] = self._arrival(value)
        return self._known[value]

    def _arrival(self, value: Value) -> Arrival:
        activation = self._flow.elementwise.activation(value)
        source = self._flow.elementwise.source(value)
        node = source.node
        if self._flow.is_weighted(node):
            plain = None if source in self._starts else node
            return Arrival(activation, sources={_weight(node): node}, plain=plain)
        if node in self._flow.norms:
            before = self.arrival(self._flow.norms[node])
            return Arrival(activation, normalized=True, sources=before.sources, join=before.join)
        if node.kind in _PASSED:
            return self._passed(activation, node)
        found = self._joined(node)
        if activation != "identity":
            found.activation = activation
        return found

    def _passed(self, activation: SiteActivation, node: Node) -> Arrival:
        data = self._flow.elementwise.data_inputs(node)
        if not data:
            return Arrival(activation)
        if node.operation in _WRITES and len(data) > 1:
            arrivals = [self.arrival(value) for value in data]
            sources = _unique(arrivals)
            join: Join = "concatenate" if len(sources) > 1 else "none"
            return Arrival(activation, join=join, sources=sources)
        before = self.arrival(data[0])
        return replace(before, activation=activation) if activation != "identity" else before

    def _joined(self, node: Node) -> Arrival:
        """What arrives where several signals meet."""
        if node in self._streams.sums:
            branches = self._streams.sums[node].branches
            writers = [one.node for branch in branches for one in branch]
            return Arrival(join="add", sources={_weight(one): one for one in writers})
        data = self._flow.elementwise.data_inputs(node)
        arrivals = [self.arrival(value) for value in data]
        if node.kind in ("add", "concatenate"):
            join: Join = "add" if node.kind == "add" else "concatenate"
            return Arrival(_common(arrivals), join=join, sources=_unique(arrivals))
        if node in self._units:
            return Arrival(self._units[node], sources=_unique(arrivals))
        if node in self._averages:
            # What is averaged arrives, not what the shares come from.
            return Arrival(sources=self.arrival(self._averages[node]).sources)
        linear = [self.arrival(value) for value in self._flow.linear_inputs(node.value)]
        return Arrival(sources=_unique([one for one in linear if one.sources] or arrivals))

    def _depths(self) -> dict[Node, int]:
        depth: dict[Node, int] = defaultdict(int)
        for node in self._flow.graph.nodes:
            before = max((depth[value.node] for value in node.inputs), default=0)
            depth[node] = before + (1 if self._flow.is_weighted(node) else 0)
        return depth

    def _plain_depths(self) -> dict[Node, int]:
        before: dict[Node, int] = {}
        for node in self.weighted:
            plain = self.arrivals[node].plain
            before[node] = 1 + (before.get(plain, 0) if plain is not None else 0)
        longest = dict(before)
        for node in reversed(self.weighted):
            plain = self.arrivals[node].plain
            if plain is not None:
                longest[plain] = max(longest.get(plain, 0), longest[node])
        # Along one run all have the length of the whole.
        for node in self.weighted:
            plain = self.arrivals[node].plain
            if plain is not None:
                longest[node] = max(longest[node], longest[plain])
        return longest

    def _look_ahead(self) -> None:
        for node in self._flow.graph.nodes:
            if node in self._flow.norms.inner:
                continue
            for value in node.outputs:
                source = self._flow.elementwise.source(value).node
                if self._flow.is_weighted(source) and value.floating:
                    activation = self._flow.elementwise.activation(value)
                    if activation != "identity":
                        self.after[source] = activation
        for node in self.weighted:
            if self._is_only_normalized(node):
                self.normalized_after.add(node)

    def _is_only_normalized(self, node: Node) -> bool:
        """Whether something reads the output, and all that does reads it normalized."""
        waiting, seen, is_normalized = [node], set[Node](), False
        results = set(self._flow.graph.results)
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            if any(value in results for value in one.outputs):
                return False
            for user in one.users:
                if user in self._flow.norms:
                    is_normalized = True
                elif user in self._flow.norms.inner or self._hands_on(user):
                    waiting.append(user)
                elif any(value.floating for value in user.outputs):
                    return False
        return is_normalized

    def _hands_on(self, node: Node) -> bool:
        """Whether the node gives on what it gets, up to places, a bias or a constant factor."""
        if node.kind in ("view", "copy", "slice", "pool") or node.operation == "native_dropout":
            return True
        data = self._flow.elementwise.data_inputs(node)
        if len(data) != 1 or node.kind not in ("add", "multiply"):
            return False
        return self._flow.elementwise.activation(node.value) == "identity"

    def _ends(self) -> tuple[set[Node], set[Node]]:
        """The nodes that a later weight reads, and those that the model's results come from."""
        feeds: set[Node] = set()
        leaves = {value.node for value in self._flow.graph.results if value.floating}
        for node in reversed(self._flow.graph.nodes):
            reads = node in feeds or self._flow.is_weighted(node)
            for value in node.inputs:
                if reads and self._flow.elementwise.is_data(value):
                    feeds.add(value.node)
                if node in leaves:
                    leaves.add(value.node)
        return feeds, leaves

    def is_readout(self, node: Node) -> bool:
        """Whether the output leaves the model with no other weight after it."""
        return node in self.leaves and node not in self.feeds


def _weight(node: Node) -> object:
    weight = weight_operand(node)
    return node if weight is None or node.kind == "recurrent" else weight.parameter


def _unique(arrivals: list[Arrival]) -> dict[object, Node]:
    """The sources of all, one for each parameter however often it ran."""
    return {key: node for one in arrivals for key, node in one.sources.items()}


def _common(arrivals: list[Arrival]) -> SiteActivation:
    """The activation that all of the signals passed, if it is one and the same."""
    passed = [one.activation for one in arrivals if one.sources]
    return passed[0] if passed and all(one == passed[0] for one in passed) else "identity"
