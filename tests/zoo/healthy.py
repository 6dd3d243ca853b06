"""What the audit says of healthy starts: ``python -m tests.zoo.healthy`` prints each warning.

With ``--own`` it looks at the starts that the architectures come with, and not at fanin's; further
words choose architectures by name.
"""

import sys
import warnings
from collections.abc import Callable, Iterator

import torch
from tests.zoo.packages import load
from tests.zoo.record import Architecture
from tests.zoo.registry import ARCHITECTURES

import fanin
from fanin import Finding, Report, audit

__all__ = ["audited", "warned"]


def audited(architecture: Architecture, *, own: bool = False) -> Report:
    """The audit of fanin's default start, with default arguments; ``own``: of the model's start."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        load(architecture.package)
        model, batch = architecture.build(), architecture.batch()
        if not own:
            fanin.initialize(model, batch, seed=0)
        return audit(model, batch)


def warned(report: Report) -> dict[str, list[Finding]]:
    """The findings that are worse than a note, by their code."""
    found: dict[str, list[Finding]] = {}
    for finding in report.at_least("warning"):
        found.setdefault(finding.code, []).append(finding)
    return found


def _lines(name: str, look: Callable[[], Report]) -> Iterator[str]:
    try:
        report = look()
    except fanin.FaninError as error:
        yield f"{name}: {error.what} ({error.found})"
        return
    for finding in report.at_least("warning"):
        more = f" (and {len(finding.also)} more)" if finding.also else ""
        yield f"{name}: {finding.severity} {finding.code} at {finding.where}{more}"
        yield f"    {finding.measured}; expected {finding.expected}; {finding.reason}"


def _print(names: list[str], *, own: bool) -> None:
    with_warning = 0
    for name in names:
        lines = list(_lines(name, lambda name=name: audited(ARCHITECTURES[name], own=own)))
        with_warning += bool(lines)
        sys.stdout.writelines(line + "\n" for line in lines)
        sys.stdout.flush()
    sys.stdout.write(f"{with_warning} of {len(names)} architectures with a warning or worse\n")


if __name__ == "__main__":
    words = sys.argv[1:]
    _print([one for one in words if one != "--own"] or list(ARCHITECTURES), own="--own" in words)
