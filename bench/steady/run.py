"""Train small nets from several starts; print the tables, and write them to results.md."""

import argparse
import datetime
import math
import platform
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parents[1] / "src"))

import torch  # noqa: E402

from search import Runs, best_rate, rates_of, reaching_rates, run_members, tune  # noqa: E402
from starts import PUBLISHED, STARTS  # noqa: E402
from tasks import TASKS, Task  # noqa: E402

TUNING = [100, 101]
SCORING = [0, 1, 2, 3, 4]
RESULTS = HERE / "results"


def main() -> int:
    """Run what is asked for and not known yet; then write the page from all that is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, action="append", help="one task; may be repeated")
    parser.add_argument("--quick", action="store_true", help="two tasks of the cheapest, not kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.task or (["simple-adam", "wave-4-adam"] if options.quick else list(TASKS))
    folder = HERE / "results-quick" if options.quick else RESULTS
    for name in names:
        began = time.time()
        _run(TASKS[name], folder, quick=options.quick)
        print(_table(TASKS[name], folder))
        print(f"({time.time() - began:.0f} s)\n", flush=True)
    if not options.quick:
        (HERE / "results.md").write_text(_page())
    return 0


def _rules(task: Task) -> dict:
    rules = dict(STARTS)
    rules[task.published] = PUBLISHED[task.published]
    return {name: rules[name] for name in (*(n for n in rules if n != "steady"), "steady")}


def _run(task: Task, folder: Path, *, quick: bool) -> None:
    rules, runs = _rules(task), Runs(folder / f"{task.name}.json")
    tune(task, list(rules), rules, runs, TUNING[:1] if quick else TUNING)
    best = {s: best_rate(task, runs, s, TUNING[:1] if quick else TUNING) for s in rules}
    scoring = SCORING[:2] if quick else SCORING
    run_members(task, [(s, best[s], seed) for s in rules for seed in scoring], rules, runs)


def _scores(task: Task, runs: Runs, start: str) -> tuple[float, list]:
    seeds = [s for s in TUNING if any(k.endswith(f" {s}") for k in runs.found)]
    rate = best_rate(task, runs, start, seeds)
    return rate, [runs.get(start, rate, seed) for seed in SCORING if runs.get(start, rate, seed)]


def _ratio(task: Task, ours: list, theirs: list) -> str:
    """exp of the mean paired log-ratio of steps, with a 95% interval; never counts as the budget."""
    pairs = [
        math.log((a.steps or task.steps) / (b.steps or task.steps))
        for a, b in zip(ours, theirs, strict=False)
    ]
    middle = statistics.mean(pairs)
    if len(pairs) < 3:
        return f"{math.exp(middle):.2f}"
    half = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571}[len(pairs)] * statistics.stdev(pairs)
    half /= math.sqrt(len(pairs))
    low, high = math.exp(middle - half), math.exp(middle + half)
    return f"{math.exp(middle):.2f} ({low:.2f}..{high:.2f})"


def _table(task: Task, folder: Path) -> str:
    runs = Runs(folder / f"{task.name}.json")
    tuning = [s for s in TUNING if any(k.endswith(f" {s}") for k in runs.found)]
    lines = [
        f"### {task.name}",
        "",
        f"Loss {task.target:g} within {task.steps} steps, {task.optimizer}; baseline: {task.baseline}.",
        "",
        "| start | rate | never, of seeds | steps, median | last loss | rates that reach "
        "| steady takes, times its steps |",
        "|---|---|---|---|---|---|---|",
    ]
    known = {key.split()[0] for key in runs.found}
    starts = [s for s in _rules(task) if s in known]
    _, ours = _scores(task, runs, "steady")
    for start in starts:
        rate, found = _scores(task, runs, start)
        rates = rates_of(runs, start, tuning)
        edge = " (edge)" if rate in (rates[0], rates[-1]) else ""
        reach = reaching_rates(task, runs, start, tuning)
        steps = statistics.median([o.steps if o.steps else math.inf for o in found])
        lines.append(
            f"| {start} | {rate:g}{edge} | {sum(o.steps is None for o in found)} of {len(found)} "
            f"| {'never' if math.isinf(steps) else f'{steps:.0f}'} "
            f"| {statistics.mean(o.loss for o in found):.3g} | {reach} of {len(rates)} "
            f"| {'' if start == 'steady' else _ratio(task, ours, found)} |"
        )
    return "\n".join([*lines, ""])


def _page() -> str:
    known = [task for task in TASKS.values() if (RESULTS / f"{task.name}.json").exists()]
    head = f"""# steady against other starts

Made by `python bench/steady/run.py` on {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}: \
{platform.system()} {platform.machine()}, {_processor()}, one thread, Python \
{platform.python_version()}, torch {torch.__version__}.

Small nets, few seeds: directions. Each start has its own learning rate, the best of half decades \
on {len(TUNING)} tuning seeds, widened while it is on an edge (at most three times); the rows are \
scored on {len(SCORING)} other seeds, with the same batches for all.
Steps count until the mean loss of 20 batches is at the target. A run that never gets there counts \
as the budget in a ratio, which is the mean of paired log-ratios with its 95% t-interval: below 1 \
steady is faster.
"""
    return "\n".join([head, _summary(known), *(_table(task, RESULTS) for task in known)])


def _summary(tasks: list[Task]) -> str:
    lines = [
        "## In one table, losses first",
        "",
        "| task | steady: never | steps | torch default's | against torch's default "
        "| best other | against it |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = []
    for task in tasks:
        runs = Runs(RESULTS / f"{task.name}.json")
        scores = {s: _scores(task, runs, s)[1] for s in _rules(task)}
        ours = scores.pop("steady")

        def typical(found: list, task: Task = task) -> float:
            return statistics.mean(math.log(o.steps or 2 * task.steps) for o in found)

        best = min(scores, key=lambda s: typical(scores[s]))
        default = scores["torch_default"]
        rows.append(
            (
                typical(ours) - typical(scores[best]),
                f"| {task.name} | {_never(ours)} | {_median(ours)} | {_median(default)} "
                f"| {_ratio(task, ours, default)} | {best}, {_median(scores[best])} "
                f"| {_ratio(task, ours, scores[best])} |",
            )
        )
    return "\n".join([*lines, *(row for _, row in sorted(rows, reverse=True)), ""])


def _never(found: list) -> str:
    return f"{sum(o.steps is None for o in found)} of {len(found)}"


def _median(found: list) -> str:
    steps = statistics.median([o.steps if o.steps else math.inf for o in found])
    return "never" if math.isinf(steps) else f"{steps:.0f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "an unnamed processor"
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else "an unnamed processor"


if __name__ == "__main__":
    sys.exit(main())
