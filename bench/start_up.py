"""What a user waits for before anything happens: imports, help, the first draw."""

import statistics
import subprocess
import sys
import time

from timing import Row

__all__ = ["start_up"]

FIRST = "from fanin.initializers import kaiming_normal; kaiming_normal().fill_(torch.empty(64, 64))"
COMMANDS = {
    "import torch": [sys.executable, "-c", "import torch"],
    "import torch, fanin and all of it": [
        sys.executable,
        "-c",
        "import torch, fanin; fanin.nn.Linear, fanin.gain, fanin.initializers",
    ],
    "and the first draw": [sys.executable, "-c", f"import torch, fanin; fanin.nn.Linear; {FIRST}"],
    "fanin --help": [sys.executable, "-m", "fanin", "--help"],
    "python -c pass": [sys.executable, "-c", "pass"],
}


def start_up(*, quick: bool) -> list[Row]:
    """Median wall seconds of whole processes, in turn."""
    runs: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(3 if quick else 11):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            runs[name].append(time.perf_counter() - start)
    return [{"process": name, "seconds": statistics.median(times)} for name, times in runs.items()]
