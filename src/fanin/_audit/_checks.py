"""What `audit` is given, checked before anything runs."""

from math import inf

from torch import nn

from fanin._audit._limits import Limits
from fanin._audit._run import batch_size
from fanin._errors import FaninError
from fanin._numbers import is_number, is_whole
from fanin._observe import require_shapes
from fanin._plan import Plan
from fanin._trace._record import results_in
from fanin._trace._run import describe
from fanin.initializers._target import has_no_data

__all__ = ["require_arguments", "require_batch", "require_model"]


def require_model(model: object) -> None:
    """Raises FaninError for what is no model, has lazy parameters, or has no values."""
    if not isinstance(model, nn.Module):
        raise _refused("this is not a model", "", model, "give a torch.nn.Module")
    require_shapes(model)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if has_no_data(tensor):
            raise FaninError(
                "a model without values cannot be audited: its signals are to be measured",
                where=name,
                found="a tensor on the meta device",
                fix="audit a small model of the same architecture, built with memory",
            )


def require_batch(batch: object) -> None:
    """Raises FaninError for a batch without inputs."""
    has_tensors = any(one.ndim > 0 for one in results_in(batch))
    if has_tensors and batch_size(batch) == 0:
        raise FaninError(
            "the batch is empty",
            where="fanin.audit, batch",
            found=describe(batch),
            fix="give at least one input, better 16 or more",
        )


def require_arguments(
    *,
    training: object,
    plan: object,
    seed: object,
    draws: object,
    optimizer: object,
    learning_rate: object,
    spectrum: object,
    limits: object,
) -> None:
    """Raises FaninError for an argument of the wrong kind, with the way out."""
    switch = "give True, False, or None to let fanin choose"
    if not isinstance(training, bool) and training is not None:
        raise _refused("this is not a mode", "training", training, switch)
    if not isinstance(spectrum, bool) and spectrum is not None:
        raise _refused("this is no yes or no", "spectrum", spectrum, switch)
    if not isinstance(plan, Plan) and plan is not None:
        fix = "give plan=fanin.plan(model, batch, recipe=...)"
        raise _refused("this is not a plan", "plan", plan, fix)
    if not isinstance(limits, Limits) and limits is not None:
        raise _refused("these are not limits", "limits", limits, "give fanin.Limits(total=...)")
    if optimizer not in ("adam", "sgd"):
        raise _refused("there is no such optimizer", "optimizer", optimizer, "use adam or sgd")
    if not is_number(learning_rate) or not 0 < learning_rate < inf:
        fix = "give a positive number, such as 0.001"
        raise _refused("this is not a learning rate", "learning_rate", learning_rate, fix)
    if not is_whole(seed):
        raise _refused("this is not a seed", "seed", seed, "give a whole number from 0")
    if not is_whole(draws, least=1):
        raise _refused("there must be at least one draw", "draws", draws, "give a whole number")
    if draws > 1 and plan is None:
        raise FaninError(
            "only a plan can be drawn again",
            where="fanin.audit",
            found=f"draws={draws} and no plan",
            fix="give plan=fanin.plan(model, batch) too",
        )


def _refused(what: str, argument: str, found: object, fix: str) -> FaninError:
    where = f"fanin.audit, {argument}=" if argument else "fanin.audit"
    return FaninError(what, where=where, found=repr(found)[:80], fix=fix)
