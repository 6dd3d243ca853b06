"""Measure, print the tables, and with --write keep them in docs/benchmarks.md, all or one."""

import argparse
import datetime
import os
import platform
import sys
from pathlib import Path

import torch

import audit
import calibrate
import checkpoint
import compare
import engines
import fills
import orthogonal
import plan
import scale
import sharded
import start_up
import tracing
import verify
from convergence.section import convergence
from fanin import __version__
from fanin._engine import describe
from timing import Row, table

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

HEAD = """# Benchmarks

Made by `python bench/run.py --write`, a section alone by `--only NAME --write`.
Each row compares two ways in one run, in turn; figures are medians.
Absolute times move with the machine, ratios much less.
"""

SECTIONS = {
    "large": ("Large tensors", fills.large),
    "small": ("Many small parameters", fills.small),
    "parts": ("A part of a parameter", fills.parts),
    "engines": ("Engines of the stream", engines.engines),
    "orthogonal": ("Orthogonal matrices", orthogonal.rows),
    "trace": ("Tracing", tracing.ratios),
    "meta": ("A model without memory", tracing.without_memory),
    "plan": ("Plan and apply", plan.applying),
    "audit": ("Auditing", audit.audits),
    "audit-memory": ("The memory of an audit", audit.memory),
    "compare": ("Members of a comparison", compare.members),
    "scale": ("Scales that train", scale.bands),
    "convergence": ("Starts and steps to a loss", convergence),
    "calibrate": ("Calibration in one pass", calibrate.calibrate),
    "sharded": ("Sharded models", sharded.parts),
    "checkpoint": ("A checkpoint without the model", checkpoint.checkpoints),
    "verify": ("Proofs of a start", verify.proofs),
    "start-up": ("Start-up", start_up.start_up),
}


def main() -> int:
    """Run the sections asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer repeats")
    parser.add_argument("--write", action="store_true", help=f"keep the tables in {PAGE.name}")
    parser.add_argument("--only", choices=SECTIONS, help="one section")
    options = parser.parse_args()
    chosen = [options.only] if options.only else list(SECTIONS)
    pieces = {}
    for name in chosen:
        title, measure = SECTIONS[name]
        found: list[Row] = measure(quick=options.quick)
        heading, rest = table(f"{title}: {summary(measure)}", found).split("\n", 1)
        pieces[title] = f"{heading}\n\n{measured()}{rest}"
        print(pieces[title], flush=True)
    if options.write:
        PAGE.write_text(page(pieces, PAGE.read_text() if options.only else ""))
    return 0


def page(pieces: dict[str, str], before: str) -> str:
    r"""The whole page: the sections that are new, and of the page before those that are not.

    >>> old = page({"Start-up": "## Start-up: a\n", "Tracing": "## Tracing: b\n"}, "")
    >>> print(page({"Start-up": "## Start-up: c\n"}, old).partition("## ")[2])
    Tracing: b
    <BLANKLINE>
    ## Start-up: c
    <BLANKLINE>
    """
    kept = {one.partition(":")[0]: f"## {one.rstrip()}\n" for one in before.split("\n## ")[1:]}
    both = kept | pieces
    titles = [title for title, _ in SECTIONS.values() if title in both]
    return "\n".join([HEAD, *(both[title] for title in titles)])


def summary(measure: object) -> str:
    """The first line of the measurement's docstring, without its full stop."""
    line = (measure.__doc__ or "").strip().splitlines()[0].rstrip(".")
    return line[:1].lower() + line[1:]


def measured() -> str:
    """When a section was measured, and on what."""
    engine = describe()
    return f"""\
Measured on {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}: \
{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores, \
Python {platform.python_version()}, torch {torch.__version__}, fanin {__version__}, \
engine {engine.name} ({engine.instructions}).
"""


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "an unnamed processor"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "an unnamed processor"


if __name__ == "__main__":
    sys.exit(main())
