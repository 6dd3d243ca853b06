"""Writes checkpoints of 48 MB in processes of their own, to be killed while they do.

``python worker.py`` reads lines "DIR FORMAT SECONDS". For each a process writes there, is killed
after so many seconds (0 for never), and the answer is its exit status.
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

import fanin
from fanin.initializers import Orthogonal

__all__ = ["make", "planned"]


def make():
    """24 layers, of which one is drawn whole."""
    return nn.Sequential(*(nn.Linear(1000, 1000) for _ in range(24)))


def planned():
    """The plan of it, made on the meta device."""
    with torch.device("meta"):
        model = make()
        batch = torch.ones(2, 1000)
    return model, fanin.plan(model, batch).replace({"7.weight": Orthogonal()})


if __name__ == "__main__":
    torch.set_num_threads(1)  # so that there are no threads which a fork would lose
    net, plan = planned()
    for line in sys.stdin:
        directory, kind, seconds = line.split()
        child = os.fork()
        if child == 0:
            options = {"dtype": torch.bfloat16, "shard_size": "5MB", "format": kind}
            fanin.write_checkpoint(plan, net, Path(directory), seed=0, **options)
            os._exit(0)
        if float(seconds):
            time.sleep(float(seconds))
            os.kill(child, signal.SIGKILL)
        sys.stdout.write(f"{os.waitpid(child, 0)[1]}\n")
        sys.stdout.flush()
