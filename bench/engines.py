"""The stream's engines: one law drawn by each, in a process of its own."""

import json
import os
import statistics
import subprocess
import sys
import time

import torch

from fanin.initializers import Normal, Uniform
from timing import Row

__all__ = ["engines"]

ENGINES = ("native", "plain", "tensors")
LAWS = {"uniform": Uniform(-0.02, 0.02), "normal": Normal(0.02)}


def engines(*, quick: bool) -> list[Row]:
    """One float32 tensor of 16M numbers (1M when quick) drawn by each engine on the CPU."""
    found = {name: _measured(name, 1 << (20 if quick else 24)) for name in ENGINES}
    return [
        {
            "engine": f"`FANIN_ENGINE={name}`",
            "law": law,
            "ns a number": seconds,
            "times the time of native": seconds / found["native"][law],
        }
        for name, own in found.items()
        for law, seconds in own.items()
    ]


def _measured(engine: str, numbers: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, str(numbers)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"FANIN_ENGINE": engine},
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def nanoseconds(numbers: int, repeats: int = 5) -> dict[str, float]:
    """Medians for one number, by law, of draws after a first one."""
    tensor = torch.zeros(numbers)
    found = {}
    for law, initializer in LAWS.items():
        initializer.fill_(tensor, seed=0)
        seconds = []
        for seed in range(repeats):
            start = time.perf_counter()
            initializer.fill_(tensor, seed=seed)
            seconds.append(time.perf_counter() - start)
        found[law] = 1e9 * statistics.median(seconds) / numbers
    return found


if __name__ == "__main__":
    print(json.dumps(nanoseconds(int(sys.argv[1]))))
