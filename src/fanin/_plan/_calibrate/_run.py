"""The one forward pass: each weight's output is measured, and handed on as the target says."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, cast, final

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fanin._errors import FaninError
from fanin._plan._calibrate._memory import Found, Memory
from fanin._plan._calibrate._products import (
    LOOKUPS,
    PRODUCTS,
    differs_by_input,
    output_units,
    spread_of,
)
from fanin._plan._calibrate._weights import Weight, multiply
from fanin._stream import Stream
from fanin._trace._operations import base_name

__all__ = ["Run", "running"]

_RECURRENT: Final = ("lstm", "gru", "rnn_tanh", "rnn_relu")


@final
class Run:
    """What happens to each operation of the pass; ``ran``: the weights as they were first used."""

    def __init__(self, weights: Sequence[Weight]) -> None:
        self.memory = Memory()
        self.ran: list[Weight] = []
        self.failure: FaninError | None = None
        for weight in weights:
            if weight.computed:
                _when_computed(weight, self.memory)
            else:
                self.memory.see_weight(weight.copy, weight)

    def operation(
        self, operation: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> object:
        """The result of one operation, brought to the target where a weight is used first."""
        found = self.memory.found(args)
        if not found:
            return operation(*args, **kwargs)
        name = base_name(operation)
        factor = _factor_of(name, found)
        if factor is None:
            return self._other(operation, name, args, kwargs, found)
        result, add = PRODUCTS[name].alone(operation, args, kwargs)
        output = cast("Tensor", result[0] if isinstance(result, (tuple, list)) else result)
        if output.numel():
            self._use(operation, name, args, factor, output)
        if add is not None:
            add(output)
        return result

    def _other(
        self,
        operation: OpOverload,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        found: list[Found],
    ) -> object:
        """Not a product: a view, a multiple, or, in inference mode, a layer with one in it."""
        if not operation.is_view:
            with _Operations(self):
                result = operation.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = operation(*args, **kwargs)
        self.memory.derive(operation, name, args, found, result)
        return result

    def _use(
        self, operation: OpOverload, name: str, args: Sequence[Any], factor: Found, output: Tensor
    ) -> None:
        """Measure one use; the units that are used for the first time get their factors."""
        place, operand, known = factor
        weight = known.weights[0]
        if not weight.uses:
            self.ran.append(weight)
        weight.uses += 1
        labels = known.labels_of(operand) if weight.waits else None
        units = None
        if labels is not None:
            units = output_units(operation, name, args, place, labels, output)
        spread = spread_of(output, units, 1 if units is None else len(weight.factors))
        if not spread.is_finite:
            self.failure = _not_finite(weight, output)
            raise self.failure
        if not weight.differs and any(spread.std):
            weight.differs = differs_by_input(name, place, output)
        factors = weight.first_use(spread, is_lookup=name in LOOKUPS)
        if factors is None:
            return
        multiply(output, units, factors)
        if not weight.holds(operand):
            multiply(_all_memory(operand), known.labels(), factors)
        weight.scale(factors)


def _factor_of(name: str, found: Sequence[Found]) -> Found | None:
    """The weight that an operation multiplies data with, or looks up; None where it does not."""
    product = PRODUCTS.get(name)
    # What was made of a weight in another way is data here: rows of a table, added to tokens.
    weights = [one for one in found if not one[2].through]
    if product is None or len(weights) != 1 or weights[0][0] not in product.free:
        return None
    is_table = weights[0][2].weights[0].is_table
    return None if name in LOOKUPS and not is_table else weights[0]


def _all_memory(tensor: Tensor) -> Tensor:
    """All of the memory that a view shows a part of."""
    return tensor.new_empty(0).set_(tensor.untyped_storage())


def _not_finite(weight: Weight, output: Tensor) -> FaninError:
    wrong = int((~output.isfinite()).sum())
    return FaninError(
        "the output of a weight is not finite",
        where=f"{weight.name}, use {weight.uses}",
        found=f"{wrong} of {output.numel()} numbers, before it was scaled",
        fix="look at what arrives there: the batch, a start that is kept, a division by zero",
    )


def _when_computed(weight: Weight, memory: Memory) -> None:
    """Know the values of a computed weight when they are made; the hooks go with `observing`."""
    owner, local = weight.job.owner, weight.job.name
    if parametrize.is_parametrized(owner, local):
        made = cast("nn.ModuleDict", owner.parametrizations)[local]
        made.register_forward_hook(lambda _module, _args, value: memory.see_weight(value, weight))
    else:
        # torch's older norms compute it in a hook of their own, which was there before this one.
        owner.register_forward_pre_hook(
            lambda module, _args: memory.see_weight(getattr(module, local), weight)
        )


@final
class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, run: Run) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.run = run

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        return self.run.operation(func, args, kwargs or {})


@final
class _Functions(TorchFunctionMode):
    """Recurrent layers in steps; and where this mode is on, torch takes no fused path."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if getattr(func, "__name__", "") not in _RECURRENT:
            return func(*args, **(kwargs or {}))
        # Without these libraries torch writes the layer out as products, which are then seen.
        with (
            torch.backends.mkldnn.flags(enabled=False, allow_tf32=None),
            torch.backends.cudnn.flags(enabled=False),
        ):
            return func(*args, **(kwargs or {}))


@contextmanager
def running(run: Run, seed: int) -> Iterator[None]:
    """Inside, operations are ``run``'s, and what the model draws is a function of ``seed``.

    The hooks and the generators' states are not put back here: `observing` does that.
    """
    key = int.from_bytes(Stream(seed, "calibrate").digest()[:8], "little") >> 1
    torch.default_generator.manual_seed(key)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        for generator in torch.cuda.default_generators:
            generator.manual_seed(key)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_Functions())
        stack.enter_context(_Operations(run))
        yield
