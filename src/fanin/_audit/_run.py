"""One run forward and backward, measured; the model is then bit for bit as before."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from fanin._audit._loss import LossFunction, Run, loss_of
from fanin._audit._measure import power, real
from fanin._audit._overwritten import Overwritten
from fanin._audit._parameters import Steps, trainable
from fanin._audit._records import Given, Loss
from fanin._audit._uninformed import Uninformed
from fanin._audit._watch import Watcher
from fanin._observe import observing
from fanin._trace._graph import Node
from fanin._trace._names import Tensors
from fanin._trace._record import Recorder, Watch, recording, results_in
from fanin._trace._run import name_sources, own_batch, run_recorded
from fanin._trace._tensors import is_continuous

__all__ = ["Measured", "batch_size", "measure"]


@final
@dataclass(slots=True)
class Measured:
    """What one run left: numbers, and the graph that they belong to."""

    recorder: Recorder
    watcher: Watcher
    steps: Steps
    loss: Loss
    given: dict[int, float]
    """E x^2 of each tensor of the batch, by the index of its node."""
    batch: Given
    notes: list[str] = field(default_factory=list)


def measure(
    model: nn.Module,
    tensors: list[Tensors],
    batch: object,
    *,
    loss: LossFunction | None,
    target: object,
    training: bool,
    steps: Steps,
) -> Measured:
    """Run ``model`` on ``batch`` once, forward and backward.

    Raises:
        FaninError: where the run or the loss fails, and as `observing` does.
    """
    recorder = Recorder()
    overwritten = Overwritten(recorder)
    watcher, uninformed = Watcher(batch_size(batch), overwritten.taken), Uninformed()
    recorder.watch = _both(uninformed, watcher)
    with torch.inference_mode(mode=False), observing(model, training=training), _unwarned():
        name_sources(recorder, tensors)
        given = own_batch(batch)
        powers = _inputs(recorder, given)
        with recording(recorder, model, gradients=True), overwritten:
            result = run_recorded(model, given, recorder)
        watcher.attach()
        steps.attach(recorder.computed)
        recorder.graph.results = [recorder.tensors.value_of(one) for one in results_in(result)]
        with _seeing(uninformed), torch.enable_grad():
            run = loss_of(result, loss, target)
        found = _loss(run, uninformed)
        del result
        found = replace(found, failed=_backward(run, tensors, steps))
    notes = _notes(found, tensors, is_run=run.value.requires_grad)
    return Measured(recorder, watcher, steps, found, powers, _given(batch, target), notes)


def _both(uninformed: Uninformed, watcher: Watcher) -> Watch:
    """One call for those who look at each operation."""

    def watch(
        node: Node, args: Sequence[Any], keywords: Mapping[str, Any], outputs: list[Tensor]
    ) -> None:
        uninformed.see(node.operation, args, outputs)
        watcher(node, args, keywords, outputs)

    return watch


@contextmanager
def _unwarned() -> Iterator[None]:
    """Inside, torch does not warn of what `spread-target` says: it would point at this library."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using a target size", category=UserWarning)
        yield


def _inputs(recorder: Recorder, given: object) -> dict[int, float]:
    """E x^2 of each tensor of the batch, by the index of its node."""
    powers = {}
    for tensor in results_in(given):
        recorder.source(tensor, "input", "input")
        if is_continuous(tensor):
            powers[recorder.graph.nodes[-1].index] = power(real(tensor))[0]
    return powers


def _given(batch: object, target: object) -> Given:
    inputs = [real(one) for one in results_in(batch) if is_continuous(one)]
    targets = [real(one) for one in results_in(target) if is_continuous(one)]
    return Given(
        second_moment=max((power(one)[0] for one in inputs), default=None),
        batch_finite=min(map(_usable, inputs), default=1.0),
        target_finite=min(map(_usable, targets), default=1.0),
    )


def _usable(values: Tensor) -> float:
    """The share that is finite, or -inf, as masks are."""
    wrong = values.isnan() | values.isposinf()
    return 1.0 - float(wrong.count_nonzero()) / max(values.numel(), 1)


def batch_size(batch: object) -> int:
    """How many inputs a batch has: the first length of its first tensor; 0 where it has none.

    >>> batch_size({"ids": torch.zeros(4, 7)})
    4
    """
    first = next((one for one in results_in(batch) if one.ndim > 0), None)
    return 0 if first is None else first.shape[0]


@contextmanager
def _seeing(uninformed: Uninformed) -> Iterator[None]:
    """Inside, the operations of a loss are looked at; they are no part of the model's graph."""
    recorder = Recorder()
    recorder.watch = lambda node, args, _keywords, outputs: uninformed.see(
        node.operation, args, outputs, after_model=True
    )
    with recording(recorder, nn.Module(), gradients=True):
        yield


def _loss(run: Run, uninformed: Uninformed) -> Loss:
    output = run.output
    std = None if output is None else power(real(output))[0] ** 0.5
    price = uninformed.price if run.is_loss else None
    return Loss(
        value=float(run.value.detach()),
        said=run.said,
        uninformed=price.uninformed if price is not None else None,
        output_std=std,
        classes=price.classes if price is not None else None,
        observed=price.value if price is not None else None,
        target_mean=price.target_mean if price is not None else None,
        is_spread=uninformed.is_spread,
        is_loss=run.is_loss,
    )


def _backward(run: Run, tensors: list[Tensors], steps: Steps) -> str:
    """Run backward, where that is possible; returns what it failed with, or nothing."""
    if not run.value.requires_grad:
        return ""
    try:
        with steps.listening(tensors):
            # To the model's own tensors alone: a module of the loss keeps no gradient of this run.
            own = trainable(tensors) or None
            run.value.backward(inputs=own)  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001 - whatever a user's own backward raises
        return f"{type(error).__name__}: {error}".splitlines()[0][:160]
    return ""


def _notes(loss: Loss, tensors: list[Tensors], *, is_run: bool) -> list[str]:
    """What has to be said where there are no gradients."""
    if loss.failed:
        return [f"gradients: the backward pass failed: {loss.failed}"]
    if is_run:
        return []
    if trainable(tensors):
        return ["gradients: none, the result does not depend on a trainable parameter"]
    return ["gradients: none, no parameter of the model is trainable"]
