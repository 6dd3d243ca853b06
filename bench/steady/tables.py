"""The tables: one for each task, and one over all tasks, losses first."""

import datetime
import math
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from search import Runs, best_rate, rates_of, reaching_rates
from tasks import Task
from training import Outcome

__all__ = ["SCORING", "TUNING", "Score", "is_complete", "machine", "page", "table_of"]

TUNING: Final = (100, 101)
SCORING: Final = (0, 1, 2, 3, 4)
T_QUANTILE: Final = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t at 97.5 % for so many pairs."""

HEADER: Final = (
    "| start | rate | never, of seeds | steps, median | last loss | rates that reach "
    "| steady takes, times its steps |\n|---|---|---|---|---|---|---|"
)
SUMMARY: Final = (
    "## In one table, losses first\n\n"
    "| task | steady: never | steps | torch default's | against torch's default "
    "| best other | against it |\n|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Score:
    """A start at its best rate, on the scoring seeds."""

    rate: float
    is_edge: bool
    reaching: str
    runs: tuple[Outcome, ...]
    budget: int

    @classmethod
    def of(cls, task: Task, runs: Runs, start: str) -> "Score":
        """Read from the runs of a task."""
        seeds = [seed for seed in TUNING if runs.has_seed(seed)]
        rates = rates_of(runs, start, seeds)
        rate = best_rate(task, runs, start, seeds)
        reaching = f"{reaching_rates(task, runs, start, seeds)} of {len(rates)}"
        found = tuple(run for seed in SCORING if (run := runs.get(start, rate, seed)))
        return cls(rate, rate in (rates[0], rates[-1]), reaching, found, task.steps)

    @property
    def never(self) -> str:
        """How many seeds did not get there."""
        return f"{sum(run.steps is None for run in self.runs)} of {len(self.runs)}"

    @property
    def median(self) -> str:
        """The median steps, never being the largest of all."""
        steps = statistics.median([run.steps or math.inf for run in self.runs])
        return "never" if math.isinf(steps) else f"{steps:.0f}"

    @property
    def typical(self) -> float:
        """The mean logarithm of the steps, never counting twice the budget."""
        return statistics.mean(math.log(run.steps or 2 * self.budget) for run in self.runs)

    def against(self, other: "Score") -> str:
        """exp of the mean paired log-ratio of steps and its 95 % interval; never is the budget."""
        ratios = self.log_ratios(other)
        middle = statistics.mean(ratios)
        half = T_QUANTILE[len(ratios)] * statistics.stdev(ratios) / math.sqrt(len(ratios))
        low, high = math.exp(middle - half), math.exp(middle + half)
        return f"{math.exp(middle):.2f} ({low:.2f}..{high:.2f})"

    def log_ratios(self, other: "Score") -> list[float]:
        """log of our steps over the other's, seed by seed."""
        return [
            math.log((ours.steps or self.budget) / (theirs.steps or self.budget))
            for ours, theirs in zip(self.runs, other.runs, strict=False)
        ]


def is_complete(task: Task, folder: Path, starts: Sequence[str]) -> bool:
    """Whether every start has been scored on every seed."""
    runs = Runs(folder / f"{task.name}.json")
    seeds = [seed for seed in TUNING if runs.has_seed(seed)]
    if not seeds or not all(rates_of(runs, start, seeds) for start in starts):
        return False
    return all(len(Score.of(task, runs, start).runs) == len(SCORING) for start in starts)


def table_of(task: Task, folder: Path, starts: Sequence[str]) -> str:
    """One task's table: a row for each start."""
    runs = Runs(folder / f"{task.name}.json")
    scores = {start: Score.of(task, runs, start) for start in starts}
    said = f"Loss {task.target:g} within {task.steps} steps, {task.optimizer}"
    lines = [f"### {task.name}", "", f"{said}; baseline: {task.baseline}.", "", HEADER]
    for start, score in scores.items():
        ratio = "" if start == "steady" else scores["steady"].against(score)
        loss = statistics.mean(run.loss for run in score.runs)
        cells = (
            start,
            f"{score.rate:g}{' (edge)' if score.is_edge else ''}",
            score.never,
            score.median,
            f"{loss:.3g}",
            score.reaching,
            ratio,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def page(tasks: Sequence[tuple[Task, Sequence[str]]], folder: Path) -> str:
    """Everything that is known, as Markdown."""
    head = f"""# steady against other starts

Made by `python bench/steady/run.py`, {machine()}.

Small nets, few seeds: directions. Each start has its own learning rate, the best of half decades \
on {len(TUNING)} tuning seeds, widened while it is on an edge (at most three times); the rows are \
scored on {len(SCORING)} other seeds, with the same batches for all.
Steps count until the mean loss of 20 batches is at the target. A run that never gets there counts \
as the budget in a ratio, which is the mean of paired log-ratios with its 95 % t-interval: below 1 \
steady is faster.
"""
    tables = [table_of(task, folder, starts) for task, starts in tasks]
    return "\n".join([head, _summary(tasks, folder), *tables])


def machine() -> str:
    """When, and on what kind of machine."""
    return (
        f"last on {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}: {platform.system()} "
        f"{platform.machine()}, {_processor()}, one thread, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )


def _summary(tasks: Sequence[tuple[Task, Sequence[str]]], folder: Path) -> str:
    rows = []
    for task, starts in tasks:
        runs = Runs(folder / f"{task.name}.json")
        scores = {start: Score.of(task, runs, start) for start in starts}
        ours, default = scores.pop("steady"), scores["torch_default"]
        best = min(scores, key=lambda start, scores=scores: scores[start].typical)
        cells = (
            task.name,
            ours.never,
            ours.median,
            default.median,
            ours.against(default),
            f"{best}, {scores[best].median}",
            ours.against(scores[best]),
        )
        rows.append((ours.typical - scores[best].typical, f"| {' | '.join(cells)} |"))
    return "\n".join([SUMMARY, *(row for _, row in sorted(rows, reverse=True)), ""])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "an unnamed processor"
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else "an unnamed processor"
