"""``fanin checkpoint``: from names on the command line to files of weights."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import torch
from torch import nn

from fanin._bar import progress_bar
from fanin._checkpoint import CheckpointReceipt, write_checkpoint
from fanin._checkpoint._directory import require_place
from fanin._checkpoint._journal import JOURNAL
from fanin._checkpoint._receipt import CheckpointFormat
from fanin._cli._commands import (
    RECIPE,
    Question,
    batch_options,
    needs_memory,
    recipe_named,
    source_of,
    step,
    write,
)
from fanin._errors import FaninError, nearest
from fanin._plan import Plan, plan
from fanin._target import build, find, importable

__all__ = ["Files", "checkpoint_model"]

DTYPES: Final = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
}


@final
@dataclass(frozen=True, slots=True)
class Files:
    """What the command line says of the files; ``plan`` is a saved plan."""

    out: Path
    plan: Path | None = None
    seed: int = 0
    dtype: str | None = None
    shard_size: str = "4GB"
    file_format: CheckpointFormat = "safetensors"
    in_memory: bool = False
    json: bool = False


def checkpoint_model(question: Question, files: Files) -> None:
    """Write the checkpoint, and print what was written.

    Raises:
        FaninError: where the model, its input, plan or recipe is not found, does not run or fit,
            and as `fanin.write_checkpoint`.
        KeyboardInterrupt: after Ctrl-C; its text says what is kept.
    """
    _require_a_model(question, files)
    dtype = _dtype(files.dtype)
    try:
        receipt, said = _written(question, files, dtype)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_stopped(files)) from None
    text = f"{said}\nwritten to {files.out}: {receipt}"
    write(receipt.to_json() if files.json else text, sys.stdout)


def _stopped(files: Files) -> str:
    first = JOURNAL if files.file_format == "safetensors" else ".metadata"
    if not (files.out / first).exists():
        return "stopped by Ctrl-C; no file was complete, and none is kept"
    kept = f"complete files are kept in {files.out}"
    return f"stopped by Ctrl-C; {kept}; the same command goes on from there"


def _require_a_model(question: Question, files: Files) -> None:
    require_place(files.out)
    if question.is_saved:
        raise FaninError(
            "a saved plan alone is not enough: it holds no model",
            where="TARGET",
            found=question.target,
            fix=f"name the model: fanin checkpoint file.py:name --plan {question.target}",
        )
    given = {
        "--recipe": question.recipe,
        "--input": question.inputs,
        "--batch": question.batch,
        "--mode": question.training is not None,
    }
    useless = [option for option, value in given.items() if value]
    if files.plan is not None and useless:
        raise FaninError(
            "a saved plan needs no recipe and no input",
            where=useless[0],
            found=f"--plan {files.plan}",
            fix="leave one of the two out",
        )


def _dtype(name: str | None) -> torch.dtype | None:
    if name is None:
        return None
    if name not in DTYPES:
        raise FaninError(
            "this is no dtype for parameters",
            where="--dtype",
            found=name,
            fix=f"use one of: {nearest(name, DTYPES)}",
        )
    return DTYPES[name]


def _written(
    question: Question, files: Files, dtype: torch.dtype | None
) -> tuple[CheckpointReceipt, str]:
    """What is only a matter of words is looked at first: making a model may take minutes."""
    with ExitStack() as stack:
        for spec in (question.target, question.batch, question.recipe):
            if spec is not None and ":" in spec:
                stack.enter_context(importable(spec))
        # What the user's code prints must not mix with the receipt, which may be JSON.
        stack.enter_context(redirect_stdout(sys.stderr))
        # What the user's code draws itself, and a plan keeps, is then the same in every run.
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(files.seed)
        stack.enter_context(_or_in_memory(tried=files.in_memory))
        plan_for = _planner(question, files)
        with step(f"making {question.target}"):
            is_meta = not files.in_memory and not _is_made(question.target)
            target = build(question.target, question.settings, meta=is_meta)
        found, said = plan_for(target.model)
        name = type(target.model).__name__
        with progress_bar(
            f"writing {name}", lambda share, _: f"{name}: {share} % written", first=1
        ) as shown:
            receipt = write_checkpoint(
                found,
                target.model,
                files.out,
                seed=files.seed,
                dtype=dtype,
                shard_size=files.shard_size,
                format=files.file_format,
                progress=shown,
            )
    return receipt, f"made by {target.made_by}, {said}"


def _is_made(spec: str) -> bool:
    """Whether the target names a model, and not what makes one."""
    is_python = spec.partition(":")[0] not in ("hf", "timm")
    return is_python and isinstance(find(spec, option="TARGET"), nn.Module)


def _planner(question: Question, files: Files) -> Callable[[nn.Module], tuple[Plan, str]]:
    """From a model to its plan, and in words where that is from."""
    if files.plan is not None:
        saved, said = Plan.load(files.plan), f"planned in {files.plan}"
        return lambda _: (saved, said)
    recipe = recipe_named(question.recipe or RECIPE)
    batch_for = source_of(question)

    def traced(model: nn.Module) -> tuple[Plan, str]:
        with step(f"running {type(model).__name__} on one batch"):
            batch, source = batch_for(model)
            with batch_options():
                found = plan(model, batch, recipe=recipe, training=question.training)
        return found, f"run on {source}"

    return traced


@contextmanager
def _or_in_memory(*, tried: bool) -> Iterator[None]:
    """An error that memory for the model may mend says so."""
    try:
        yield
    except FaninError as error:
        if tried or not needs_memory(error):
            raise
        fix = f"{error.fix}; or try --in-memory: the model was made on the meta device"
        raise FaninError(error.what, where=error.where, found=error.found, fix=fix) from error
