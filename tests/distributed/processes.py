"""Processes of a test: one starts and imports, then forks a child for each rank.

A process cannot be two ranks one after the other: what torch keeps of a mesh stays.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]


def answers(module, *arguments, timeout=300):
    """What the ranks of ``python -m module *arguments`` answered, in their order."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    # One thread each, and no look at the machine's network.
    settings = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def forked(function, ranks, *, at_once):
    """What ``function(rank)`` returns in a process of its own for each rank, some at once."""
    found = []
    with tempfile.TemporaryDirectory() as directory:
        for start in range(0, len(ranks), at_once):
            some = ranks[start : start + at_once]
            files = [Path(directory, f"{rank}.json") for rank in some]
            children = [_child(function, *one) for one in zip(some, files, strict=True)]
            _wait(set(children))
            found += [json.loads(file.read_text()) for file in files]
    return found


def _wait(children):
    """Where one fails, the others may wait for it forever."""
    while children:
        child, status = os.wait()
        children.discard(child)
        if status:
            for other in children:
                os.kill(other, signal.SIGKILL)
            sys.exit(1)


def _child(function, rank, file):
    child = os.fork()
    if child:
        return child
    try:
        file.write_text(json.dumps(function(rank)))
    except BaseException:  # noqa: BLE001 - the parent shows it
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
