"""The suite as a section of the page of benchmarks: every row of it, or a few, trained anew."""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
if str(HERE) not in sys.path:  # bench/run.py imports this file from outside of its folder
    sys.path.insert(0, str(HERE))

from pages import rows  # noqa: E402
from starts import entrants  # noqa: E402
from tasks import QUICK, TASKS  # noqa: E402
from trainings import Race, train  # noqa: E402

__all__ = ["RESULTS", "convergence", "kept", "quick_races"]

RESULTS = HERE / "results"


def convergence(*, quick: bool) -> list[dict[str, object]]:
    """Steady's over those of each other start, losses first, by bench/convergence/results.md.

    From what ``run.py`` there has kept, which takes some three hours on two cores; quick: a few
    minutes of it, anew.
    """
    return rows(list(quick_races()) if quick else kept())


def kept() -> list[Race]:
    """All tasks, with what is known of them."""
    return [Race(task, entrants(task), RESULTS) for task in TASKS.values()]


def quick_races(workers: int = 0) -> Iterator[Race]:
    """Few tasks and seeds, trained, and not kept."""
    with tempfile.TemporaryDirectory() as folder:
        for name in QUICK:
            task = TASKS[name]
            few = replace(
                task.settings, tuning_seeds=task.tuning[:1], scoring_seeds=task.scoring[:3]
            )
            race = Race(task, entrants(task), Path(folder), few)
            train(race, workers)
            yield race
