"""Run the model once and record it, on data or on meta tensors alone."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import cast

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.utils import parametrize

from fanin._errors import FaninError
from fanin._observe import observing, run
from fanin._trace._graph import Graph
from fanin._trace._names import Tensors
from fanin._trace._record import Recorder, recording, results_in

__all__ = ["FAILED", "describe", "graph_of", "name_sources", "own_batch", "run_recorded"]

FAILED = "the model failed on this batch"
_NEEDS_DATA = ("meta tensor", "Meta", "meta device", "data-dependent", "no data", "fake tensor")


def graph_of(
    model: nn.Module, tensors: list[Tensors], batch: object, *, training: bool | None
) -> Graph:
    """What ran when ``model`` was given ``batch``; the model is then as it was.

    Raises:
        FaninError: if the run fails, with the module that failed; for a model on the meta device
            that needs data; and as `observing` does.
    """
    recorder = Recorder()
    with observing(model, training=training):
        name_sources(recorder, tensors)
        with _fake(model) as mode:
            # A model may write into what it is given.
            given = own_batch(batch, mode)
            for tensor in results_in(given):
                recorder.source(tensor, "input", "input")
            with recording(recorder, model):
                result = run_recorded(model, given, recorder)
        recorder.graph.results = [recorder.tensors.value_of(one) for one in results_in(result)]
    return recorder.graph


@contextmanager
def _fake(model: nn.Module) -> Iterator[FakeTensorMode | None]:
    """The mode of a model that is made of fake tensors, entered."""
    modes = (one.fake_mode for one in model.parameters() if isinstance(one, FakeTensor))
    mode = next(modes, None)
    with nullcontext() if mode is None else mode:
        yield mode


def own_batch(batch: object, mode: FakeTensorMode | None = None) -> object:
    """The batch with tensors of its own, and fake where the model is."""
    if isinstance(batch, Tensor):
        if isinstance(batch, FakeTensor) or mode is None:
            return batch.detach().clone().requires_grad_(batch.requires_grad)
        return mode.from_tensor(batch)
    if isinstance(batch, Mapping):
        return {key: own_batch(entry, mode) for key, entry in batch.items()}
    if isinstance(batch, list):
        return [own_batch(entry, mode) for entry in batch]
    # Of a named tuple the fields would be lost.
    return tuple(own_batch(entry, mode) for entry in batch) if type(batch) is tuple else batch


def name_sources(recorder: Recorder, tensors: list[Tensors]) -> None:
    """Tell the recorder which tensors are parameters, and under which names."""
    for one in tensors:
        if one.is_buffer:
            continue
        if one.tied:
            recorder.graph.tied[one.name] = tuple(one.tied)
        if parametrize.is_parametrized(one.owner, one.local):
            listed = cast("nn.ModuleDict", one.owner.parametrizations)[one.local]
            listed.register_forward_hook(_naming(recorder, one.name))
        elif one.stored:
            # torch's older weight and spectral norms compute the weight in a hook before this one.
            one.owner.register_forward_pre_hook(_naming_attribute(recorder, one))
        else:
            recorder.source(one.tensors[0], "parameter", one.name)


def _naming(recorder: Recorder, name: str) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(_module: nn.Module, _args: object, result: Tensor) -> None:
        recorder.computed[name] = result
        recorder.source(result, "parameter", name)

    return hook


def _naming_attribute(
    recorder: Recorder, one: Tensors
) -> Callable[[nn.Module, tuple[object, ...]], None]:
    def hook(module: nn.Module, _args: tuple[object, ...]) -> None:
        recorder.computed[one.name] = getattr(module, one.local)
        recorder.source(recorder.computed[one.name], "parameter", one.name)

    return hook


def run_recorded(model: nn.Module, batch: object, recorder: Recorder) -> object:
    """What the model returns, inside `recording`; raises FaninError where the run fails."""
    try:
        return run(model, batch)
    except Exception as error:
        where = recorder.failed if recorder.error is error else ""
        raise _explained(model, error, where, batch) from error


def _explained(model: nn.Module, error: Exception, where: str, batch: object) -> FaninError:
    place = f"{type(model).__name__}" + (f", in {where!r}" if where else "")
    said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    is_meta = any(parameter.is_meta for parameter in model.parameters())
    if is_meta or any(word in str(error) for word in _NEEDS_DATA):
        return FaninError(
            "the model cannot run without data",
            where=place,
            found=said,
            fix="it reads values of tensors, or runs what has no meta form: trace a small model of "
            "the same architecture on real data, and apply the plan by name",
        )
    return FaninError(
        FAILED,
        where=place,
        found=f"{said}; the batch was {describe(batch)}",
        fix="give what the model is called with: a tensor, a tuple (not a list) of positional "
        "arguments, or a mapping of keyword arguments; a mapping that is one argument: (batch,)",
    )


def describe(batch: object) -> str:
    """A batch in few words.

    >>> import torch
    >>> describe((torch.zeros(2, 3), {"mask": None}))
    '(float32 2x3, {mask: None})'
    """
    if isinstance(batch, Tensor):
        kind = str(batch.dtype).removeprefix("torch.")
        return f"{kind} {'x'.join(str(n) for n in batch.shape) or 'scalar'}"
    if isinstance(batch, Mapping):
        return "{" + ", ".join(f"{key}: {describe(one)}" for key, one in batch.items()) + "}"
    if isinstance(batch, list):
        return "[" + ", ".join(describe(one) for one in batch) + "]"
    if isinstance(batch, tuple):
        return "(" + ", ".join(describe(one) for one in batch) + ")"
    return repr(batch)[:40]
