"""``fanin plan`` and ``fanin explain``: from names on the command line to text on the screen."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, TextIO, TypeAlias, final

from rich.console import Console
from torch import nn

from fanin import recipes
from fanin._errors import FaninError, nearest
from fanin._plan import Plan, plan
from fanin._target import (
    EXAMPLE,
    batch_of,
    build,
    call,
    default_batch,
    find,
    importable,
    parse_inputs,
)
from fanin._text import plain
from fanin.recipes import Recipe

__all__ = [
    "RECIPE",
    "Question",
    "answer",
    "batch_options",
    "explain_model",
    "needs_memory",
    "plan_model",
    "recipe_named",
    "require_directory",
    "source_of",
    "step",
    "write",
]

RECIPE: Final = "steady"
_NEEDS_MEMORY: Final = (
    "raised an error",
    "could not make",
    "failed on this batch",
    "cannot run without data",
    "nobody says how",
    "only the model knows",
    "from the meta device",
)


@final
@dataclass(frozen=True, slots=True)
class Question:
    """What the command line says of the model, its input and the recipe.

    ``training``: None leaves every module in the mode that it was made in.
    """

    target: str
    settings: Sequence[str] = ()
    inputs: Sequence[str] = ()
    batch: str | None = None
    recipe: str | None = None
    training: bool | None = None
    meta: bool = False

    @property
    def is_saved(self) -> bool:
        """Whether the target is a plan in a file."""
        return self.target.endswith(".json") and not self.target.startswith(("hf:", "timm:"))

    @property
    def about_a_model(self) -> list[str]:
        """The options that a saved plan has no use for."""
        given = {
            "--set": self.settings,
            "--input": self.inputs,
            "--batch": self.batch,
            "--recipe": self.recipe,
            "--mode": self.training is not None,
            "--meta": self.meta,
        }
        return [option for option, value in given.items() if value]


def plan_model(question: Question, *, save: Path | None, as_json: bool, strict: bool) -> bool:
    """Print the plan, or its JSON, and save it; False where ``strict`` finds tensors unclaimed.

    Raises:
        FaninError: where the model, its input or the recipe is not found, does not run or fit.
    """
    require_directory(save, "the plan", "--save")
    found, said = answer(question)
    if save is not None:
        found.save(save)
        said += f"\nsaved in {save}"
    write(found.to_json(indent=1) if as_json else f"{said}\n{found}", sys.stdout)
    if not (strict and found.unclaimed):
        return True
    lines = [f"  {entry.name}: {entry.why}" for entry in found.unclaimed]
    write("\n".join([f"--strict: claimed by nobody, {len(lines)}:", *lines]), sys.stderr)
    return False


def explain_model(question: Question, names: Sequence[str]) -> None:
    """Print a paragraph for each tensor of these names, which may have ``*``, ``?`` and ``[ ]``.

    Raises:
        FaninError: as `plan_model`, and where a name matches nothing.
    """
    found, _ = answer(question)
    chosen: dict[str, None] = {}
    for name in names:
        chosen.update(dict.fromkeys(_matching(name, found)))
    write("\n\n".join(found.explain(name) for name in chosen), sys.stdout)


def require_directory(path: Path | None, what: str, option: str) -> None:
    """Raises FaninError where the file is a directory, or would be in one that is not there."""
    if path is not None and path.is_dir():
        raise FaninError(
            f"this is a directory, and {what} is saved to a file",
            where=option,
            found=f"{path}, a directory",
            fix=f"name a file in it, such as {path / 'fanin.out'}",
        )
    if path is not None and not path.parent.is_dir():
        raise FaninError(
            f"there is no directory to save {what} in",
            where=option,
            found=f"{path}, seen from {Path.cwd()}",
            fix="make it first, or name a file in one that exists",
        )


def _matching(pattern: str, found: Plan) -> list[str]:
    """The tensors of this name, or of this pattern, by their first names."""
    if pattern in found:
        return [found[pattern].name]
    matching = [
        entry.name
        for entry in found
        if any(fnmatchcase(name, pattern) for name in (*entry.names, *entry.site.stored))
    ]
    if not matching:
        raise FaninError(
            "no tensor of the plan has this name",
            where="NAME",
            found=pattern,
            fix=f"name one that it has: {nearest(pattern, [entry.name for entry in found])}",
        )
    return matching


def answer(question: Question) -> tuple[Plan, str]:
    """The plan of a model or in a file, and a line that says where it is from."""
    if not question.is_saved:
        return _plan_of(question)
    if question.about_a_model:
        raise FaninError(
            "a saved plan needs no model",
            where=question.about_a_model[0],
            found=question.target,
            fix="leave the option out, or name the model that the plan is for",
        )
    if not Path(question.target).is_file():
        raise FaninError(
            "there is no such file",
            where="TARGET",
            found=f"{question.target}, seen from {Path.cwd()}",
            fix=f"make one: fanin plan file.py:name --save {question.target}",
        )
    return Plan.load(question.target), f"loaded from {question.target}"


def _plan_of(question: Question) -> tuple[Plan, str]:
    """What is only a matter of words is looked at first: making a model may take minutes."""
    with ExitStack() as stack:
        for spec in (question.target, question.batch, question.recipe):
            if spec is not None and ":" in spec:
                stack.enter_context(importable(spec))
        # What the user's code prints must not mix with the plan, which may be JSON.
        stack.enter_context(redirect_stdout(sys.stderr))
        recipe = recipe_named(question.recipe or RECIPE)
        batch_for = source_of(question)
        with step(f"making {question.target}"):
            target = build(question.target, question.settings, meta=question.meta)
        with step(f"running {type(target.model).__name__} on one batch"):
            batch, source = batch_for(target.model)
            with batch_options():
                found = plan(target.model, batch, recipe=recipe, training=question.training)
    return found, f"made by {target.made_by}, run on {source}"


def recipe_named(spec: str) -> Recipe:
    """A recipe by its name, or from a user's module."""
    if ":" not in spec:
        if spec not in recipes.names():
            raise FaninError(
                "there is no recipe of this name",
                where="--recipe",
                found=spec,
                fix=f"use one of: {nearest(spec, recipes.names())}; or pkg.mod:name of your own, "
                "see fanin plan --help",
            )
        return recipes.named(spec)
    found = find(spec, option="--recipe")
    if not callable(found):
        raise FaninError(
            "this is no recipe",
            where="--recipe",
            found=f"{spec}, of type {type(found).__name__}",
            fix="name a fanin.recipes.Recipe, or a function from a fanin.Site to a start",
        )
    return recipes.as_recipe(found)


_Source: TypeAlias = Callable[[nn.Module], tuple[object, str]]
"""From a model to a batch, and in words where that is from."""


def source_of(question: Question) -> _Source:
    """What the model will run on."""
    spec, shapes = question.batch, parse_inputs(question.inputs)
    if spec is not None and shapes:
        raise FaninError(
            "there are two inputs",
            where="--batch and --input",
            found=f"{spec} and {question.inputs[0]}",
            fix="give one of the two",
        )
    if shapes:
        return lambda model: (batch_of(shapes, model), "what --input says")
    if spec is None:
        return default_batch
    found = find(spec, option="--batch")
    if not callable(found) or isinstance(found, nn.Module):
        return lambda _: (found, spec)
    return lambda _: (call(found, {}, spec=spec, option="--batch"), spec)


@contextmanager
def batch_options() -> Iterator[None]:
    """An error about the batch has for its way out the options that give one."""
    try:
        yield
    except FaninError as error:
        if not error.what.endswith("failed on this batch"):
            raise
        fix = (
            f"say what it runs on: --input {EXAMPLE}, once for each argument, or "
            "--batch file.py:function, which returns a tensor, a tuple of positional arguments, "
            "or a mapping of keyword arguments"
        )
        raise FaninError(error.what, where=error.where, found=error.found, fix=fix) from error


def needs_memory(error: FaninError) -> bool:
    """Whether an error of a model on the meta device may not be one of the model in memory."""
    return any(text in error.what for text in _NEEDS_MEMORY)


@contextmanager
def step(text: str) -> Iterator[None]:
    """On a terminal, say what is going on for as long as it does."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def write(text: str, stream: TextIO) -> None:
    """A text and the end of its line, as the stream can show it."""
    stream.write(plain(text, stream.encoding or "utf-8") + "\n")
