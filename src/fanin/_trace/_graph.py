"""What a run leaves behind: operations as nodes, tensors as the values between them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, final

from fanin._trace._axes import Axes

__all__ = ["Graph", "Kind", "Node", "Origin", "Value"]

Kind = Literal[
    "parameter",
    "input",
    "constant",
    "view",
    "slice",
    "copy",
    "pointwise",
    "add",
    "multiply",
    "product",
    "lookup",
    "norm",
    "softmax",
    "attention",
    "reduce",
    "pool",
    "concatenate",
    "move",
    "choose",
    "recurrent",
    "glu",
    "other",
]
"""``move``: linear, entries go to other places; ``choose``: top-k and the like, no gradient."""


@final
@dataclass(frozen=True, slots=True)
class Origin:
    """Whose axes a value shows: a parameter's (by name), or the outputs of a product (by node)."""

    parameter: str = ""
    product: "Node | None" = None


@final
@dataclass(slots=True, eq=False)
class Value:
    """One tensor of the run; it holds no data."""

    node: "Node"
    shape: tuple[int, ...]
    origin: Origin | None = None
    axes: Axes | None = None
    floating: bool = True

    @property
    def parameter(self) -> str:
        """The name of the parameter that this is, seen through views and casts; or ``""``."""
        return self.origin.parameter if self.origin else ""


@final
@dataclass(slots=True, eq=False)
class Node:
    """One operation that ran."""

    index: int
    operation: str
    kind: Kind
    inputs: tuple[Value, ...] = ()
    arguments: tuple[object, ...] = ()
    keywords: dict[str, object] = field(default_factory=dict)
    module: str = ""
    outputs: list[Value] = field(default_factory=list)
    users: list["Node"] = field(default_factory=list)

    @property
    def value(self) -> Value:
        """Its first output."""
        return self.outputs[0]

    def output(self, shape: tuple[int, ...], floating: bool) -> Value:  # noqa: FBT001
        """One more output."""
        value = Value(self, shape, floating=floating)
        self.outputs.append(value)
        return value

    def __repr__(self) -> str:
        return f"<{self.index} {self.operation} {self.kind}>"


@final
@dataclass(slots=True, eq=False)
class Graph:
    """The nodes in the order in which they ran, and the values that the model returned.

    ``tied`` are the other names of a parameter that has several.
    """

    nodes: list[Node] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)
    tied: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, operation: str, kind: Kind, inputs: tuple[Value, ...] = ()) -> Node:
        """A new node at the end."""
        node = Node(len(self.nodes), operation, kind, inputs)
        self.nodes.append(node)
        for value in inputs:
            if not value.node.users or value.node.users[-1] is not node:
                value.node.users.append(node)
        return node

    def of_kind(self, *kinds: Kind) -> Iterator[Node]:
        """The nodes of these kinds, in order."""
        return (node for node in self.nodes if node.kind in kinds)
