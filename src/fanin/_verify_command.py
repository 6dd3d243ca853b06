"""``fanin verify``: is this checkpoint the planned start? A verdict, and the exit code."""

import sys
from pathlib import Path

from fanin._commands import Question, answer, step, write
from fanin._errors import FaninError

__all__ = ["verify_checkpoint"]


def verify_checkpoint(question: Question, checkpoint: Path, *, seed: int, as_json: bool) -> bool:
    """Print what is found; False where the checkpoint is not the planned start for this seed.

    Raises:
        FaninError: where the model, its input, the recipe, the plan or the checkpoint is not found
            or cannot be read.
    """
    if not checkpoint.exists():
        raise FaninError(
            "there is no such checkpoint",
            where="CHECKPOINT",
            found=f"{checkpoint}, seen from {Path.cwd()}",
            fix="name a file (.safetensors, .pt, .bin), or a directory with model.safetensors or "
            "model.safetensors.index.json",
        )
    plan, said = answer(question)
    with step(f"comparing {checkpoint} with the plan"):
        found = plan.verify(checkpoint, seed=seed)
    write(found.to_json(indent=1).rstrip() if as_json else f"{said}\n{found}", sys.stdout)
    return found.ok
