"""Together or one by one: whichever is right, and then whichever is faster on this machine."""

import time
from dataclasses import replace
from typing import Final

import torch

from fanin._compare._records import Way
from fanin._compare._train import Job, built, train
from fanin._observe import run

__all__ = ["choose_way"]

_STEPS: Final = 4
_MEMBERS: Final = 4


def choose_way(job: Job) -> tuple[Way, str, float]:
    """How the members of ``job`` are to be trained, why, and seconds for a step of one member.

    One by one where the model draws numbers as it runs (dropout), as a stack would draw others;
    where it does not run as a stack; and where a few steps of that take longer.
    """
    few = replace(
        job,
        members=tuple(job.members[:_MEMBERS]),
        settings=replace(job.settings, steps=_STEPS, target=None),
    )
    alone = _seconds(replace(few, way="one by one")) / few.size
    if len(few.members) == 1:
        return "one by one", "there is one member", alone
    if _draws(job):
        return "one by one", "the model draws random numbers as it runs", alone
    try:
        together = _seconds(replace(few, way="together")) / few.size
    except Exception as error:  # noqa: BLE001 - whatever a user's model does under vmap
        said = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        return "one by one", f"the model does not run as a stack: {said}", alone
    if together <= alone:
        return "together", f"{alone / together:.1f} times as fast as one by one", together
    return "one by one", f"{together / alone:.1f} times as fast as together", alone


def _seconds(job: Job) -> float:
    """Of the second of two runs: the first one makes what torch keeps."""
    train(job)
    began = time.perf_counter()
    train(job)
    return time.perf_counter() - began


def _draws(job: Job) -> bool:
    """Whether a run of the model moves torch's generator."""
    member = job.members[0]
    model = built(job, member)
    inputs, _ = job.data.batches(member.seed)(1)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        before = torch.get_rng_state()
        run(model, inputs)
        return not torch.equal(before, torch.get_rng_state())
