"""The search for each start's rate on tuning seeds, and the scores on other seeds; resumable."""

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from starts import apply
from tasks import Task
from training import Outcome, train

from fanin._trace import trace

__all__ = ["Runs", "best_rate", "rates_of", "reaching_rates", "run_members", "tune"]

EXTEND = 3


class Runs:
    """Outcomes of one task by (start, rate, seed), kept in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, list] = json.loads(path.read_text()) if path.exists() else {}

    @staticmethod
    def key(start: str, rate: float, seed: int) -> str:
        """The name of a run; no start has a space in its name."""
        return f"{start} {rate:g} {seed}"

    def get(self, start: str, rate: float, seed: int) -> Outcome | None:
        """What came of a run; None where it was not made."""
        found = self.found.get(self.key(start, rate, seed))
        return (
            None if found is None else Outcome(found[0], math.inf if found[1] is None else found[1])
        )

    def put(self, start: str, rate: float, seed: int, outcome: Outcome) -> None:
        """Keep what came of a run."""
        loss = round(outcome.loss, 5) if math.isfinite(outcome.loss) else None
        self.found[self.key(start, rate, seed)] = [outcome.steps, loss]

    def has_seed(self, seed: int) -> bool:
        """Whether any run had this seed."""
        return any(key.split()[2] == str(seed) for key in self.found)

    def save(self) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.found, indent=0, sort_keys=True) + "\n")


def run_members(task: Task, wanted: list[tuple[str, float, int]], rules: dict, runs: Runs) -> None:
    """Train what is not known yet; members of one seed go together."""
    todo = [w for w in wanted if runs.get(*w) is None]
    if not todo:
        return
    sites = trace(task.make(), task.batches(0)(1)[0][:4]).sites
    for seed in sorted({s for _, _, s in todo}):
        members = [(start, rate) for start, rate, s in todo if s == seed]
        for i in range(0, len(members), task.together):
            part = members[i : i + task.together]
            nets = []
            for start, _ in part:
                torch.manual_seed(seed)
                net = task.make()
                apply(net, rules[start], sites, seed)
                nets.append(net)
            found = train(
                nets,
                [rate for _, rate in part],
                task.optimizer,
                task.loss,
                task.batches(seed),
                task.steps,
                task.target,
            )
            for (start, rate), outcome in zip(part, found, strict=True):
                runs.put(start, rate, seed, outcome)
            runs.save()


def rank(task: Task, runs: Runs, start: str, rate: float, seeds: list[int]) -> tuple:
    """Smaller is better: seeds that fail, then steps, then loss."""
    found = [runs.get(start, rate, seed) for seed in seeds]
    fails = sum(o.steps is None for o in found)
    steps = statistics.mean(o.steps if o.steps is not None else task.steps for o in found)
    return (fails, steps, statistics.mean(o.loss for o in found))


def rates_of(runs: Runs, start: str, seeds: list[int]) -> list[float]:
    """The rates that were run on all of these seeds; an interrupted search leaves others."""
    rates = {float(key.split()[1]) for key in runs.found if key.split()[0] == start}
    return sorted(r for r in rates if all(runs.get(start, r, seed) for seed in seeds))


def best_rate(task: Task, runs: Runs, start: str, seeds: list[int]) -> float:
    return min(rates_of(runs, start, seeds), key=lambda r: rank(task, runs, start, r, seeds))


def reaching_rates(task: Task, runs: Runs, start: str, seeds: list[int]) -> int:
    """At how many of the tried rates every tuning seed reaches the target."""
    tried = rates_of(runs, start, seeds)
    return sum(rank(task, runs, start, rate, seeds)[0] == 0 for rate in tried)


def _next(rate: float, *, up: bool) -> float:
    exponent = round(2 * math.log10(rate)) + (1 if up else -1)
    return float(f"{10 ** (exponent / 2):.0e}")


def tune(
    task: Task,
    starts: list[str],
    rules: dict,
    runs: Runs,
    seeds: list[int],
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Widen each start's grid while its best rate is on an edge, at most EXTEND half decades."""
    wanted = [(s, r, seed) for s in starts for r in task.grid for seed in seeds]
    run_members(task, wanted, rules, runs)
    for _ in range(EXTEND):
        more = []
        for start in starts:
            rates = rates_of(runs, start, seeds)
            best = best_rate(task, runs, start, seeds)
            if len(rates) >= len(task.grid) + EXTEND:
                continue
            if best in (rates[0], rates[-1]):
                more += [(start, _next(best, up=best == rates[-1]), seed) for seed in seeds]
        if not more:
            return
        say(f"widened {more}")
        run_members(task, more, rules, runs)
