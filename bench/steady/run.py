"""Train small nets from several starts; print the tables, and write them to results.md.

What is in results/ is not run again: stop it at any time, and start it again.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parents[1] / "src"))

import torch  # noqa: E402
from search import Runs, best_rate, run_members, tune  # noqa: E402
from starts import PUBLISHED, STARTS  # noqa: E402
from tables import SCORING, TUNING, is_complete, page, table_of  # noqa: E402
from tasks import TASKS, Task  # noqa: E402

from fanin.recipes import Recipe  # noqa: E402

__all__ = ["train_starts"]

RESULTS = HERE / "results"


def main() -> int:
    """Run what is asked for and not known yet; then write the page from all that is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, action="append", help="one task; may be repeated")
    parser.add_argument("--quick", action="store_true", help="two cheap tasks, not kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.task or (["simple-adam", "wave-4-adam"] if options.quick else list(TASKS))
    folder = HERE / "results-quick" if options.quick else RESULTS
    for name in names:
        began = time.time()
        rules = _rules(TASKS[name])
        train_starts(TASKS[name], folder, rules, quick=options.quick)
        print(table_of(TASKS[name], folder, list(rules)))
        print(f"({time.time() - began:.0f} s)\n", flush=True)
    if not options.quick:
        done = [(task, list(_rules(task))) for task in TASKS.values()]
        done = [(task, starts) for task, starts in done if is_complete(task, RESULTS, starts)]
        (HERE / "results.md").write_text(page(done, RESULTS))
    return 0


def _rules(task: Task) -> dict[str, Recipe]:
    """The starts of one task, by name, steady last."""
    others = {name: start for name, start in STARTS.items() if name != "steady"}
    return others | {task.published: PUBLISHED[task.published], "steady": STARTS["steady"]}


def train_starts(
    task: Task, folder: Path, rules: Mapping[str, Recipe], *, quick: bool = False
) -> None:
    """Tune each start's rate, then score it; what is in the folder is not run again."""
    runs = Runs(folder / f"{task.name}.json")
    tuning = list(TUNING[:1] if quick else TUNING)
    tune(task, list(rules), rules, runs, tuning)
    best = {start: best_rate(task, runs, start, tuning) for start in rules}
    scoring = SCORING[:2] if quick else SCORING
    wanted = [(start, best[start], seed) for start in rules for seed in scoring]
    run_members(task, wanted, rules, runs)


if __name__ == "__main__":
    sys.exit(main())
