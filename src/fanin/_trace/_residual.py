"""Find the residual streams: sums of a value with a branch that was computed from it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, final

from fanin._site import Residual
from fanin._trace._elementwise import is_repeated
from fanin._trace._flow import Flow, Reached
from fanin._trace._graph import Node, Value

__all__ = ["ResidualSum", "Streams"]

_MASKING: Final = ("masked_fill", "where", "repeat", "constant_pad_nd")
_SCORING: Final = ("view", "copy", "add", "multiply")
Norm = Literal["none", "pre", "post"]


@final
@dataclass(slots=True, eq=False)
class ResidualSum:
    """One sum ``start + branch``, where the branch was computed from ``start``."""

    node: Node
    start: Value
    skip: Value
    branch: Value
    inside: set[Node]
    shortcut: Node | None = None
    branches: list[list[Reached]] = field(default_factory=list)
    parent: "ResidualSum | None" = None
    level: int = 0
    norm: Norm = "none"
    first: int = 1
    stream: int = 0


@final
class Streams:
    """The residual sums of a graph, linked into streams."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self.sums: dict[Node, ResidualSum] = {}
        for node in flow.graph.of_kind("add"):
            found = self._residual_sum(node)
            if found is not None:
                self.sums[node] = found
        for one in self.sums.values():
            one.branches = self._branches(one)
        self._link()
        self._nest()
        self._number()
        self._counts = {one.stream: self._count(one.stream) for one in self.sums.values()}

    def _residual_sum(self, node: Node) -> ResidualSum | None:
        data = [value for value in node.inputs if self._carries(value, node)]
        is_function = bool(self._flow.elementwise.step(node.value).nodes)
        if len(data) != 2 or is_function or node in self._flow.norms.inner:
            return None
        if self.are_scores(node):
            return None
        ways = ((data[0], data[1]), (data[1], data[0]))
        for skip, branch in ways:
            found = self._identity_sum(node, skip, branch)
            if found is not None:
                return found
        for skip, branch in ways:
            found = self._shortcut_sum(node, skip, branch)
            if found is not None:
                return found
        return None

    def are_scores(self, node: Node) -> bool:
        """Whether a softmax reads the sum: scores of attention, with a bias for each position."""
        waiting, seen = [node], set[Node]()
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            if any(user in self._flow.softmaxes or _is_mask(one, user) for user in one.users):
                return True
            waiting += [user for user in one.users if user.kind in _SCORING]
            waiting += [user for user in one.users if user.operation in _MASKING]
        return False

    def _carries(self, value: Value, node: Node) -> bool:
        """Whether a term of a sum is a signal: also learned vectors repeated over the batch are."""
        is_signal = self._flow.elementwise.is_data(value) or is_repeated(value, node)
        return value.floating and is_signal

    def _identity_sum(self, node: Node, skip: Value, branch: Value) -> ResidualSum | None:
        for start in self._starts(skip, slices=True):
            if not self._flow.elementwise.is_data(start) and not start.parameter:
                return None
            inside = self._flow.between(branch, start)
            if inside is not None:
                # A mean or a turned copy of the stream is no branch, and none of what was before.
                is_branch = self._computes(inside)
                return ResidualSum(node, start, skip, branch, inside) if is_branch else None
        return None

    def _skip_of(self, node: Node) -> Value | None:
        return self.sums[node].skip if node in self.sums else None

    def _computes(self, inside: set[Node]) -> bool:
        """Whether a branch does more than move its input's entries around."""
        return any(
            self._flow.is_weighted(node)
            or node.kind in ("attention", "softmax", "pool", "other")
            or (node.kind == "reduce" and node.operation not in ("sum", "mean"))
            for node in inside
        )

    def _shortcut_sum(self, node: Node, skip: Value, branch: Value) -> ResidualSum | None:
        """A sum whose skip path has one weight of its own, as where a ResNet's width changes."""
        reached = self._flow.reached(skip, most=2)
        if len(reached) != 1:
            return None
        shortcut = reached[0].node
        data = self._flow.data_of(shortcut) if shortcut.kind == "product" else None
        if data is None:
            return None
        for start in self._starts(data, slices=False):
            inside = self._flow.between(branch, start)
            if inside is None:
                continue
            if self._runs_in(shortcut, inside) or not self._is_deeper(branch, start, inside):
                return None
            return ResidualSum(node, start, skip, branch, inside, shortcut=shortcut)
        return None

    def _runs_in(self, shortcut: Node, inside: set[Node]) -> bool:
        """Whether the shortcut's weight is used in the branch too, as in a net that iterates."""
        own = {value.parameter for value in shortcut.inputs if value.parameter}
        return shortcut in inside or any(
            value.parameter in own for node in inside for value in node.inputs if value.parameter
        )

    def _starts(self, value: Value, *, slices: bool) -> Iterator[Value]:
        """The values that a skip path may carry on: pools and norms may stand on it."""
        for start in self._flow.identities(value, self._skip_of, slices=slices):
            yield start
            if start.node.kind == "pool":
                yield from self._starts(start.node.inputs[0], slices=slices)
            elif start.node in self._flow.norms:
                yield from self._starts(self._flow.norms[start.node], slices=slices)

    def _is_deeper(self, branch: Value, start: Value, inside: set[Node]) -> bool:
        """Whether the branch has a weight before those that write, unlike a sum of two layers."""
        writers = {reached.node for reached in self._flow.reached(branch, {start})}
        if not writers:
            return sum(self._flow.is_weighted(node) for node in inside) > 1
        return all(
            node in inside
            and self._reads_weights(node, inside)
            and self._bends_before(node, start, inside)
            for node in writers
        )

    def _bends_before(self, node: Node, start: Value, inside: set[Node]) -> bool:
        """Whether a weight reads a function of others' outputs that is not linear."""
        data = self._flow.data_of(node)
        if data is None or any(one.kind in ("attention", "softmax") for one in inside):
            return True
        return all(reached.normalized for reached in self._flow.reached(data, {start}))

    def _reads_weights(self, node: Node, inside: set[Node]) -> bool:
        data = self._flow.data_of(node)
        waiting, seen = [data.node] if data is not None else [], set[Node]()
        while waiting:
            one = waiting.pop()
            if one in seen or one not in inside:
                continue
            if self._flow.is_weighted(one):
                return True
            seen.add(one)
            waiting += [value.node for value in one.inputs]
        return False

    def _branches(self, found: ResidualSum) -> list[list[Reached]]:
        """The writers of a sum, by branch: several that are added to one another are several."""
        stop = {found.start, *(one.node.value for one in self.sums.values() if one is not found)}
        parts = self.parts(found.branch, stop)
        branches = [self._flow.reached(part, stop) for part in parts]
        return [
            writers
            for writers in (
                [one for one in branch if one.node in found.inside] for branch in branches
            )
            if writers
        ]

    def parts(self, value: Value, stop: set[Value]) -> list[Value]:
        """The terms of a sum of sums."""
        elementwise, waiting, seen = self._flow.elementwise, [value], set[Value]()
        parts: list[Value] = []
        while waiting:
            one = waiting.pop()
            source = elementwise.source(one)
            if one in seen or one in stop or source in stop:
                continue
            seen.add(one)
            node, data = source.node, elementwise.data_inputs(source.node)
            if elementwise.activation(one) != "identity":
                parts.append(one)
            elif node.kind == "add" and len(data) == 2:
                waiting += data[::-1]
            elif node.kind in ("view", "copy"):
                waiting.append(node.inputs[0])
            else:
                parts.append(one)
        return parts

    def _link(self) -> None:
        """Find for each sum the one before it in its stream, and where norms stand."""
        for one in self.sums.values():
            start = self._flow.data_of(one.shortcut) if one.shortcut else one.skip
            parent, through_norm = self._before(start)
            one.parent = parent
            if through_norm and one.shortcut is not None:
                # What stands before a shortcut, the branch reads too.
                one.norm = "pre"
            elif parent is not None and through_norm and parent.norm == "none":
                parent.norm = "post"
            if self._reads_through_norm(one):
                one.norm = "pre"
        for one in self.sums.values():
            if one.norm == "none" and self._is_normalized(one.node.value):
                one.norm = "post"

    def _before(self, value: Value | None) -> tuple[ResidualSum | None, bool]:
        elementwise, through_norm = self._flow.elementwise, False
        while value is not None:
            source = elementwise.source(value)
            node = source.node
            if node in self.sums:
                return self.sums[node], through_norm
            if node in self._flow.norms:
                value, through_norm = self._flow.norms[node], True
            elif node.kind in ("view", "copy", "move", "pool", "slice"):
                data = elementwise.data_inputs(node)
                value = data[0] if data else None
            else:
                value = None
        return None, False

    def _reads_through_norm(self, one: ResidualSum) -> bool:
        """Whether the branch meets a norm of the stream before any weight."""
        return any(
            node in self._flow.norms
            and one.start in self._flow.identities(self._flow.norms[node], self._skip_of)
            for node in one.inside
        )

    def _is_normalized(self, value: Value) -> bool:
        waiting, seen = [value.node], set[Node]()
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            for user in node.users:
                if user in self._flow.norms:
                    return True
                is_same = user.kind in ("view", "copy") or user.operation == "native_dropout"
                if is_same or user in self._flow.norms.inner:
                    waiting.append(user)
        return False

    def _nest(self) -> None:
        for one in sorted(self.sums.values(), key=lambda found: len(found.inside), reverse=True):
            for node in one.inside:
                inner = self.sums.get(node)
                if inner is not None and inner is not one:
                    inner.level = max(inner.level, one.level + 1)

    def _number(self) -> None:
        streams: dict[ResidualSum, int] = {}
        for one in self.sums.values():
            before = one.parent
            if before is not None and before.level == one.level:
                one.stream = before.stream
                one.first = before.first + len(before.branches)
            else:
                one.stream = len(streams)
                streams[one] = one.stream

    def _count(self, stream: int) -> int:
        """How many branches write into a stream."""
        return max(
            (
                one.first + len(one.branches) - 1
                for one in self.sums.values()
                if one.stream == stream
            ),
            default=0,
        )

    def writers(self) -> dict[Node, Residual]:
        """Every weighted node that writes into a stream, and where."""
        found: dict[Node, Residual] = {}
        for one in self.sums.values():
            for offset, branch in enumerate(one.branches):
                for reached in branch:
                    found.setdefault(reached.node, self._place(one, offset, reached.scaled_by))
        return found

    def branches(self) -> dict[Node, Residual]:
        """Every weighted node in a branch, and the innermost branch that it is in."""
        found: dict[Node, Residual] = {}
        for one in sorted(self.sums.values(), key=lambda one: len(one.inside), reverse=True):
            for node in one.inside:
                if self._flow.is_weighted(node):
                    found[node] = self._place(one)
        return found

    def _place(self, one: ResidualSum, offset: int = 0, scales: tuple[str, ...] = ()) -> Residual:
        return Residual(
            stream=one.stream,
            index=one.first + offset,
            count=self._counts[one.stream],
            level=one.level,
            norm=one.norm,
            scaled_by=scales,
        )

    def shortcuts(self) -> dict[Node, Residual]:
        """Every weighted node on a skip path."""
        return {
            one.shortcut: self._place(one) for one in self.sums.values() if one.shortcut is not None
        }


def _is_mask(node: Node, user: Node) -> bool:
    """Whether a fused attention adds what the node gives to its scores."""
    return user.kind == "attention" and any(value.node is node for value in user.inputs[3:])
