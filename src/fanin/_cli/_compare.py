"""``fanin compare``: from names on the command line to a comparison, on the screen and in files."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, final

import torch
from torch import nn

from fanin._bar import progress_bar
from fanin._cli._commands import recipe_named, require_directory, step, write
from fanin._compare import Comparison, compare
from fanin._compare._data import LossFunction, default_loss
from fanin._compare._records import Optimizer
from fanin._compare._workers import cores
from fanin._errors import FaninError
from fanin._observe import observing, run
from fanin._target import build, call, find, importable
from fanin._target._build import settings_of
from fanin.recipes import Recipe

__all__ = ["Contest", "Files", "compare_model"]

DIGITS: Final = "digits"
OWN: Final = "own"
TARGET: Final = "TARGET"
SHAPES: Final = MappingProxyType({(784,): "784 pixels each", (1, 28, 28): "1x28x28 each"})


@final
@dataclass(frozen=True, slots=True)
class Contest:
    """What the command line says of the trainings; ``budget`` in seconds."""

    target: str
    data: str
    settings: Sequence[str] = ()
    recipes: Sequence[str] = ()
    loss: str | None = None
    optimizer: Optimizer = "adam"
    rates: Sequence[float] | None = None
    loss_target: float | None = None
    steps: int = 500
    seeds: int = 8
    seed: int = 0
    budget: float | None = None
    workers: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Files:
    """Where the comparison goes; ``json`` is ``-`` for standard output, and then nothing else."""

    resume: Path | None = None
    json: str | None = None
    html: Path | None = None

    def require_directories(self) -> None:
        """Raises FaninError where a file would be in a directory that is not there."""
        json = Path(self.json) if self.json not in (None, "-") else None
        require_directory(json, "the comparison", "--json")
        require_directory(self.html, "the comparison", "--html")
        require_directory(self.resume, "trainings", "--resume")


def compare_model(contest: Contest, files: Files) -> None:
    """Print the comparison and write its files.

    Raises:
        FaninError: where the model, data, a recipe or the loss is not found, does not run or fit.
        KeyboardInterrupt: after Ctrl-C; its text says what is kept.
    """
    files.require_directories()
    try:
        comparison = _compared(contest, files.resume)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_kept(files.resume)) from None
    if files.html is not None:
        comparison.to_html(files.html)
    if files.json == "-":
        write(comparison.to_json().rstrip("\n"), sys.stdout)
        return
    if files.json is not None:
        comparison.save(files.json)
    write(str(comparison), sys.stdout)


def _kept(path: Path | None) -> str:
    if path is None:
        return "stopped by Ctrl-C; nothing is kept, which --resume FILE would do"
    try:
        done = max(0, path.read_text(encoding="utf-8").count("\n") - 1)
    except OSError:
        done = 0
    return (
        f"stopped by Ctrl-C; trainings that are kept in {path}: {done}; the same command goes on "
        "from there"
    )


def _compared(contest: Contest, resume: Path | None) -> Comparison:
    """What is only a matter of words is looked at first: making a model may take minutes."""
    with ExitStack() as stack:
        for spec in (contest.target, contest.data, contest.loss or "", *contest.recipes):
            if ":" in spec:
                stack.enter_context(importable(spec))
        # What the user's code prints must not mix with the comparison, which may be JSON.
        stack.enter_context(redirect_stdout(sys.stderr))
        # The user's code may draw as it is imported and as a model is made.
        stack.enter_context(torch.random.fork_rng(devices=[]))
        recipes = _recipes(contest.recipes)
        loss = None if contest.loss is None else _Named(contest.loss, "--loss")
        with step(f"making {contest.target}"):
            maker = _Maker(contest.target, tuple(contest.settings))
            model = maker()
        data, said = _data(contest.data, model, loss or default_loss)
        name = type(model).__name__
        with progress_bar(f"training {name}", lambda share, now: f"{now}, {share} %") as shown:
            found = compare(
                maker,
                recipes,
                data,
                loss=loss,
                optimizer=contest.optimizer,
                rates=contest.rates,
                target=contest.loss_target,
                steps=contest.steps,
                scoring_seeds=contest.seeds,
                seed=contest.seed,
                budget=contest.budget,
                workers=cores() if contest.workers is None else contest.workers,
                resume=resume,
                progress=lambda phase, done, total: shown(done, total, f"{name}: {phase}"),
            )
    notes = (f"made by {contest.target}, trained on {said}", *found.notes)
    return replace(found, notes=notes)


def _recipes(specs: Sequence[str]) -> dict[str, Recipe | None]:
    """By name; ``own`` is the model as it is made."""
    found: dict[str, Recipe | None] = {}
    for spec in specs:
        recipe = None if spec == OWN else _recipe(spec)
        name = OWN if recipe is None else recipe.name if ":" in spec else spec
        if name in found:
            raise FaninError(
                "a start is named twice",
                where="--recipes",
                found=", ".join(specs),
                fix="name each once",
            )
        found[name] = recipe
    return found


def _recipe(spec: str) -> Recipe:
    try:
        return recipe_named(spec)
    except FaninError as error:
        if error.where != "--recipe":
            raise
        fix = error.fix.replace("use one of:", f"use {OWN}, the model as it is made, or one of:")
        raise FaninError(error.what, where="--recipes", found=error.found, fix=fix) from None


@final
class _Named:
    """The function that a text names, found once; a worker process finds it by the text again.

    ``made``: the text names what makes it.
    """

    def __init__(self, spec: str, option: str, *, made: bool = False) -> None:
        self._spec, self._option, self._made = spec, option, made
        found = find(spec, option=option)
        if made or isinstance(found, type):
            found = call(found, {}, spec=spec, option=option)
        if not callable(found):
            raise FaninError(
                "this is no function",
                where=option,
                found=f"{spec}, of type {type(found).__name__}",
                fix="name a function of the model's result and the targets",
            )
        self._function: Callable[..., Any] = found

    def __call__(self, *args: Any) -> Any:  # noqa: ANN401 - a user's function
        return self._function(*args)

    def __reduce__(self) -> tuple[object, ...]:
        return partial(_Named, made=self._made), (self._spec, self._option)


@final
class _Maker:
    """Makes the model anew; its code is found once, and by its name again in a worker process."""

    def __init__(self, spec: str, settings: tuple[str, ...]) -> None:
        self._spec, self._settings = spec, settings
        is_python = spec.partition(":")[0] not in ("hf", "timm")
        self._function = find(spec, option=TARGET) if is_python else None
        if isinstance(self._function, nn.Module) or not (callable(self._function) or not is_python):
            raise FaninError(
                "this is nothing that makes the model anew for each training",
                where=TARGET,
                found=f"{spec}, of type {type(self._function).__name__}",
                fix="name a function or a class that makes it",
            )

    def __call__(self) -> nn.Module:
        if self._function is None:
            return build(self._spec, self._settings).model
        made = call(self._function, settings_of(self._settings), spec=self._spec, option=TARGET)
        if isinstance(made, nn.Module):
            return made
        raise FaninError(
            f"{self._spec} made no model",
            where=TARGET,
            found=f"{type(made).__name__}, not a torch.nn.Module",
            fix="name a function that returns the model, or its class",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _Maker, (self._spec, self._settings)


def _data(spec: str, model: nn.Module, loss: LossFunction) -> tuple[object, str]:
    """The data, and in words which they are."""
    if spec == DIGITS:
        return _digits(model, loss)
    found = find(spec, option="--data")
    if not callable(found):
        return found, spec
    if _needs_an_argument(found):
        return _Named(spec, "--data"), spec
    made = call(found, {}, spec=spec, option="--data")
    return (_Named(spec, "--data", made=True) if callable(made) else made), f"{spec}()"


def _needs_an_argument(function: Callable[..., Any]) -> bool:
    """As a function of a seed does."""
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    places = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return any(one.default is Parameter.empty and one.kind in places for one in parameters)


def _digits(model: nn.Module, loss: LossFunction) -> tuple[object, str]:
    """The digits as rows of pixels, or as images where the model runs on those alone."""
    from fanin._tour.data import load_digits

    digits, failures = load_digits(), []
    for sizes, said in SHAPES.items():
        train, test = (
            images.reshape(-1, *sizes) for images in (digits.train_images, digits.test_images)
        )
        try:
            with observing(model), torch.no_grad():
                loss(run(model, train[:4]), digits.train_labels[:4])
        except Exception as error:  # noqa: BLE001 - whatever a user's model raises
            text = str(error).strip().partition("\n")[0]
            failures.append(f"{type(error).__name__} on {said}: {text}")
        else:
            pairs = (train, digits.train_labels), (test, digits.test_labels)
            return pairs, f"4000 of fanin's handwritten digits, {said}"
    raise FaninError(
        "the model does not run on the digits",
        where="--data digits",
        found="\n         ".join(failures),
        fix="give a model of 784 inputs or 1x28x28 and 10 outputs, or --data file.py:function, "
        "which returns the data: (inputs, targets), or two such pairs, the second held out",
    )
