"""The loss that is run backward: given, the model's own, inferred, or a random direction."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor

from fanin._errors import FaninError
from fanin._trace._record import results_in
from fanin._trace._run import describe
from fanin._trace._tensors import is_continuous

__all__ = ["LossFunction", "Run", "loss_of"]

LossFunction: TypeAlias = Callable[..., Tensor]
"""Of the model's result, and of the target where one is given."""
_LEFT_OUT = -100
"""torch's sign for a position that a loss leaves out."""


@final
@dataclass(frozen=True, slots=True)
class Run:
    """A scalar to run backward, where it comes from, and the output that it is a loss of."""

    value: Tensor
    said: str
    output: Tensor | None
    is_loss: bool = True


def loss_of(result: object, loss: LossFunction | None, target: object) -> Run:
    """The loss of a model's result.

    Without a ``loss``: the model's own where its result has one; of an integer ``target``
    cross-entropy, of truth values of the output's shape binary cross-entropy, of floats of it the
    mean squared error; without a target, the output in a random direction, of which only the
    gradients mean something.

    Raises:
        FaninError: for a loss that is no scalar, and a target that fits no output.
    """
    output = _output(result)
    if loss is not None:
        return Run(_scalar(_called(loss, result, target)), _named(loss), output)
    own = _own(result)
    if own is not None:
        unused = "" if target is None else "; target= was not used, give loss= for that"
        return Run(own, f"the model's own loss{unused}", output)
    if output is None:
        raise FaninError(
            "the model returned nothing that a gradient could come from",
            where="fanin.audit",
            found=type(result).__name__,
            fix="give loss=, a function of the model's result",
        )
    if target is not None:
        return _inferred(output, target)
    if output.ndim == 0:
        return Run(output, "the model's result, a scalar", output)
    return Run(
        _random_direction(output),
        "a random direction of the output, not a loss",
        output,
        is_loss=False,
    )


def _output(result: object) -> Tensor | None:
    """What the loss is of: the logits, or the first tensor of the result that has a gradient."""
    logits = _field(result, "logits")
    if isinstance(logits, Tensor):
        return logits
    found = [one for one in results_in(result) if is_continuous(one)]
    with_gradient = [one for one in found if one.requires_grad and one.ndim > 0]
    return next(iter(with_gradient or found), None)


def _own(result: object) -> Tensor | None:
    found = _field(result, "loss")
    return found if isinstance(found, Tensor) and found.numel() == 1 else None


def _field(result: object, name: str) -> object:
    if isinstance(result, Mapping):
        return result.get(name)
    return None if isinstance(result, Tensor) else getattr(result, name, None)


def _called(loss: LossFunction, result: object, target: object) -> object:
    """``loss`` of the result and the target; of its logits, where it knows tensors alone."""
    given = () if target is None else (target,)
    try:
        return loss(result, *given)
    except Exception as error:
        logits = _field(result, "logits")
        if isinstance(logits, Tensor):
            with suppress(Exception):
                return loss(logits, *given)
        said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise FaninError(
            "the loss failed on the model's result",
            where=_named(loss),
            found=f"{said}; the result was {describe(result)}",
            fix="loss= is called with the model's result, and target= where one is given: wrap it, "
            "such as loss=lambda result: F.cross_entropy(result.logits, labels)",
        ) from error


def _scalar(found: object) -> Tensor:
    if isinstance(found, Tensor) and found.numel() == 1:
        return found.reshape(())
    raise FaninError(
        "the loss is not one number",
        where="fanin.audit, loss=",
        found=describe(found),
        fix="give the mean over the batch",
    )


def _named(loss: LossFunction) -> str:
    name = getattr(loss, "__name__", type(loss).__name__)
    return "the loss that was given" if name == "<lambda>" else f"{name}, as given"


def _inferred(output: Tensor, target: object) -> Run:
    found = None
    if isinstance(target, Tensor):
        if target.dtype == torch.bool:
            found = _yes_or_no(output, target)
        elif not target.is_floating_point():
            found = _cross_entropy(output, target)
        elif target.shape == output.shape:
            value = F.mse_loss(output, target.to(output.dtype))
            found = Run(value, "mean squared error, inferred", output)
    if found is not None:
        return found
    raise FaninError(
        "no loss can be inferred from this target",
        where="fanin.audit, target=",
        found=f"an output {describe(output)} and a target {describe(target)}",
        fix=_fix(output, target),
    )


def _yes_or_no(output: Tensor, target: Tensor) -> Run | None:
    """Binary cross-entropy: of probabilities where all outputs are, else of logits."""
    if target.shape != output.shape or output.is_complex():
        return None
    labels = target.to(output.dtype)
    # A readout of zeros gives logits of 0.
    if bool(((output > 0) & (output < 1)).all()):
        said = "binary cross-entropy of outputs between 0 and 1, inferred"
        return Run(F.binary_cross_entropy(output, labels), said, output)
    value = F.binary_cross_entropy_with_logits(output, labels)
    return Run(value, "binary cross-entropy of logits, inferred", output)


def _cross_entropy(output: Tensor, target: Tensor) -> Run | None:
    """Over the last axis, or the second; None for a target of another shape."""
    if target.shape == output.shape[:-1]:
        _require_classes(target, output.shape[-1])
        flat = F.cross_entropy(output.flatten(0, -2), target.flatten())
        return Run(flat, "cross-entropy over the last axis, inferred", output)
    if output.ndim > 1 and target.shape == (output.shape[0], *output.shape[2:]):
        _require_classes(target, output.shape[1])
        found = F.cross_entropy(output, target)
        return Run(found, "cross-entropy over the second axis, inferred", output)
    return None


def _require_classes(target: Tensor, classes: int) -> None:
    wrong = target[((target < 0) | (target >= classes)) & (target != _LEFT_OUT)]
    if wrong.numel():
        raise FaninError(
            "the target names a class that the output does not have",
            where="fanin.audit, target=",
            found=f"class {int(wrong[0])} of {classes}",
            fix=f"give classes from 0 to {classes - 1}, {_LEFT_OUT} for what is left out, or loss=",
        )


def _fix(output: Tensor, target: object) -> str:
    if not isinstance(target, Tensor):
        return "give a tensor, such as torch.as_tensor(target), or loss="
    if output.shape == (*target.shape, 1):
        return "give target[:, None], of the output's shape"
    return "give loss=, a function of the output and the target"


def _random_direction(output: Tensor) -> Tensor:
    """The mean over the batch of <output, signs> / sqrt(entries): a gradient of unit length."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, output.shape, generator=generator).to(output.device) * 2 - 1
    each = output[0].numel() if output.ndim else 1
    values = torch.view_as_real(output)[..., 0] if output.is_complex() else output
    inputs = output.shape[0] if output.ndim else 1
    scale = float(each**0.5 * max(inputs, 1))
    return (values * signs).sum().div(scale)
