"""What arrives at each weight, and what its output meets next."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final, Literal, final

from fanin._site import SiteActivation
from fanin._trace._flow import Flow
from fanin._trace._graph import Node, Value
from fanin._trace._residual import Streams

__all__ = ["Arrival", "Signals"]

_PASSED: Final = ("view", "slice", "copy", "move", "pool", "reduce")
Join = Literal["none", "add", "concatenate"]


@final
@dataclass(slots=True)
class Arrival:
    """What arrives at an input: through which activation, norm and join, from which weights."""

    activation: SiteActivation = "identity"
    normalized: bool = False
    join: Join = "none"
    sources: list[Node] = field(default_factory=list)
    plain: Node | None = None
    """The one weight that it comes from, with no norm, sum or gate in between."""


@final
class Signals:
    """For each weighted node, what arrives at it and what follows it."""

    def __init__(self, flow: Flow, streams: Streams, units: dict[Node, str]) -> None:
        self._flow, self._streams, self._units = flow, streams, units
        self._starts = {one.start for one in streams.sums.values()}
        self.weighted = [node for node in flow.graph.nodes if flow.is_weighted(node)]
        self.arrivals = {node: self.arrival(flow.data_of(node)) for node in self.weighted}
        self.depth = self._depths()
        self.plain_depth = self._plain_depths()
        self.after: dict[Node, SiteActivation] = {}
        self.normalized_after: set[Node] = set()
        self._look_ahead()
        self.feeds, self.leaves = self._ends()

    def arrival(self, value: Value | None) -> Arrival:
        """What stands between ``value`` and the weights before it."""
        found, crossed = Arrival(), False
        while value is not None:
            if found.activation == "identity" and not crossed:
                found.activation = self._flow.elementwise.activation(value)
            source = self._flow.elementwise.source(value)
            node = source.node
            if self._flow.is_weighted(node):
                found.sources = [node]
                is_fork = source in self._starts
                found.plain = None if found.normalized or crossed or is_fork else node
                return found
            if node in self._flow.norms:
                found.normalized, value = True, self._flow.norms[node]
                crossed = True
            elif node.kind in _PASSED:
                data = self._flow.elementwise.data_inputs(node)
                value = data[0] if data else None
            else:
                self._at_join(node, found, crossed=crossed)
                return found
        return found

    def _at_join(self, node: Node, found: Arrival, *, crossed: bool) -> None:
        if node in self._units and found.activation == "identity" and not crossed:
            found.activation = self._units[node]
        if node in self._streams.sums:
            found.join = "add"
            last = self._streams.sums[node]
            found.sources = [reached.node for branch in last.branches for reached in branch]
            return
        if node.kind in ("add", "concatenate"):
            found.join = "add" if node.kind == "add" else "concatenate"
            self._join(node, found, crossed=crossed)
            return
        # Both inputs of a product unit arrive; of an average by attention, what is averaged.
        is_unit = node in self._units
        linear = [] if is_unit else [one.node for one in self._flow.reached(node.value)]
        arrivals = [self.arrival(value) for value in self._flow.elementwise.data_inputs(node)[:4]]
        found.sources = linear or _unique(arrivals)

    def _join(self, node: Node, found: Arrival, *, crossed: bool) -> None:
        arrivals = [self.arrival(value) for value in self._flow.elementwise.data_inputs(node)]
        found.sources = _unique(arrivals)
        same = {str(arrival.activation) for arrival in arrivals if arrival.sources}
        if len(same) == 1 and found.activation == "identity" and not crossed:
            found.activation = arrivals[0].activation

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
            for value in node.outputs:
                source = self._flow.elementwise.source(value).node
                if self._flow.is_weighted(source) and value.floating:
                    activation = self._flow.elementwise.activation(value)
                    if activation != "identity":
                        self.after[source] = activation
        for value in self._flow.norms.values():
            arrival = self.arrival(value)
            if arrival.plain is not None and arrival.activation == "identity":
                self.normalized_after.add(arrival.plain)

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


def _unique(arrivals: list[Arrival]) -> list[Node]:
    return list(dict.fromkeys(node for arrival in arrivals for node in arrival.sources))
