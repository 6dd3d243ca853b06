"""Write down the operations of a run, as torch dispatches them."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from math import prod
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fanin._trace._axes import Axes
from fanin._trace._dataless import Dataless, on_one_device
from fanin._trace._graph import Graph, Kind, Node, Origin, Value
from fanin._trace._nested import tensors_in
from fanin._trace._operations import base_name, kind_of
from fanin._trace._propagate import propagate
from fanin._trace._tensors import Tensors, is_continuous

__all__ = ["Recorder", "Watch", "recording"]

Watch: TypeAlias = Callable[[Node, Sequence[Any], Mapping[str, Any], list[Tensor]], None]
"""Called with a node, the arguments that torch was called with, and what came out."""

_PICKS = {"index", "index_select", "gather", "_unsafe_index", "take"}
_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}


@final
class Recorder:
    """The graph of a run so far, and the module that runs now."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.tensors = Tensors(self.graph)
        self.modules: list[str] = []
        self.computed: dict[str, Tensor] = {}
        """The weights that their modules compute from other tensors, by name."""
        self.watch: Watch | None = None
        """Called after each operation but views."""
        self.is_hidden = False
        self.error: BaseException | None = None
        self.failed = ""
        """The innermost module that ended with ``error``."""

    def source(self, tensor: Tensor, kind: Kind, name: str) -> None:
        """A tensor that is there before the run: a parameter, an input."""
        node = self.graph.add(name, kind)
        value = node.output(tuple(tensor.shape), is_continuous(tensor))
        if kind == "parameter":
            value.origin, value.axes = Origin(parameter=name), Axes.of(value.shape)
        self.tensors.remember(tensor, value)

    def operation(
        self, operation: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], result: object
    ) -> None:
        """Write down one operation that has run."""
        name = base_name(operation)
        arguments = self._as_values(args)
        keywords = {key: self._as_values(value) for key, value in kwargs.items()}
        written = operation._schema.is_mutable  # noqa: SLF001 - says whether it works in place
        outputs = list(tensors_in(result))
        if written and not outputs:
            outputs = [next(tensors_in(args))]
        inputs = tuple(_values_in([arguments, list(keywords.values())]))
        first = next(tensors_in(args), None)
        if (
            not written
            and len(outputs) == 1
            and first is not None
            and operation.is_view
            and self.tensors.same(first, outputs[0])
        ):
            return
        if name == "addcmul":
            total = self._product_and_sum(arguments, keywords, outputs[0], written=written)
            self._show(total, args, kwargs, outputs)
            return
        kind = kind_of(operation, name)
        if kind == "slice" and len(outputs) == 1 and outputs[0].numel() == first_size(inputs):
            kind = "view"
        node = self._node(name, kind, inputs, arguments, keywords)
        for tensor in outputs:
            value = node.output(tuple(tensor.shape), is_continuous(tensor))
            self.tensors.remember(tensor, value, written=written)
        propagate(node)
        if name in _PICKS and inputs[0].parameter and not node.value.parameter:
            node.kind = "lookup"
        last = self._split_sum(node, outputs, written=written)
        self._show(last, args, kwargs, outputs)

    def _show(
        self, node: Node, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: list[Tensor]
    ) -> None:
        if self.watch is None:
            return
        # What the watcher computes is no part of the model.
        hidden, self.is_hidden = self.is_hidden, True
        try:
            self.watch(node, args, kwargs, outputs)
        finally:
            self.is_hidden = hidden

    def _node(
        self,
        name: str,
        kind: Kind,
        inputs: tuple[Value, ...],
        arguments: tuple[object, ...],
        keywords: dict[str, object],
    ) -> Node:
        summed = _summed(name, arguments, keywords)
        if summed is not None:
            inputs = tuple(value for value in inputs if value is not summed)
        if kind == "constant" or name == "copy":
            # What is made anew depends on no values; what is copied over is gone.
            inputs = inputs[1:] if name == "copy" else ()
        node = self.graph.add(name, kind, inputs)
        node.arguments, node.keywords = arguments, keywords
        node.module = self.modules[-1] if self.modules else ""
        return node

    def _product_and_sum(
        self,
        arguments: tuple[Any, ...],
        keywords: dict[str, object],
        output: Tensor,
        *,
        written: bool,
    ) -> Node:
        """``a + value * b * c`` is two operations; the second is returned."""
        added, *factors = arguments
        product = self._node("mul", "multiply", tuple(factors), tuple(factors), {})
        product.output(tuple(output.shape), is_continuous(output))
        propagate(product)
        alpha = {"alpha": keywords["value"]} if "value" in keywords else {}
        total = self._node("add", "add", (added, product.value), (added, product.value), alpha)
        value = total.output(tuple(output.shape), is_continuous(output))
        self.tensors.remember(output, value, written=written)
        propagate(total)
        return total

    def _split_sum(self, node: Node, outputs: list[Tensor], *, written: bool) -> Node:
        """``addmm`` and the like are two operations: a product, and the sum with a bias.

        Returns the one that the outputs come from.
        """
        summed = _summed(node.operation, node.arguments, node.keywords)
        if summed is None:
            return node
        # The bias of a convolution lies along an axis that its shape does not tell.
        is_bias = node.operation not in ("addmm", "baddbmm", "addbmm", "addmv", "addr")
        total = self.graph.add("bias" if is_bias else "add", "add", (node.value, summed))
        total.arguments, total.module = (node.value, summed), node.module
        value = total.output(node.value.shape, floating=True)
        self.tensors.remember(outputs[0], value, written=written)
        propagate(total)
        return total

    def hidden(self, name: str, args: Sequence[Any], result: object) -> None:
        """Write down one call whose inner operations were not recorded."""
        node = self._node(name, "recurrent", tuple(_values_in(self._as_values(args))), (), {})
        for tensor in tensors_in(result):
            value = node.output(tuple(tensor.shape), is_continuous(tensor))
            self.tensors.remember(tensor, value)
        self._show(node, args, {}, list(tensors_in(result)))

    def _as_values(self, args: object) -> Any:  # noqa: ANN401 - a call's arguments are anything
        if isinstance(args, Tensor):
            return self.tensors.value_of(args)
        if isinstance(args, (list, tuple)):
            return tuple(self._as_values(entry) for entry in args)
        return args


def first_size(inputs: tuple[Value, ...]) -> int:
    """How many entries the first input has."""
    return prod(inputs[0].shape) if inputs else 0


def _summed(
    name: str, arguments: tuple[object, ...], keywords: Mapping[str, object]
) -> Value | None:
    """What a fused product adds to its result, if anything."""
    if name in ("addmm", "baddbmm", "addbmm", "addmv", "addr", "_sparse_addmm"):
        found = arguments[0]
        return found if isinstance(found, Value) and keywords.get("beta", 1) != 0 else None
    if name in ("convolution", "_convolution", "mkldnn_convolution", "linear", "mkldnn_linear"):
        found = arguments[2] if len(arguments) > 2 else keywords.get("bias")
        return found if isinstance(found, Value) else None
    return None


def _values_in(found: object) -> Iterator[Value]:
    if isinstance(found, Value):
        yield found
    elif isinstance(found, (list, tuple)):
        for entry in found:
            yield from _values_in(entry)


@final
class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recorder = recorder
        self.dataless = Dataless()

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if func.namespace == "prim":
            return func(*args, **(kwargs or {}))
        if func._can_decompose() and not self.recorder.is_hidden:  # noqa: SLF001
            # Only in inference mode does a composite operation arrive here whole.
            with self:
                return func.decompose(*args, **(kwargs or {}))
        result = self.dataless.computed(func, args, kwargs or {})
        if not self.recorder.is_hidden:
            self.recorder.operation(func, args, kwargs or {}, result)
        return result


@final
class _Functions(TorchFunctionMode):
    """Recurrent layers as one call each; and where this mode is on, torch takes no fused path."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        name = getattr(func, "__name__", "")
        if name not in _RECURRENT or self.recorder.is_hidden:
            return func(*args, **(kwargs or {}))
        self.recorder.is_hidden = True
        try:
            result = func(*on_one_device(args), **(kwargs or {}))
        finally:
            self.recorder.is_hidden = False
        self.recorder.hidden(name, args, result)
        return result


@contextmanager
def recording(recorder: Recorder, model: nn.Module, *, gradients: bool = False) -> Iterator[None]:
    """Inside, every operation is written down, with the module that ran it.

    ``gradients``: whether a backward pass can follow.
    The hooks that this sets on modules are not taken away here: `observing` does that.
    """
    for name, module in model.named_modules(remove_duplicate=True):
        if isinstance(module, torch.jit.ScriptModule):
            continue
        module.register_forward_pre_hook(_entering(recorder, name))
        module.register_forward_hook(_leaving(recorder, name), always_call=True)
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(gradients))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_Functions(recorder))
        stack.enter_context(_Operations(recorder))
        yield


def _entering(recorder: Recorder, name: str) -> Callable[..., None]:
    def hook(_module: nn.Module, _args: object) -> None:
        recorder.modules.append(name)

    return hook


def _leaving(recorder: Recorder, name: str) -> Callable[..., None]:
    def hook(_module: nn.Module, _args: object, _result: object) -> None:
        recorder.modules.pop()
        error = sys.exc_info()[1]
        if error is not None and error is not recorder.error:
            recorder.error, recorder.failed = error, name

    return hook


def results_in(found: object, depth: int = 0) -> Iterator[Tensor]:
    """The tensors in what a model returned, in any common container."""
    if isinstance(found, Tensor):
        yield found
    elif depth > 6:
        return
    elif isinstance(found, Mapping):
        for entry in found.values():
            yield from results_in(entry, depth + 1)
    elif isinstance(found, (list, tuple, set)):
        for entry in found:
            yield from results_in(entry, depth + 1)
    elif is_dataclass(found) and not isinstance(found, type):
        for one in fields(found):
            yield from results_in(getattr(found, one.name), depth + 1)
