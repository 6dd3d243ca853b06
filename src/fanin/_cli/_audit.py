"""``fanin audit``: from names on the command line to a report, on the screen and in files."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, final

import torch
from rich.console import Console
from torch import nn

from fanin._audit import Report, audit
from fanin._cli._commands import Question, recipe_named, require_directory, source_of, step, write
from fanin._errors import FaninError
from fanin._plan import plan
from fanin._target import build, call, find, importable

__all__ = ["Files", "Measurement", "audit_model"]


@final
@dataclass(frozen=True, slots=True)
class Measurement:
    """What the command line says of the loss, the draws and the first step."""

    loss: str | None = None
    target: str | None = None
    seed: int = 0
    draws: int = 1
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 0.001
    spectrum: bool = False


@final
@dataclass(frozen=True, slots=True)
class Files:
    """Where the report goes; ``json`` is ``-`` for standard output, and then nothing else."""

    json: str | None = None
    html: Path | None = None
    junit: Path | None = None

    def require_places(self) -> None:
        """Raises FaninError for a directory, a file in none, and two reports in one file."""
        json = None if self.json in (None, "-") else Path(str(self.json))
        taken: dict[Path, str] = {}
        for path, option in ((json, "--json"), (self.html, "--html"), (self.junit, "--junit")):
            if path is None:
                continue
            require_directory(path, "the report", option)
            if path.is_dir():
                raise _no_place(option, f"{path}, a directory", "name a file, also in it")
            other = taken.setdefault(path.resolve(), option)
            if other != option:
                raise _no_place(f"{other} and {option}", f"{path} twice", "name two files")


def _no_place(where: str, found: str, fix: str) -> FaninError:
    return FaninError("the report cannot be saved here", where=where, found=found, fix=fix)


def audit_model(
    question: Question, measurement: Measurement, files: Files, *, strict: bool
) -> bool:
    """Print the report and write its files; False for an error, where ``strict`` for a warning.

    Raises:
        FaninError: where the model, its input, loss or recipe is not found, does not run or fit.
    """
    files.require_places()
    _require_a_model(question, measurement)
    report = _report(question, measurement)
    _deliver(report, files, strict=strict)
    return not report.at_least("warning" if strict else "error")


def _deliver(report: Report, files: Files, *, strict: bool) -> None:
    from fanin._audit._json import write_file

    if files.html is not None:
        report.to_html(files.html)
    if files.junit is not None:
        write_file(files.junit, report.to_junit(strict=strict))
    if files.json == "-":
        write(report.to_json().rstrip("\n"), sys.stdout)
        return
    if files.json is not None:
        report.save(files.json)
    write(str(report), sys.stdout)


def _require_a_model(question: Question, measurement: Measurement) -> None:
    if question.is_saved:
        raise FaninError(
            "a saved plan cannot be audited: it holds no model",
            where="TARGET",
            found=question.target,
            fix="name the model; fanin.audit(model, batch, plan=fanin.Plan.load(...)) in Python",
        )
    if question.meta:
        raise FaninError(
            "an audit measures signals, and a model without memory has none",
            where="--meta",
            found=question.target,
            fix="leave it out, and make the model smaller with --set",
        )
    if measurement.draws != 1 and question.recipe is None:
        raise FaninError(
            "only a recipe can be drawn several times",
            where="--draws",
            found=f"{measurement.draws}, and no --recipe",
            fix="name the recipe whose draws are to be looked at: --recipe steady",
        )


def _report(question: Question, measurement: Measurement) -> Report:
    """What is only a matter of words is looked at first: making a model may take minutes."""
    with ExitStack() as stack:
        specs = (question.target, question.batch, question.recipe)
        for spec in (*specs, measurement.loss, measurement.target):
            if spec is not None and ":" in spec:
                stack.enter_context(importable(spec))
        # What the user's code prints must not mix with the report, which may be JSON.
        stack.enter_context(redirect_stdout(sys.stderr))
        # What the user's code draws itself is then the same in every run.
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(measurement.seed)
        recipe = None if question.recipe is None else recipe_named(question.recipe)
        batch_for, judged = source_of(question), _judged_by(measurement)
        # And the model's own weights the same, whatever else was asked for.
        torch.manual_seed(measurement.seed)
        with step(f"making {question.target}"):
            target = build(question.target, question.settings)
        batch, source = batch_for(target.model)
        with _progress(type(target.model).__name__) as progress:
            drawn = recipe and plan(target.model, batch, recipe=recipe, training=question.training)
            report = audit(
                target.model,
                batch,
                training=question.training,
                plan=drawn,
                seed=measurement.seed,
                draws=measurement.draws,
                optimizer=measurement.optimizer,
                learning_rate=measurement.learning_rate,
                spectrum=measurement.spectrum or None,
                progress=progress,
                **judged,
            )
    return replace(report, notes=(f"made by {target.made_by}, run on {source}", *report.notes))


def _judged_by(measurement: Measurement) -> Mapping[str, Any]:
    """The loss and the target, by the names that `fanin.audit` has for them."""
    found: dict[str, Any] = {}
    if measurement.loss is not None:
        found["loss"] = _loss(measurement.loss)
    if measurement.target is not None:
        target = find(measurement.target, option="--target")
        is_made = callable(target) and not isinstance(target, nn.Module)
        spec = measurement.target
        found["target"] = call(target, {}, spec=spec, option="--target") if is_made else target
    return found


def _loss(spec: str) -> Any:  # noqa: ANN401 - what a user's module holds
    """A function, or an instance of a class such as ``torch.nn:CrossEntropyLoss``."""
    found = find(spec, option="--loss")
    if isinstance(found, type):
        found = call(found, {}, spec=spec, option="--loss")
    if callable(found):
        return found
    raise FaninError(
        "this is no loss",
        where="--loss",
        found=f"{spec}, of type {type(found).__name__}",
        fix="name a function of the model's result and the target",
    )


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None] | None]:
    """On a terminal, how many draws have been looked at."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with console.status(f"auditing {name}") as status:
        yield lambda done, of: status.update(f"auditing {name}: {done} of {of} draws")
