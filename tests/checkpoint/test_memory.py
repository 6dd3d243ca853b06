"""Memory: what is added does not grow with the model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fanin

CODE = """
import resource, sys, torch, fanin
from torch import nn

def peak():
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)

def write(number, directory, format):
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(number)))
        plan = fanin.plan(model, torch.empty(1, 2048), recipe=fanin.recipes.kaiming)
    options = {"seed": 0, "dtype": torch.bfloat16, "format": format}
    return fanin.write_checkpoint(plan, model, directory, **options).size

write(4, sys.argv[1] + "/first", sys.argv[2])
before = peak()
size = write(32, sys.argv[1] + "/second", sys.argv[2]) / (1 << 20)
print(size, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["safetensors", "dcp"])
def test_a_checkpoint_of_a_quarter_gigabyte_adds_a_tenth_of_that_at_most(kind, tmp_path):
    """32 layers after a checkpoint of one: the parts in memory are as large for both."""
    environment = {**os.environ, "PYTHONPATH": str(Path(fanin.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, str(tmp_path), kind],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    size, added = map(float, done.stdout.split())
    assert size == 256
    assert added < 25
