"""What two starts of the sine net make of the signal between the points they were trained on."""

import sys
from dataclasses import replace
from statistics import fmean

import torch
from examples import places, values
from starts import start_of
from tasks import SCORING, TASKS

from fanin._compare._records import Member
from fanin._compare._train import Job, train
from fanin.recipes import steady

RATES = {"torch_default": 1e-5, "steady": 1e-3}
"""The best of each, by results.md."""


def main() -> int:
    """Print the loss on the points, and half way between them, at the target."""
    torch.set_num_threads(1)
    task = TASKS["siren"]
    x = places()
    between = (x[1:] + x[:-1]) / 2
    data = replace(task.data, test=(between, values(between)))
    starts = {name: start_of(task, name, None) for name in RATES}
    starts["steady"] = start_of(task, "steady", steady)
    found = [
        one
        for seed in SCORING
        for one in train(
            Job(
                make_model=task.make,
                starts={name: start.plan for name, start in starts.items()},
                data=data,
                settings=task.settings,
                members=tuple(Member(name, rate, seed) for name, rate in RATES.items()),
                way="together",
                stops=True,
            )
        )
    ]
    print(f"variance of the signal: {values(between).var():.3f}")
    for name in RATES:
        own = [one for one in found if one.member.start == name]
        tested = fmean(one.test_loss for one in own if one.test_loss is not None)
        loss = fmean(one.loss for one in own)
        print(f"{name}: {loss:.2g} on the points, {tested:.2g} between them, {len(own)} seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
