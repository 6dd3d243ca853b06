"""The suite's summary as rows for a page of benchmarks."""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from pages import rows  # noqa: E402
from starts import entrants  # noqa: E402
from tasks import QUICK, SCORING, TASKS, TUNING  # noqa: E402
from trainings import Race, train  # noqa: E402

__all__ = ["RESULTS", "convergence", "quick_races"]

RESULTS = HERE / "results"


def convergence(*, quick: bool) -> list[dict[str, object]]:
    """Steps to a target loss, steady's over those of other starts, where it does worst first.

    From what `run.py` has kept, which takes an hour or two; quick: a few minutes of it, anew.
    """
    if quick:
        return rows(list(quick_races()))
    return rows([Race(task, entrants(task), RESULTS) for task in TASKS.values()])


def quick_races(workers: int = 0) -> Iterator[Race]:
    """Few tasks and seeds, trained, and not kept."""
    with tempfile.TemporaryDirectory() as folder:
        for name in QUICK:
            task = TASKS[name]
            settings = replace(task.settings, tuning_seeds=TUNING[:1], scoring_seeds=SCORING[:3])
            race = Race(task, entrants(task), Path(folder), settings)
            train(race, workers)
            yield race
