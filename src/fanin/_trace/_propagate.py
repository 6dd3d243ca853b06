"""Carry the axes of parameters and of products' outputs on to what is made of them."""

from collections.abc import Callable
from typing import Final, cast

from fanin._trace._axes import Axes, Run
from fanin._trace._graph import Node, Origin, Value

__all__ = ["propagate", "weight_operand"]

_ALIKE: Final = ("copy", "pointwise", "add", "multiply", "norm", "softmax")
_KEEPS_PLACES: Final = ("masked_fill", "where", "native_dropout", "tril", "triu")


def propagate(node: Node) -> None:
    """Give the outputs of ``node`` the origin and axes of its inputs, where they are known."""
    if not node.outputs or not node.inputs:
        return
    if node.kind in ("view", "slice"):
        _through_view(node)
    elif node.kind in _ALIKE or node.operation in _KEEPS_PLACES:
        _through_alike(node)
    elif node.kind == "product":
        _from_product(node)
    elif node.operation in ("index", "index_select") and node.inputs[0].parameter:
        _through_picking(node)


def _through_view(node: Node) -> None:
    source = node.inputs[0]
    if source.origin is None or source.axes is None:
        return
    rule = _VIEWS.get(node.operation)
    if rule is None:
        return
    try:
        found = rule(source.axes, node)
    except (IndexError, TypeError, ValueError):
        return
    for value, axes in zip(node.outputs, found, strict=False):
        if axes is not None and axes.shape == value.shape:
            value.origin, value.axes = source.origin, axes


def _through_alike(node: Node) -> None:
    result = node.value
    known = [value for value in node.inputs if value.origin is not None and value.axes is not None]
    full = [value for value in known if value.shape == result.shape]
    # The sum of a product and a bias is the product's, as the bias has axes of its own.
    full.sort(key=lambda value: bool(value.parameter))
    if full:
        best = full[0]
    elif len({value.origin for value in known}) == 1 and all(
        len(value.shape) == 0 or value in known for value in node.inputs
    ):
        best = known[0]
    else:
        return
    assert best.axes is not None  # noqa: S101 - as `known` says
    others = {value.origin for value in full if value.origin and value.origin.product}
    if len(others) > 1:
        return
    result.origin, result.axes = best.origin, best.axes.expanded(result.shape)
    if result.axes.shape != result.shape:
        result.origin = result.axes = None


def _through_picking(node: Node) -> None:
    """Matrices picked by number, such as experts, are the parameter still; rows are looked up."""
    source, shape = node.inputs[0], node.value.shape
    axes = source.axes
    if axes is None or len(source.shape) < 3 or shape[-2:] != source.shape[1:]:
        return
    picked: tuple[tuple[Run, ...], ...] = tuple((Run(None, n),) for n in shape[:-2])
    node.value.origin = source.origin
    node.value.axes = Axes((*picked, *axes.runs[1:]), axes.starts)


def _from_product(node: Node) -> None:
    weight = weight_operand(node)
    if weight is None or not node.value.shape:
        return
    axis = len(node.value.shape) - 1
    if "conv" in node.operation:
        axis = 1
    elif node.inputs[0] is weight and node.operation not in ("mv", "addmv"):
        axis -= 1
    node.value.origin = Origin(product=node)
    feature = Axes.feature(node.value.shape, axis % len(node.value.shape))
    # Along the experts' axis a bias may differ, as along the outputs.
    if node.operation in ("bmm", "baddbmm") and weight.axes and weight.axes.original(0):
        runs = ((Run(1, node.value.shape[0]),), *feature.runs[1:])
        feature = Axes(runs, (0, 0))
    node.value.axes = feature


def weight_operand(node: Node) -> Value | None:
    """The operand of a product that is a parameter, or made of one alone.

    Of two, the second: the first is then what is multiplied, such as a learned query.
    """
    found = [value for value in node.inputs if value.parameter]
    return found[-1] if found else None


def _viewed(axes: Axes, node: Node) -> list[Axes | None]:
    return [axes.viewed(value.shape) for value in node.outputs]


def _split(axes: Axes, node: Node) -> list[Axes | None]:
    dim = _number(node, 2, "dim", 0)
    start, pieces = 0, []
    for value in node.outputs:
        size = value.shape[dim]
        pieces.append(axes.sliced(dim, start, start + size, 1))
        start += size
    return cast("list[Axes | None]", pieces)


def _unbound(axes: Axes, node: Node) -> list[Axes | None]:
    dim = _number(node, 1, "dim", 0)
    return [axes.selected(dim, i) for i in range(len(node.outputs))]


def _squeezed(axes: Axes, node: Node) -> list[Axes | None]:
    if len(node.arguments) > 1:
        given = node.arguments[1]
        dims = list(given) if isinstance(given, tuple) else [given]
    else:
        dims = list(range(len(axes.runs)))
    ones = [int(cast("int", dim)) for dim in dims if axes.shape[int(cast("int", dim))] == 1]
    return [axes.reduced(ones) if ones else axes]


def _sliced(axes: Axes, node: Node) -> list[Axes | None]:
    start, end = _optional(node, 2, "start", 0), _optional(node, 3, "end", 2**62)
    return [axes.sliced(_number(node, 1, "dim", 0), start, end, _optional(node, 4, "step", 1))]


def _selected(axes: Axes, node: Node) -> list[Axes | None]:
    dim, index = _number(node, 1, "dim", 0), _number(node, 2, "index", 0)
    return [axes.selected(dim, index % axes.shape[dim])]


def _transposed(axes: Axes, _node: Node) -> list[Axes | None]:
    return [axes if len(axes.runs) < 2 else axes.transposed(0, 1)]


def _number(node: Node, place: int, name: str, default: int) -> int:
    found = node.arguments[place] if len(node.arguments) > place else node.keywords.get(name)
    return default if found is None else int(cast("int", found))


_optional = _number

_VIEWS: Final[dict[str, Callable[[Axes, Node], list[Axes | None]]]] = {
    "view": _viewed,
    "_unsafe_view": _viewed,
    "_reshape_alias": _viewed,
    "reshape": _viewed,
    "permute": lambda axes, node: [
        axes.permuted([int(i) % len(axes.runs) for i in cast("tuple[int, ...]", node.arguments[1])])
    ],
    "transpose": lambda axes, node: [
        axes.transposed(_number(node, 1, "dim0", 0), _number(node, 2, "dim1", 1))
    ],
    "t": _transposed,
    "numpy_T": lambda axes, _node: [axes.permuted(range(len(axes.runs))[::-1])],
    "unsqueeze": lambda axes, node: [axes.unsqueezed(_number(node, 1, "dim", 0))],
    "squeeze": _squeezed,
    "expand": lambda axes, node: [axes.expanded(node.value.shape)],
    "alias": lambda axes, _node: [axes],
    "detach": lambda axes, _node: [axes],
    "lift_fresh": lambda axes, _node: [axes],
    "slice": _sliced,
    "narrow": lambda axes, node: [
        axes.sliced(
            _number(node, 1, "dim", 0),
            _number(node, 2, "start", 0),
            _number(node, 2, "start", 0) + _number(node, 3, "length", 0),
            1,
        )
    ],
    "select": _selected,
    "split": _split,
    "split_with_sizes": _split,
    "chunk": _split,
    "unbind": _unbound,
}
