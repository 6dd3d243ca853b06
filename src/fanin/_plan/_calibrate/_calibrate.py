"""The method: targets, copies, one forward pass, and a plan with the factors it found."""

from collections.abc import Sequence
from typing import get_args

from torch import nn

from fanin._errors import FaninError
from fanin._observe import observing
from fanin._observe import run as run_model
from fanin._plan._calibrate._copies import Copies
from fanin._plan._calibrate._run import Run, running
from fanin._plan._calibrate._said import findings, refuse_lost_signal, with_reason
from fanin._plan._calibrate._targets import Target, wanted
from fanin._plan._calibrate._weights import Per
from fanin._plan._draw._match import matched
from fanin._plan._entry import Entry, scaled
from fanin._trace._record import results_in
from fanin._trace._run import describe
from fanin.initializers._target import has_no_data

__all__ = ["calibrated"]


def calibrated(
    entries: Sequence[Entry],
    model: nn.Module,
    batch: object,
    *,
    seed: int = 0,
    per: Per = "tensor",
    training: bool = False,
    target: Target = None,
) -> tuple[Entry, ...]:
    """W <- W std / std(W x) for each weight in the order of execution, in one forward pass.

    The model runs once on ``batch``, on copies of the starts that ``seed`` draws; it is itself
    bit for bit as before. When a weight is first used, its output is measured, without the bias:
    the std over batch, positions and outputs, about their common mean. The copy is divided at
    once, so that whatever comes later sees the corrected signal. The numbers end in the entries, as
    factors of their initializers: with the same seed it gives these stds up to rounding, with
    another one within sampling error.

    ``per="tensor"``: one factor for a weight, and for each of its blocks (query, key, value;
    gates) and experts. ``per="output"``: one for each output, measured about that output's mean.
    ``training`` is the mode that the model runs in: batch norm and dropout then act as in
    training; what the model draws is a function of ``seed``.
    ``target``: one std for every weight that multiplies, or a function from a `Site` to a std or
    None. Without it, the std that the plan's choices ask for; where none asks, 1. Of a default or
    a number, writers into a residual stream get the part 1 / sqrt(writers), and tables and
    recurrent weights are only measured. The entries say of each weight what was done, and why.

    LSUV of Mishkin & Matas 2016, "All you need is a good init", algorithm 1, here in one pass as
    the output is linear in the weight; by output as in Salimans & Kingma 2016, "Weight
    normalization", eq. 6.

    Raises:
        FaninError: for a model without values, or another one than planned; for a run that fails;
            for an output that is not finite; for a batch of zeros; where the outputs are zero, or
            the same for all of several inputs, from one weight on to the last. Nothing is changed
            then.

    >>> import fanin, torch
    >>> net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    >>> x = torch.randn(64, 20)
    >>> found = fanin.plan(net, x, recipe=fanin.recipes.lsuv).calibrate(net, x)
    >>> receipt = found.apply(net, seed=0)
    >>> print(f"{net(x).std(correction=0):.4f}")
    1.0000
    """
    _require(per, model)
    asked = wanted(entries, target)
    copies = Copies.drawn(matched(entries, model), asked, seed=seed, per=per)
    _run_on(copies, model, batch, seed=seed, training=training)
    mode = "training" if training else "evaluation"
    found = findings(copies.weights, f"seed {seed} on {describe(batch)} in {mode} mode")
    factors = {one.name: one.factor for one in found if one.factor is not None}
    stds = {one.name: one.measured for one in found if one.measured is not None}
    said = {one.name: one.sentence for one in found}
    return tuple(
        with_reason(entry, said[entry.name]) if entry.name in said else entry
        for entry in scaled(entries, factors, stds)
    )


def _require(per: object, model: nn.Module) -> None:
    if per not in get_args(Per):
        raise FaninError(
            "there is no such way to measure",
            where="plan.calibrate",
            found=f"per={per!r}",
            fix=f"use one of: {', '.join(get_args(Per))}",
        )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if has_no_data(tensor):
            raise FaninError(
                "a model without values cannot be calibrated: its outputs are to be measured",
                where=name,
                found="a tensor on the meta device",
                fix="calibrate the same model built with memory; the plan then fits both",
            )
        if type(tensor).__name__ == "DTensor":
            raise FaninError(
                "a sharded model cannot be calibrated by this version",
                where=name,
                found="a DTensor",
                fix="calibrate the model before it is sharded",
            )


def _run_on(copies: Copies, model: nn.Module, batch: object, *, seed: int, training: bool) -> None:
    """Run the model on the copies, and learn what their outputs are.

    Raises:
        FaninError: where the run fails, an output is not finite, or nothing of the signal is left.
    """
    of_zeros = _is_zeros(batch)
    with observing(model, training=training), copies.in_place_of(model):
        run = Run(copies.weights)
        try:
            with running(run, seed):
                run_model(model, batch)
        except FaninError:
            raise
        except Exception as error:
            if run.failure is None:
                last = run.ran[-1].name if run.ran else ""
                raise _failed(model, batch, last, error) from error
    if run.failure is not None:
        # The model caught it, and went on or raised another.
        raise run.failure
    refuse_lost_signal(run.ran, of_zeros=of_zeros)


def _is_zeros(batch: object) -> bool:
    """Whether all numbers of the batch are zero; ids of zero are ids as good as others."""
    tensors = list(results_in(batch))
    numbers = all(one.is_floating_point() or one.is_complex() for one in tensors)
    return bool(tensors) and numbers and not any(bool(one.any()) for one in tensors)


def _failed(model: nn.Module, batch: object, last: str, error: Exception) -> FaninError:
    said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return FaninError(
        "the model failed on this batch",
        where=type(model).__name__ + (f", after {last}" if last else ""),
        found=f"{said}; the batch was {describe(batch)}",
        fix="give what the model is called with: a tensor, a tuple of positional arguments, or a "
        "mapping of keyword arguments",
    )
