"""Run a user's model and leave no trace: what was looked at is, bit for bit, as it was.

Restored, however the run ends: training flags of every module, buffers and tensors kept as
attributes, attributes themselves, registered modules, parameters and hooks, gradients and whether
they are asked for, and the state of every random generator in sight. Parameters are not copied, as
that would take the model's size again; a model whose run changes one is an error. What it changes
through ``.data``, which torch does not count, is not seen.
"""

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard, final

import torch
from torch import Generator, Tensor, nn
from torch.nn.parameter import is_lazy

from fanin._errors import FaninError
from fanin.initializers._target import has_no_data

__all__ = ["observing", "require_shapes", "run"]


def run(model: nn.Module, batch: object) -> object:
    """``model`` of one batch: a tensor, a tuple of positional, or a mapping of keyword arguments.

    >>> run(nn.Linear(2, 3), torch.ones(5, 2)).shape
    torch.Size([5, 3])
    """
    if isinstance(batch, tuple):
        return model(*batch)
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(batch)


@contextmanager
def observing(model: nn.Module, *, training: bool | None = None) -> Iterator[None]:
    """Inside, ``model`` may be run forward and backward; after, it is bit for bit as before.

    ``training``: the mode inside; None leaves each module in its own.
    Inside, gradients start from None, so what a backward pass leaves is this run's alone; and what
    the user has asked to be done when a gradient has arrived (an optimizer's step) is not done.

    Raises:
        FaninError: for a model with lazy parameters, which its first run would shape; and after a
            run in which the model changed a parameter of its own, which is not undone.

    >>> net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    >>> with observing(net, training=True):
    ...     net(torch.randn(8, 3)).sum().backward()
    >>> net[1].num_batches_tracked.item(), net[0].weight.grad
    (0, None)
    """
    require_shapes(model)
    before = _remember(model)
    changed: list[str] = []
    try:
        if training is not None:
            model.train(training)
        for parameter in before.parameters.values():
            _set_apart(parameter.tensor)
        yield
    finally:
        interrupt: KeyboardInterrupt | None = None
        failure: Exception | None = None
        while True:
            # Each step may be done again: an interrupt between two must not leave it half done.
            try:
                changed = [name for name, kept in before.parameters.items() if kept.is_changed()]
                failure = _undone(before.undo)
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
        if failure is not None:
            raise failure
    if changed:
        raise FaninError(
            "the model changes its own parameters when it runs",
            where=type(model).__name__,
            found=", ".join(changed[:5]),
            fix="run it in eval mode if that stops it, or look at a copy of the model",
        )


def require_shapes(model: nn.Module) -> None:
    """Raises FaninError for a model with lazy parameters, which its first run would shape."""
    lazy = [name for name, tensor in model.named_parameters() if is_lazy(tensor)]
    lazy += [name for name, tensor in model.named_buffers() if is_lazy(tensor)]
    if lazy:
        raise FaninError(
            "a lazy parameter would get its shape from this run",
            where=type(model).__name__,
            found=", ".join(lazy[:5]),
            fix="run the model once on a batch first",
        )


@final
@dataclass(frozen=True, slots=True)
class _Parameter:
    """What is remembered of a parameter: all but its values."""

    tensor: nn.Parameter
    version: int | None

    def is_changed(self) -> bool:
        return _version(self.tensor) != self.version


@final
@dataclass(slots=True)
class _Before:
    """The parameters by name, and what to call to have everything as it was."""

    parameters: dict[str, _Parameter] = field(default_factory=dict)
    undo: list[Callable[[], None]] = field(default_factory=list)


def _undone(steps: list[Callable[[], None]]) -> Exception | None:
    """Every step is done, also after one that failed; the first failure is returned."""
    first: Exception | None = None
    for undo in steps:
        try:
            undo()
        except Exception as error:  # noqa: BLE001 - what is left must be undone all the same
            first = first or error
    return first


def _remember(model: nn.Module) -> _Before:
    before = _Before()
    for name, parameter in model.named_parameters():
        before.parameters[name] = _Parameter(parameter, _version(parameter))
        before.undo += [_undo_gradient(parameter), _undo_hooks(parameter)]
    for module in model.modules():
        before.undo += _undo_module(module)
    before.undo += _undo_generators()
    return before


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version  # noqa: SLF001 - torch's own name


def _undo_gradient(parameter: nn.Parameter) -> Callable[[], None]:
    gradient, wanted = parameter.grad, parameter.requires_grad

    def undo() -> None:
        if parameter.requires_grad is not wanted:
            parameter.requires_grad_(wanted)
        parameter.grad = gradient

    return undo


_DEPTH: Final = 2
"""How deep containers in containers of a module are restored."""
_HOOKS: Final = ("_backward_hooks", "_post_accumulate_grad_hooks")
"""Where torch keeps a tensor's hooks."""


def _set_apart(parameter: nn.Parameter) -> None:
    parameter.grad = None
    setattr(parameter, _HOOKS[1], None)


def _undo_hooks(parameter: nn.Parameter) -> Callable[[], None]:
    """A parameter's hooks: their dictionaries, None where there are none, and what is in them."""
    kept = {}
    for name in _HOOKS:
        hooks = getattr(parameter, name)
        kept[name] = (hooks, dict(hooks or {}))

    def undo() -> None:
        for name, (hooks, entries) in kept.items():
            if getattr(parameter, name) is not hooks:
                setattr(parameter, name, hooks)
            if hooks is not None and dict(hooks) != entries:
                hooks.clear()
                hooks.update(entries)

    return undo


def _undo_module(module: nn.Module) -> Iterator[Callable[[], None]]:
    attributes = vars(module)
    yield _undo_mapping(attributes)
    # The registries (parameters, buffers, modules, hooks) are dictionaries that stay the same
    # object while entries come and go; so may be the containers of a user's module.
    for value in attributes.values():
        yield from _undo_value(value, _DEPTH)


def _undo_value(value: object, depth: int) -> Iterator[Callable[[], None]]:
    """A tensor, a generator, or a container and what it holds."""
    entries: Iterable[object] = ()
    if _is_kept(value):
        yield _undo_tensor(value)
    elif isinstance(value, Generator):
        yield _undo_generator(value)
    elif isinstance(value, dict):
        yield _undo_mapping(value)
        entries = value.values()
    elif isinstance(value, (list, deque)):
        yield _undo_list(value)
        entries = value
    elif isinstance(value, set):
        yield _undo_set(value)
    if depth:
        for entry in entries:
            yield from _undo_value(entry, depth - 1)


def _is_kept(value: object) -> TypeGuard[Tensor]:
    is_own = isinstance(value, Tensor) and not isinstance(value, nn.Parameter)
    return isinstance(value, Tensor) and is_own and not has_no_data(value)


def _undo_mapping(mapping: dict[Any, Any]) -> Callable[[], None]:
    entries = dict(mapping)

    def undo() -> None:
        same = list(map(id, mapping.values())) == list(map(id, entries.values()))
        if not same or list(mapping) != list(entries):
            mapping.clear()
            mapping.update(entries)

    return undo


def _undo_list(values: list[Any] | deque[Any]) -> Callable[[], None]:
    entries = list(values)

    def undo() -> None:
        if list(map(id, values)) != list(map(id, entries)):
            values.clear()
            values.extend(entries)

    return undo


def _undo_set(values: set[Any]) -> Callable[[], None]:
    entries = set(values)

    def undo() -> None:
        if values != entries:
            values.clear()
            values.update(entries)

    return undo


def _undo_tensor(tensor: Tensor) -> Callable[[], None]:
    values, wanted, is_leaf = tensor.detach().clone(), tensor.requires_grad, tensor.is_leaf

    def undo() -> None:
        if is_leaf and not tensor.is_leaf:
            # Written in place from the input, it would keep this run's graph.
            tensor.detach_()
        if tensor.is_leaf and tensor.requires_grad is not wanted:
            tensor.requires_grad_(wanted)
        # Only where it differs: each write fails a backward pass that is still to come.
        if tensor.shape != values.shape or not torch.equal(tensor.detach(), values):
            with torch.no_grad():
                tensor.detach().resize_(values.shape).copy_(values)

    return undo


def _undo_generators() -> Iterator[Callable[[], None]]:
    yield _undo_generator(torch.default_generator)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        yield from (_undo_generator(one) for one in torch.cuda.default_generators)
    python = random.getstate()
    yield lambda: random.setstate(python)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        state = numpy.random.get_state()
        yield lambda: numpy.random.set_state(state)


def _undo_generator(generator: Generator) -> Callable[[], None]:
    state = generator.get_state()
    return lambda: _restore(generator, state)


def _restore(generator: Generator, state: Tensor) -> None:
    generator.set_state(state)
