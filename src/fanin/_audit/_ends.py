"""Between which two values of a run the hidden layers lie."""

from fanin._trace._flow import Flow
from fanin._trace._graph import Node, Value

__all__ = ["hidden_ends"]


def hidden_ends(flow: Flow) -> tuple[tuple[Value, Value] | None, str]:
    """From the output of the first weight to the input of the last; or why there is no such pair.

    The first is the first that the model's first input passes. With fewer than three weights on the
    way it is from that input, or what was looked up for it, to the model's output.
    """
    results = {value: _behind(value) for value in flow.graph.results if value.floating}
    weighted = [node for node in flow.graph.nodes if flow.is_weighted(node)]
    for node in reversed(weighted):
        result = next((one for one, behind in results.items() if node in behind), None)
        end = flow.data_of(node)
        if result is not None and end is not None:
            behind = _behind(end)
            before = [one for one in weighted if one in behind]
            if len(before) > 1:
                return (_first(flow, before).value, end), ""
            return _whole(flow, before, result, results[result])
    return None, "no weight leads to a result of the model"


def _first(flow: Flow, before: list[Node]) -> Node:
    """Of these the first that depends on the first input: not a table of positions, or of times."""
    for given in flow.graph.of_kind("input"):
        after = {given}
        for node in flow.graph.nodes:
            if any(value.node in after for value in node.inputs):
                after.add(node)
        if after.intersection(before):
            return next(node for node in before if node in after)
    return before[0]


def _whole(
    flow: Flow, before: list[Node], result: Value, behind: set[Node]
) -> tuple[tuple[Value, Value] | None, str]:
    inputs = [node for node in flow.graph.of_kind("input") if node.value.floating]
    start = next((node for node in (*inputs, *before) if node in behind), None)
    if start is None:
        return None, "no layer is hidden, and the input has no gradient"
    return (start.value, result), ""


def _behind(value: Value) -> set[Node]:
    """What a value was computed from, itself included."""
    found: set[Node] = set()
    waiting = [value.node]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [one.node for one in node.inputs]
    return found
