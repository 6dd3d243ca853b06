"""From the uses of a parameter to its role and layout."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast, final

from fanin._layout import Block, Layout
from fanin._layout._uses import (
    layout_of_channels,
    layout_of_convolution,
    layout_of_lookup,
    layout_of_product,
    with_blocks,
)
from fanin._site import SiteRole
from fanin._trace._flow import Flow
from fanin._trace._graph import Node, Value
from fanin._trace._propagate import weight_operand
from fanin._trace._residual import Streams
from fanin._trace._signals import Signals
from fanin._trace._units import Purpose, Stretch, Units

__all__ = ["Reading", "Use"]

_LOOKUPS: Final = ("embedding", "_embedding_bag", "_embedding_bag_forward_only", "index",
                   "index_select", "gather", "_unsafe_index")  # fmt: skip
_DERIVES: Final = ("view", "slice", "copy")
_PACKED: Final[dict[frozenset[Purpose], SiteRole]] = {
    frozenset({"query", "key", "value"}): "query_key_value",
    frozenset({"key", "value"}): "key_value",
    frozenset({"gate", "gate_value"}): "gated",
    frozenset({"query", "key"}): "query_key_value",
    frozenset({"query"}): "query",
    frozenset({"key"}): "key",
    frozenset({"value"}): "value",
    frozenset({"gate"}): "gate",
    frozenset({"gate_value"}): "gate_value",
    frozenset({"router"}): "router",
}


@final
@dataclass(slots=True)
class Use:
    """One operation that consumed a parameter."""

    node: Node
    role: SiteRole
    weight: Value | None = None
    scales: list[str] = field(default_factory=list)


@final
class Reading:
    """The graph of a run, read as what each parameter does."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.streams = Streams(flow)
        self.units = Units(flow)
        self.signals = Signals(flow, self.streams, self.units)
        self.writers = self.streams.writers()
        self.shortcuts = self.streams.shortcuts()
        self.branches = self.streams.branches()
        self.branch_scales = {
            name: place for place in self.writers.values() for name in place.scaled_by
        }
        self._summands = self._count_summands()
        self.uses: dict[str, list[Use]] = {}
        self._idle: dict[str, list[Use]] = {}
        for node in flow.graph.nodes:
            self._read(node)
        # What only makes a weight's statistics is a use where the parameter has no other.
        self.uses = self._idle | self.uses
        for node in flow.graph.of_kind("parameter"):
            if node.users or node.value in flow.graph.results:
                self.uses.setdefault(node.operation, [Use(node, "elementwise")])

    def _read(self, node: Node) -> None:
        for place, value in enumerate(node.inputs):
            name = value.parameter
            if not name or self._only_derives(node, name):
                continue
            role, weight = self._role(node, place, value)
            is_idle = bool(node.outputs) and not self.flow.elementwise.is_data(node.value)
            uses = self._idle if is_idle else self.uses
            uses.setdefault(name, []).append(Use(node, role, weight))

    def _only_derives(self, node: Node, name: str) -> bool:
        """Whether the node makes another form of the parameter: a view, a cast, its exponential."""
        if node.outputs and node.operation in _LOOKUPS and node.value.parameter == name:
            return True
        if not node.outputs or self.flow.elementwise.is_data(node.value):
            return False
        return node.kind in _DERIVES or node.value.parameter == name

    def _role(self, node: Node, place: int, value: Value) -> tuple[SiteRole, Value | None]:
        if node.kind == "product":
            is_weight = value is weight_operand(node) and node not in self.units.scores
            return (self._weight_role(node), value) if is_weight else ("elementwise", None)
        if node.kind == "lookup" or (node.operation in _LOOKUPS and place == 0):
            return self._lookup_role(node), value
        if node.kind == "norm":
            return ("norm_scale" if place == 1 else "norm_shift"), None
        named: dict[str, SiteRole] = {"_prelu_kernel": "slope", "prelu": "slope"}
        if node.kind == "recurrent":
            return "weight", None
        return named.get(node.operation) or self._elementwise_role(node, value), None

    def _lookup_role(self, node: Node) -> SiteRole:
        if self._is_added_to_product(node):
            return "bias"
        # Rows of scores, such as of relative positions, are no signal of the model.
        return "elementwise" if self.streams.are_scores(node) else "embedding"

    def _is_added_to_product(self, node: Node) -> bool:
        """Whether rows that were picked are the biases of as many picked matrices."""
        waiting, seen = [node], set[Node]()
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            for user in one.users:
                others = [value for value in user.inputs if value.node is not one]
                if user.kind == "add" and any(self._is_raw_product(value) for value in others):
                    return True
            waiting += [user for user in one.users if user.kind in ("view", "copy")]
        return False

    def _is_raw_product(self, value: Value) -> bool:
        source = self.flow.elementwise.source(value).node
        is_raw = self.flow.elementwise.activation(value) == "identity"
        is_weighted = self.flow.is_weighted(source) and source not in self.units.scores
        return is_raw and source.kind == "product" and is_weighted

    def _weight_role(self, node: Node) -> SiteRole:
        if node in self.writers:
            return "residual_out"
        if node in self.shortcuts:
            return "shortcut"
        purposes = self.units.purposes.get(node)
        if purposes:
            return _PACKED.get(frozenset(purposes), "weight")
        return "readout" if self.signals.is_readout(node) else "weight"

    def packed_role(self, uses: list[Use]) -> SiteRole | None:
        """The role of a parameter whose parts serve different purposes, each in its own use."""
        purposes = {purpose for use in uses for purpose in self.units.purposes.get(use.node, {})}
        roles = {use.role for use in uses} - {"readout", "weight"}
        return _PACKED.get(frozenset(purposes)) if roles <= set(_PACKED.values()) else None

    def runs(self, uses: list[Use]) -> int:
        """How often a parameter runs; of a packed one whose parts run one by one, each part."""
        nodes = {use.node for use in uses}
        if self.packed_role(uses) is None:
            return len(nodes)
        parts = Counter(part for node in nodes for part in self.units.purposes.get(node, {}))
        return max(parts.values())

    def _elementwise_role(self, node: Node, value: Value) -> SiteRole:
        if value.parameter in self.branch_scales:
            return "branch_scale"
        others = [one for one in node.inputs if one is not value]
        sources = [self.flow.elementwise.source(one).node for one in others]
        is_bent = self._is_function(value)
        if any(source in self.flow.norms for source in sources) and not is_bent:
            return "norm_scale" if node.kind == "multiply" else "norm_shift"
        if node.operation == "bias":
            return "bias"
        if node.kind == "add" and any(self._is_product_of(one, value) for one in others):
            return "elementwise" if is_bent else "bias"
        return "elementwise"

    def _is_function(self, value: Value) -> bool:
        """Whether a parameter is used through a function of it, such as its exponential."""
        node = value.node
        while node.kind != "parameter" and node.inputs:
            if node.kind == "pointwise":
                return True
            own = [one for one in node.inputs if one.parameter == value.parameter]
            if not own:
                return False
            node = own[0].node
        return False

    def _is_product_of(self, product: Value, bias: Value) -> bool:
        """Whether ``bias`` is added to each output of a product, before anything else happens."""
        origin = product.origin.product if product.origin else None
        weight = weight_operand(origin) if origin is not None else None
        if weight is None or not self._owners(weight) & self._owners(bias):
            # Of another module's outputs it is a shift with a start of its own.
            return False
        if origin is None or self.flow.elementwise.activation(product) != "identity":
            return False
        axes = product.axes
        if axes is None or not self.flow.is_weighted(origin):
            return False
        wide = [i for i in range(len(axes.runs)) if axes.original(i)]
        shape = (1,) * (len(product.shape) - len(bias.shape)) + bias.shape
        return all(n == 1 or i in wide for i, n in enumerate(shape)) and any(n > 1 for n in shape)

    def _owners(self, value: Value) -> set[str]:
        """The modules that have the parameter, by any of its names."""
        names = value.parameter, *self.flow.graph.tied.get(value.parameter, ())
        return {_owner(name) for name in names}

    def summands(self, node: Node) -> int:
        """How many weights' outputs are added up with this one's, residual sums apart."""
        return self._summands.get(node, 1)

    def _count_summands(self) -> dict[Node, int]:
        counts: dict[Node, int] = {}
        stop = {node.value for node in self.streams.sums}
        for node in self.flow.graph.of_kind("add"):
            if not self._is_last_sum(node):
                continue
            parts = self.streams.parts(node.value, stop)
            reached = [self.flow.reached(part, stop) for part in parts]
            terms = {frozenset(one.node for one in term if not one.normalized) for term in reached}
            terms.discard(frozenset())
            for one in frozenset().union(*terms) - set(self.writers):
                counts[one] = max(counts.get(one, 1), len(terms))
        return counts

    def _is_last_sum(self, node: Node) -> bool:
        """Whether several terms are summed here, of which no later operation adds up more."""
        if node in self.streams.sums or node in self.flow.norms.inner:
            return False
        if self.flow.elementwise.step(node.value).nodes or self.streams.are_scores(node):
            return False
        later = [
            user for user in node.users if user.kind == "add" and user not in self.streams.sums
        ]
        return not later or len(later) != len(node.users)

    def purposes(self, node: Node) -> list[tuple[Purpose, Stretch]]:
        """What which outputs of a weighted node are for."""
        return sorted(self.units.purposes.get(node, {}).items(), key=lambda one: one[1].start)

    def layout(self, shape: Sequence[int], uses: list[Use]) -> Layout | None:
        """The axes that the uses of a parameter tell."""
        for use in uses:
            if use.node.kind == "product" and use.weight is not None:
                found = _layout_of_use(tuple(shape), use.node, use.weight)
                if found is not None:
                    return self.with_purposes(found, uses)
        if any(use.node.kind == "lookup" or use.role == "embedding" for use in uses):
            return layout_of_lookup(shape)
        if uses and all(use.node.kind != "product" for use in uses):
            found = layout_of_channels(shape)
            return replace(found, operation=_what_it_does(uses[0].role))
        return None

    def with_purposes(self, found: Layout, uses: list[Use]) -> Layout:
        """The layout cut into query, key and value, or gate and value, where they are packed."""
        if found.blocks or "out" not in found.axes:
            return found
        stretches: dict[str, Stretch] = {}
        for use in uses:
            start = _start(use, found.axes.index("out"))
            for purpose, stretch in self.purposes(use.node):
                stretches.setdefault(purpose, Stretch(stretch.start + start, stretch.size))
        ordered = sorted(stretches.items(), key=lambda one: one[1].start)
        at = 0
        for _, stretch in ordered:
            if stretch.start != at or not stretch.size:
                return found
            at += stretch.size
        if len(ordered) < 2:
            return found
        names = {"gate_value": "value"} if "gate" in stretches else {}
        return with_blocks(
            found, [Block(names.get(name, name), stretch.size) for name, stretch in ordered]
        )


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _what_it_does(role: SiteRole) -> str:
    names = {"norm_scale": "normalization", "norm_shift": "normalization", "slope": "activation"}
    return names.get(role, "entry by entry")


def _start(use: Use, axis: int) -> int:
    """Where in the parameter the outputs begin of which a product used only a part."""
    axes = use.weight.axes if use.weight is not None else None
    return axes.starts[axis] if axes is not None and axis < len(axes.starts) else 0


_PLACES: Final[dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]]] = {
    # For the first and the second operand: its apart, free and summed axis; -1 for none.
    "mm": ((-1, 0, 1), (-1, 1, 0)),
    "bmm": ((0, 1, 2), (0, 2, 1)),
    "mv": ((-1, 0, 1), (-1, -1, 0)),
    "linear": ((-1, 0, 1), (-1, 0, 1)),
}
_LIKE: Final = {
    "addmm": "mm", "_sparse_mm": "mm", "_sparse_addmm": "mm", "_scaled_mm": "mm",
    "baddbmm": "bmm", "addbmm": "bmm", "addmv": "mv", "mkldnn_linear": "linear",
    "_grouped_mm": "bmm",
}  # fmt: skip


def _layout_of_use(shape: tuple[int, ...], node: Node, weight: Value) -> Layout | None:
    if "conv" in node.operation:
        return _convolution(shape, node, weight)
    if node.operation == "_trilinear":
        return Layout(shape, "out in in", operation="bilinear product")
    kind = _LIKE.get(node.operation, node.operation)
    if kind not in _PLACES or weight.axes is None:
        return None
    operand = 0 if node.inputs[0] is weight else 1
    apart, free, summed = _PLACES[kind][operand]
    if node.operation == "_grouped_mm" and len(weight.shape) == 2:
        apart, free, summed = -1, summed - 1, free - 1

    def original(axis: int) -> set[int]:
        assert weight.axes is not None  # noqa: S101 - checked above
        return weight.axes.original(axis) if axis >= 0 else set()

    gone = {axis for axis in range(len(shape)) if shape[axis] > 1 and weight.axes.extent(axis) == 1}
    held = original(free) | original(summed)
    return layout_of_product(
        shape,
        summed=original(summed),
        free=original(free) - original(summed),
        apart=(original(apart) | gone) - held,
    )


def _convolution(shape: tuple[int, ...], node: Node, weight: Value) -> Layout | None:
    arguments = node.arguments
    transposed = node.operation in ("convolution", "_convolution") and bool(arguments[6])
    stride = cast("tuple[int, ...]", arguments[3] if len(arguments) > 3 else (1,))
    groups = arguments[8] if len(arguments) > 8 else 1
    if weight.axes is None:
        return None
    places = [weight.axes.original(i) for i in range(len(weight.shape))]
    return layout_of_convolution(
        shape,
        places=[next(iter(place)) if len(place) == 1 else None for place in places],
        kernel=weight.shape[2:],
        transposed=transposed,
        groups=int(cast("int", groups)),
        stride=stride,
    )
