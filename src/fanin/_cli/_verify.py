"""``fanin verify``: is this checkpoint the planned start? A verdict, and the exit code."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

import torch

from fanin._checkpoint._journal import JOURNAL, read_journal
from fanin._checkpoint._receipt import CheckpointReceipt
from fanin._cli._commands import Question, answer, needs_memory, step, write
from fanin._errors import FaninError
from fanin._plan import Plan, Stamp
from fanin._plan._draw._measure import checksum
from fanin._plan._proof._verification import Comparison, Verification
from fanin._plan._stored._read import stored_tensors

__all__ = ["verify_checkpoint"]

_INDEX: Final = "model.safetensors.index.json"
_WITHOUT: Final = "copy the directory again; or move this file away, and verify without it"
_BY_DEFAULT: Final = (
    "the model was planned on the meta device, as fanin checkpoint does; --in-memory also keeps "
    "what its code fills by itself, as fanin.plan of a model in memory does"
)


def verify_checkpoint(
    question: Question, checkpoint: Path, *, seed: int, in_memory: bool, as_json: bool
) -> bool:
    """Print what is found; False where the checkpoint is not the planned start for this seed.

    Where fanin wrote the checkpoint, its journal says of which plan, and what was kept.

    Raises:
        FaninError: where the model, its input, the recipe, the plan or the checkpoint is not found
            or cannot be read, and for the numbers of the plan in a checkpoint of another one.
    """
    _require_there(checkpoint)
    journal = _journal_of(checkpoint)
    planned = _planned(question, journal, seed=seed, in_memory=in_memory)
    plan, kept = planned.plan, ""
    with step(f"comparing {checkpoint} with the plan"):
        found = plan.verify(checkpoint, seed=seed)
        if journal is not None and journal.plan == plan.checksum:
            found, kept = _with_kept(found, plan, journal, checkpoint)
    if journal is not None and journal.plan != plan.checksum:
        other = _other_plan(journal, plan, checkpoint)
        if found.ok:
            raise other
        write(f"{other}", sys.stderr)
    write(
        found.to_json(indent=1).rstrip() if as_json else f"{planned.said}\n{found}{kept}",
        sys.stdout,
    )
    if journal is None and planned.is_default and not found.ok:
        write(_BY_DEFAULT, sys.stderr)
    return found.ok


@final
@dataclass(frozen=True, slots=True)
class _Planned:
    """A plan, where it is from, and whether that could have been otherwise."""

    plan: Plan
    said: str
    is_default: bool = False


def _require_there(checkpoint: Path) -> None:
    if not checkpoint.exists():
        raise FaninError(
            "there is no such checkpoint",
            where="CHECKPOINT",
            found=f"{checkpoint}, seen from {Path.cwd()}",
            fix="name a file (.safetensors, .pt, .bin), or a directory with model.safetensors, "
            "model.safetensors.index.json or .metadata",
        )


def _journal_of(checkpoint: Path) -> CheckpointReceipt | None:
    """What fanin says of the checkpoint, where it wrote it."""
    if checkpoint.is_dir():
        return read_journal(checkpoint, _WITHOUT)
    if not checkpoint.name.endswith((".safetensors", _INDEX)):
        return None
    journal = read_journal(checkpoint.parent, _WITHOUT)
    names = [_INDEX, *(file.name for file in journal.files)] if journal else []
    return journal if checkpoint.name in names else None


def _planned(
    question: Question, journal: CheckpointReceipt | None, *, seed: int, in_memory: bool
) -> _Planned:
    """The plan and where it is from: without memory as `fanin checkpoint`, or else in memory."""
    if in_memory and (question.is_saved or question.meta):
        raise FaninError(
            "a saved plan needs no model" if question.is_saved else "a model is made in one way",
            where="--in-memory",
            found=question.target if question.is_saved else "--meta",
            fix="leave one of the two out",
        )
    if question.is_saved or question.meta or in_memory:
        return _seeded(question, seed)
    first = _on_meta(question, seed)
    if first is not None and (journal is None or journal.plan == first.plan.checksum):
        return first
    try:
        second = _seeded(question, seed)
    except FaninError:
        if first is None:
            raise
        return first
    if first is None:
        return replace(second, said=f"{second.said}, in memory: it cannot be planned without")
    if journal is not None and journal.plan == second.plan.checksum:
        return replace(second, said=f"{second.said}, in memory: as the checkpoint was")
    return first


def _on_meta(question: Question, seed: int) -> _Planned | None:
    """None where this may need memory."""
    try:
        found = _seeded(replace(question, meta=True), seed)
    except FaninError as error:
        # Its way out is to leave --meta out, for a target that is a model already.
        if needs_memory(error) or error.where == "--meta":
            return None
        raise
    return None if found.plan.unclaimed else replace(found, is_default=True)


def _seeded(question: Question, seed: int) -> _Planned:
    """What the model's code draws by itself is then as when the checkpoint was written."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _Planned(*answer(question))


def _other_plan(journal: CheckpointReceipt, plan: Plan, checkpoint: Path) -> FaninError:
    return FaninError(
        "the checkpoint was written from another plan",
        where=str(checkpoint),
        found=f"plan {journal.plan} in its {JOURNAL}, plan {plan.checksum} here",
        fix="give the recipe, options and input that it was written with (--in-memory too), or the "
        "plan that was saved then: fanin verify plan.json",
    )


def _with_kept(
    found: Verification, plan: Plan, journal: CheckpointReceipt, checkpoint: Path
) -> tuple[Verification, str]:
    """What is not drawn, held against the journal's checksums; and that in words."""
    stored = stored_tensors(checkpoint)
    listed = [
        stamp
        for file in journal.files
        if checkpoint.is_dir() or checkpoint.name in (_INDEX, file.name)
        for stamp in file.tensors
    ]
    if journal.file_format == "dcp":
        listed = [*journal.values]
    stamps = {
        plan[stamp.name].name: stamp
        for stamp in listed
        if stamp.state == "kept" and stamp.name in plan
    }
    changed: dict[str, Comparison] = {}
    for name, stamp in stamps.items():
        changed.update((name, one) for one in _changed(name, stamp, stored))
    results = tuple(
        changed.get(one.name, one) if one.state == "not drawn" else one for one in found.tensors
    )
    same = len(stamps) - len(changed)
    text = f"\nkept, with the bytes that {JOURNAL} says: {same} of {len(stamps)}" if stamps else ""
    return replace(found, tensors=results), text


def _changed(name: str, stamp: Stamp, stored: Mapping[str, torch.Tensor]) -> Iterator[Comparison]:
    """One where the tensor is not what was written."""
    if stamp.name not in stored:
        yield Comparison(name, "missing")
    elif checksum([stored[stamp.name]]) != stamp.checksum:
        size = stored[stamp.name].numel()
        why = f"kept, with other bytes than {JOURNAL} says"
        yield Comparison(name, "different", size, size, why=why)
