"""An audit of a Lightning training on its first batch, before its first step.

Works with ``lightning`` and ``pytorch_lightning``; either is imported when the callback is asked
for.
"""

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from torch import nn

from fanin._audit._audit import audit
from fanin._audit._print import findings_text, verdict
from fanin._audit._records import Severity
from fanin._audit._report import Report
from fanin._errors import FaninError, nearest
from fanin._observe import observing
from fanin._trace._run import describe

__all__ = ["AuditCallback"]

_PACKAGES: Final = ("lightning.pytorch", "pytorch_lightning")


class _Audit:
    """Audits the module on the first training batch, in ``on_train_batch_start``.

    The batch is the very one that the first step is about to take, on its device, so nothing is
    drawn from the loader; the audit leaves no trace, so the training is bit for bit the same. A
    training that goes on from a checkpoint is not audited: its weights are no start.

    Without a ``loss``, ``training_step`` is run in place of the model, and what it returns is the
    loss. ``self.log`` is silent meanwhile; whatever else it does
    to the world outside the module, such as writing to a logger's experiment, it does once more
    than without the audit.
    With a ``loss``, of the module's result and the target, ``forward`` is run; ``split`` makes of
    a batch the pair (what forward takes, the target), without it the batch is that pair.

    ``report`` is the report afterwards. Every logger of the trainer gets it (with ``log``), and a
    finding of ``severity`` or worse raises, or else warns. ``html`` is where its page goes.
    ``audit_arguments`` are those of `fanin.audit`; optimizer and learning rate are those of the
    trainer where it has one Adam or SGD.
    Where ``training_step`` returns None, by which Lightning skips a batch, the next one is audited.

    Raises:
        FaninError: for an argument that neither this nor `fanin.audit` has; where Lightning is not
            installed or the audit fails; without a ``loss`` for a module that optimizes by itself
            (``automatic_optimization = False``); and for a start that is not healthy, if
            ``raise_if_unhealthy``.
    """

    def __init__(
        self,
        loss: Callable[..., Any] | None = None,
        *,
        split: Callable[[Any], tuple[Any, Any]] | None = None,
        raise_if_unhealthy: bool = False,
        severity: Severity = "warning",
        log: bool = True,
        html: str | Path | None = None,
        **audit_arguments: Any,
    ) -> None:
        super().__init__()
        _require_known(audit_arguments)
        self.report: Report | None = None
        self._skipped = False
        self._loss = loss
        self._split = split or _pair
        self._raises = raise_if_unhealthy
        self._severity: Severity = severity
        self._log = log
        self._html = html
        self._arguments = audit_arguments

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401, ARG002 - Lightning's
        """A second training is another start."""
        self.report, self._skipped = None, False

    def on_train_batch_start(
        self,
        trainer: Any,  # noqa: ANN401 - Lightning's
        pl_module: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Before the first step: audit, log, and raise or warn."""
        # A step that was skipped is counted too.
        if self.report is not None or (trainer.global_step > 0 and not self._skipped):
            return
        arguments = _first_step(trainer) | self._arguments
        if self._loss is None:
            step = _training_step(pl_module, batch_idx)
            found = _audited_step(trainer, pl_module, step, batch, arguments)
        else:
            inputs, target = self._split(batch)
            arguments |= {"loss": self._loss, "target": target}
            found = _audited(trainer, pl_module, pl_module, inputs, arguments)
        self._skipped = found is None
        if found is None:
            return
        self.report = replace(found, batch=describe(batch))
        if trainer.is_global_zero:
            self._deliver(self.report, trainer)
        if self._raises:
            self.report.raise_if_unhealthy(self._severity)

    def _deliver(self, report: Report, trainer: Any) -> None:  # noqa: ANN401
        for logger in trainer.loggers if self._log else ():
            report.log(logger, step=trainer.global_step)
        if self._html is not None:
            report.to_html(self._html)
        worse = report.at_least(self._severity)
        if worse and not self._raises:
            text = f"{report.model} is {verdict(report)}\n\n{findings_text(worse)}"
            warnings.warn(text, UserWarning, stacklevel=2)


def _pair(batch: Any) -> tuple[Any, Any]:  # noqa: ANN401 - whatever a loader gives
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    raise FaninError(
        "a batch is not a pair of inputs and target",
        where="AuditCallback(loss=...)",
        found=describe(batch),
        fix="give split=, a function from the batch to (what forward takes, the target)",
    )


def _audited_step(
    trainer: Any,  # noqa: ANN401 - Lightning's
    module: nn.Module,
    step: Callable[[Any], Any],
    batch: object,
    arguments: dict[str, Any],
) -> Report | None:
    """The report of the training step; None where it skips this batch."""
    returned: list[bool] = []
    try:
        found = _audited(trainer, module, _noting(step, returned), (batch,), arguments)
    except FaninError:
        if returned[:1] == [False]:
            return None
        raise
    return found if returned[0] else None


def _audited(
    trainer: Any,  # noqa: ANN401 - Lightning's
    module: nn.Module,
    function: Callable[..., Any],
    batch: object,
    arguments: dict[str, Any],
) -> Report:
    # The module is no part of the view that is audited; what it keeps on itself is put back here.
    with observing(module):
        found = audit(_View(trainer, module, function), batch, **arguments)
    return replace(found, model=type(module).__name__)


class _View(nn.Module):
    """A function as a model, of a module's parameters and modules by the names that they have.

    It runs in the precision of the trainer.
    """

    def __init__(self, trainer: Any, module: nn.Module, function: Callable[..., Any]) -> None:  # noqa: ANN401
        super().__init__()
        for registry in ("_parameters", "_buffers", "_modules"):
            vars(self)[registry] = vars(module)[registry]
        # In a tuple, so that the module does not become one of this one's.
        vars(self)["_what"] = (trainer, module, function)

    def forward(self, *batch: Any, **named: Any) -> Any:  # noqa: ANN401 - what the function returns
        """What the function makes of the batch."""
        trainer, module, function = vars(self)["_what"]
        with trainer.precision_plugin.train_step_context(), _silent(module):
            return function(*batch, **named)


def _training_step(module: Any, index: int) -> Callable[[Any], Any]:  # noqa: ANN401
    """The training step as a function of the batch; an error for one that cannot be audited."""
    names = list(inspect.signature(module.training_step).parameters)
    found = ""
    if not module.automatic_optimization:
        found = "automatic_optimization = False, so it changes the weights"
    elif "dataloader_iter" in names:
        found = "the argument dataloader_iter, so it takes its batches by itself"
    if found:
        raise FaninError(
            "this training step cannot be audited",
            where=f"{type(module).__name__}.training_step",
            found=found,
            fix="give AuditCallback a loss= of forward's result and the target",
        )
    if len(names) == 1:
        step: Callable[[Any], Any] = module.training_step
        return step
    return lambda batch: module.training_step(batch, index)


def _noting(step: Callable[..., Any], returned: list[bool]) -> Callable[..., Any]:
    """``step``, and of each call whether it returned anything: None is a batch that is skipped."""

    def noted(*batch: Any, **named: Any) -> Any:  # noqa: ANN401 - what the step returns
        result = step(*batch, **named)
        returned.append(result is not None)
        return result

    return noted


def _require_known(arguments: Mapping[str, Any]) -> None:
    """At once, and not when the training begins."""
    own = [*inspect.signature(_Audit.__init__).parameters][1:-1]
    known = [*own, *[*inspect.signature(audit).parameters][2:]]
    for name in arguments:
        if name not in known:
            raise FaninError(
                "there is no such argument",
                where="AuditCallback",
                found=f"{name}=",
                fix=f"its own and those of fanin.audit: {nearest(name, known)}",
            )


@contextmanager
def _silent(module: nn.Module) -> Iterator[None]:
    """Inside, ``self.log`` and ``self.log_dict`` of the module do nothing."""
    attributes = vars(module)
    names = ("log", "log_dict")
    before = {name: attributes[name] for name in names if name in attributes}
    attributes.update(dict.fromkeys(names, _nothing))
    try:
        yield
    finally:
        for name in names:
            del attributes[name]
        attributes.update(before)


def _nothing(*_: object, **__: object) -> None:
    return None


def _first_step(trainer: Any) -> dict[str, Any]:  # noqa: ANN401
    """The optimizer and the learning rate of the first step, where it is one that is known."""
    kinds = {"Adam": "adam", "AdamW": "adam", "SGD": "sgd"}
    optimizers = [one for one in trainer.optimizers if type(one).__name__ in kinds]
    if len(trainer.optimizers) != 1 or not optimizers:
        return {}
    (optimizer,) = optimizers
    rate = float(optimizer.param_groups[0]["lr"])
    return {"optimizer": kinds[type(optimizer).__name__], "learning_rate": rate}


def _bases() -> tuple[type, ...]:
    """Lightning's class of callbacks: of each of its two packages that is in use, or the first."""
    used = [name for name in _PACKAGES if name in sys.modules]
    there = [name for name in _PACKAGES if find_spec(name.partition(".")[0]) is not None]
    if not there:
        raise FaninError(
            "Lightning is not installed",
            where="fanin.lightning.AuditCallback",
            found="neither lightning nor pytorch_lightning",
            fix="pip install lightning",
        )
    return tuple(import_module(name).Callback for name in used or there[:1])


if TYPE_CHECKING:
    AuditCallback = _Audit


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class that Lightning's is a base of
    if name != "AuditCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    about = {"__module__": __name__, "__doc__": _Audit.__doc__}
    # Kept, so that it is one class however often it is asked for, and can be pickled.
    made = globals()[name] = type(name, (_Audit, *_bases()), about)
    return made
