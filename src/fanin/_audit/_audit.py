"""`audit`: one batch, forward and backward, measured and judged."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from statistics import median
from typing import final

import torch
from torch import nn

from fanin._audit._asked import Asked
from fanin._audit._checks import require_batch, require_model
from fanin._audit._ends import hidden_ends
from fanin._audit._evidence import Evidence
from fanin._audit._findings import findings_of
from fanin._audit._growth import growths_of
from fanin._audit._jacobian import spectrum_of
from fanin._audit._limits import Limits
from fanin._audit._loss import LossFunction
from fanin._audit._median import median_of
from fanin._audit._parameters import Optimizer, Steps, powers_of, states_of
from fanin._audit._places import places_of
from fanin._audit._predictions import predictions_of
from fanin._audit._records import Spectrum
from fanin._audit._report import Report
from fanin._audit._run import Measured, batch_size, measure
from fanin._errors import FaninError
from fanin._plan import Plan
from fanin._plan._calibrate._copies import Copies
from fanin._plan._draw._match import matched
from fanin._site import Site
from fanin._trace._flow import Flow
from fanin._trace._names import Tensors, tensors_of
from fanin._trace._roles import Reading
from fanin._trace._run import FAILED, describe
from fanin._trace._siblings import completed
from fanin._trace._sites import sites_of
from fanin._version import __version__

__all__ = ["audit"]


_SMALL = 128
"""Entries for each input, up to which the Jacobian is looked at without being asked for."""


@final
@dataclass(frozen=True, slots=True)
class _Look:
    """What one run showed."""

    report: Report
    sites: Mapping[str, Site]
    powers: Mapping[str, float]


def audit(
    model: nn.Module,
    batch: object,
    *,
    loss: LossFunction | None = None,
    target: object = None,
    training: bool | None = None,
    plan: Plan | None = None,
    seed: int = 0,
    draws: int = 1,
    optimizer: Optimizer = "adam",
    learning_rate: float = 0.001,
    spectrum: bool | None = None,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Is this start healthy, forward and backward? If not: where, why, and what to do.

    ``model`` runs on ``batch`` (a tensor, a tuple of positional or a mapping of keyword
    arguments) once forward and backward, and once more where the Jacobian is looked at. It is left
    bit for bit as it was: parameters, buffers, gradients, modes, hooks and random generators, also
    after an exception.
    ``loss`` is called with the model's result, and with ``target`` where one is given. Without it,
    the model's own loss is taken where its result has one; for a target of whole numbers
    cross-entropy, of truth values binary cross-entropy, of floats the mean squared error; without
    a target a random direction of the output. The report says which.
    ``training`` is the mode it runs in; None: training, as in its first step, or evaluation where
    the model wants more than a batch to train.
    ``plan``: look at the start that this plan draws with ``seed``, or at ``draws`` of them (seeds
    from ``seed`` on), in place of the model's own weights; numbers are then medians over draws.
    ``optimizer`` ("adam" or "sgd") and ``learning_rate`` are of the first step that is looked
    ahead. ``spectrum`` asks for the Jacobian's singular values; None: where the net is small.
    ``progress`` is called with the number of draws that are done, and of all.

    Raises:
        FaninError: for a model that does not run, has no values (meta) or lazy parameters; for a
            loss that fails; for more than one draw without a plan.

    >>> net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    >>> found = audit(net, torch.randn(32, 64), target=torch.arange(32) % 10)
    >>> found.loss.said, round(found.loss.uninformed, 3)
    ('cross-entropy over the last axis, inferred', 2.303)
    """
    asked = Asked(
        loss, target, training, plan, seed, draws, optimizer, learning_rate, spectrum, limits
    )
    require_model(model)
    require_batch(batch)
    looks: list[_Look] = []
    for number in range(draws):
        with _drawn(plan, model, seed + number):
            looks.append(_look(model, batch, asked))
        if progress is not None:
            progress(number + 1, draws)
    return _judged(looks, asked)


@contextmanager
def _drawn(plan: Plan | None, model: nn.Module, seed: int) -> Iterator[None]:
    """Inside, ``model`` shows the draw of ``plan`` for ``seed``; without a plan its own weights."""
    if plan is None:
        yield
        return
    copies = Copies.drawn(matched(plan.entries, model), {}, seed=seed, per="tensor")
    with copies.in_place_of(model):
        yield


def _look(model: nn.Module, batch: object, asked: Asked) -> _Look:
    tensors = tensors_of(model)
    measured, mode = _run(model, tensors, batch, asked)
    reading = Reading(Flow(measured.recorder.graph))
    sites = {site.name: site for site in completed(sites_of(reading, tensors, mode))}
    seen, inputs = measured.watcher.seen, batch_size(batch)
    states = states_of(tensors, sites, measured.steps, asked.learning_rate)
    spectrum, said = _spectrum(model, batch, reading, asked, training=mode == "training")
    by_name = {state.name: state for state in states}
    predictions, _ = predictions_of(reading.flow, sites, by_name, seen, given=measured.given)
    report = Report(
        model=type(model).__name__,
        batch=describe(batch),
        mode=mode,
        optimizer=asked.optimizer,
        learning_rate=float(asked.learning_rate),
        places=places_of(reading, seen, inputs, model),
        parameters=states,
        loss=measured.loss,
        given=measured.batch,
        spectrum=spectrum,
        predictions=predictions,
        notes=(*measured.notes, *_fresh(model, mode), *([f"spectrum: {said}"] if said else [])),
        versions=(("fanin", __version__), ("torch", torch.__version__)),
    )
    is_loss = measured.loss.is_loss
    powers = powers_of(tensors, measured.steps, measured.loss.value) if is_loss else {}
    return _Look(report, sites, powers)


def _fresh(model: nn.Module, mode: str) -> tuple[str, ...]:
    """What evaluation mode means where batch norm has seen nothing yet."""
    counts = [
        one.num_batches_tracked
        for one in model.modules()
        if isinstance(one, nn.modules.batchnorm._BatchNorm)  # noqa: SLF001 - of 1, 2 and 3 axes
    ]
    if mode == "evaluation" and any(one is not None and int(one) == 0 for one in counts):
        said = "batch norm has seen no batch and normalizes nothing: signals are not as in training"
        return (f"evaluation mode: {said}",)
    return ()


def _spectrum(
    model: nn.Module, batch: object, reading: Reading, asked: Asked, *, training: bool
) -> tuple[Spectrum | None, str]:
    """The Jacobian's singular values, if asked for, or where all of them come cheaply."""
    if asked.spectrum is False:
        return None, ""
    ends, said = hidden_ends(reading.flow)
    if ends is None:
        return None, said
    inputs = max(batch_size(batch), 1)
    is_small = all(prod(one.shape) <= _SMALL * inputs for one in ends)
    if asked.spectrum is None and not is_small:
        return None, "not measured: the net is not small, ask for it with spectrum=True"
    return spectrum_of(model, batch, reading.flow.graph, *ends, training=training)


def _run(
    model: nn.Module, tensors: list[Tensors], batch: object, asked: Asked
) -> tuple[Measured, str]:
    """One run in the mode that was asked for; without one, in training if the model can."""

    def once(*, training: bool) -> Measured:
        return measure(
            model,
            tensors,
            batch,
            loss=asked.loss,
            target=asked.target,
            training=training,
            steps=Steps(asked.optimizer),
        )

    if asked.training is not None:
        return once(training=asked.training), "training" if asked.training else "evaluation"
    try:
        return once(training=True), "training"
    except FaninError as failed:
        if failed.what != FAILED:
            raise
        error = failed
    try:
        found = once(training=False)
    except FaninError:
        # What went wrong in the mode that was wanted first is what the caller can mend.
        raise error from error.__cause__
    said = error.found.partition("; the batch was")[0]
    found.notes.append(f"evaluation mode: in training mode {error.what}: {said}")
    return found, "evaluation"


def _judged(looks: Sequence[_Look], asked: Asked) -> Report:
    """The numbers, medians over several draws, and what they mean."""
    plan = asked.plan
    report = replace(
        median_of([look.report for look in looks]),
        draws=asked.draws,
        limits=asked.limits or Limits(),
        seed=None if plan is None else asked.seed,
        plan="" if plan is None else plan.checksum,
        recipe="" if plan is None else plan.recipe,
    )
    names = set[str]().union(*(look.powers for look in looks))
    powers = {name: median(look.powers.get(name, 0.0) for look in looks) for name in names}
    evidence = Evidence(report, looks[-1].sites, powers)
    report = replace(report, growths=growths_of(evidence))
    return replace(report, findings=findings_of(replace(evidence, report=report)))
