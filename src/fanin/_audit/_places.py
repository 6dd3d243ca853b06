"""From what was measured of a graph's nodes to the places of a report."""

from collections import Counter
from collections.abc import Iterable
from math import prod
from typing import final

from torch import nn

from fanin._audit._records import Place, Signal
from fanin._audit._watch import Seen
from fanin._trace._graph import Node, Value
from fanin._trace._names import canonical_name
from fanin._trace._propagate import weight_operand
from fanin._trace._roles import Reading

__all__ = ["places_of"]

_DRAWS = ("bernoulli", "rand", "rand_like", "uniform", "randint", "randint_like")


def places_of(
    reading: Reading, seen: dict[int, Seen], inputs: int, model: nn.Module
) -> tuple[Place, ...]:
    """One place for each node that was measured, numbered in the order of the run."""
    return _Numbering(reading, seen, inputs, model).places()


@final
class _Numbering:
    def __init__(
        self, reading: Reading, seen: dict[int, Seen], inputs: int, model: nn.Module
    ) -> None:
        self._reading, self._inputs = reading, inputs
        self._seen = dict(sorted(seen.items()))
        self._number = {one.node: place for place, one in enumerate(self._seen.values())}
        paths = {one.node.module for one in self._seen.values()}
        self._modules = {path: canonical_name(model, path) for path in paths}
        self._origins: dict[Node, tuple[int, ...]] = {}
        self._names = self._named()

    def places(self) -> tuple[Place, ...]:
        return tuple(self._place(place, one) for place, one in enumerate(self._seen.values()))

    def _place(self, index: int, one: Seen) -> Place:
        node, weighted = one.node, self._weighted(one.node)
        numbers = one.numbers
        residual = self._reading.streams.sums.get(node)
        return Place(
            index=index,
            name=self._names[index],
            operation=node.operation if weighted is None else weighted.operation,
            kind=node.kind if weighted is None else weighted.kind,
            module=self._modules[node.module],
            shape=one.shape,
            depth=self._reading.signals.depth[node],
            signal=Signal(
                second_moment=numbers.second_moment,
                size=prod(one.shape) // max(self._inputs, 1),
                variance=numbers.variance,
                correlation=numbers.correlation,
                position_correlation=numbers.position_correlation,
                gradient=one.gradient,
                finite=numbers.finite,
            ),
            inputs=tuple(sorted(set(self._before(node)))),
            weight=_weight_name(weighted),
            stream=residual.stream if residual is not None else None,
            dead=one.dead,
            samples=one.samples,
            saturated=one.saturated,
            entropy=one.entropy,
            stochastic=node.kind == "multiply" and any(map(_is_drawn, node.inputs)),
        )

    def _weighted(self, node: Node) -> Node | None:
        """The node that multiplies with a parameter here, alone or before a sum with its bias."""
        if self._is_weighted(node):
            return node
        product = node.inputs[0].node if node.inputs else node
        is_split = node.operation in ("add", "bias") and product.index == node.index - 1
        if is_split and product not in self._number and self._is_weighted(product):
            return product
        return None

    def _is_weighted(self, node: Node) -> bool:
        return self._reading.flow.is_weighted(node) and node not in self._reading.units.scores

    def _before(self, node: Node) -> Iterable[int]:
        """The places that a node's inputs come from, through operations that were not measured."""
        for value in node.inputs:
            number = self._number.get(value.node)
            if number is not None:
                yield number
            else:
                if value.node not in self._origins:
                    self._origins[value.node] = tuple(self._before(value.node))
                yield from self._origins[value.node]

    def _named(self) -> list[str]:
        nodes = [one.node for one in self._seen.values()]
        in_module = Counter(node.module for node in nodes)
        found: list[str] = []
        times: Counter[str] = Counter()
        for node in nodes:
            name = self._name(node, alone=in_module[node.module] == 1)
            times[name] += 1
            found.append(name if times[name] == 1 else f"{name} #{times[name]}")
        return found

    def _name(self, node: Node, *, alone: bool) -> str:
        weighted, module = self._weighted(node), self._modules[node.module]
        weight = _weight_name(weighted)
        if weighted is not None and weighted.kind == "recurrent" and module:
            return module
        if weight:
            return weight.removesuffix(".weight")
        if not module:
            return node.operation
        return module if alone else f"{module} {node.operation}"


def _is_drawn(value: Value) -> bool:
    """Whether a factor comes from random numbers, of constants alone."""
    waiting, drawn = [value.node], False
    while waiting:
        node = waiting.pop()
        if node.kind in ("input", "parameter", "product", "lookup"):
            return False
        drawn = drawn or node.operation in _DRAWS
        waiting += [one.node for one in node.inputs]
    return drawn


def _weight_name(node: Node | None) -> str:
    if node is None:
        return ""
    if node.kind == "recurrent":
        names = [one.parameter for one in node.inputs if one.parameter and len(one.shape) > 1]
        return names[0] if names else ""
    weight = weight_operand(node)
    return weight.parameter if weight is not None else ""
