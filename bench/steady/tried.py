"""steady with one rule changed at a time, in the same trainings; writes tried.md.

What is in results-tried/ is not run again: stop it at any time, and start it again. Where a rule of
steady has changed since, take its rows away first.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parents[1] / "src"))

import torch  # noqa: E402
from changes import CHANGES  # noqa: E402
from search import Runs  # noqa: E402
from starts import STARTS  # noqa: E402
from tables import SCORING, TUNING, Score, is_complete, machine, table_of  # noqa: E402
from tasks import EXTRA, TASKS  # noqa: E402

from fanin.recipes import Recipe  # noqa: E402
from run import train_starts  # noqa: E402

RESULTS = HERE / "results-tried"
KNOWN = TASKS | EXTRA


def main() -> int:
    """Train what is not known yet; then write the page from all that is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--task", choices=CHANGES, action="append", help="one task; may be repeated"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.task or CHANGES:
        began = time.time()
        train_starts(KNOWN[name], RESULTS, _rules(name))
        print(table_of(KNOWN[name], RESULTS, list(_rules(name))))
        print(f"({time.time() - began:.0f} s)\n", flush=True)
        (HERE / "tried.md").write_text(_page())
    return 0


def _rules(name: str) -> dict[str, Recipe]:
    """The changed starts of one task, by name, steady last."""
    return {start.name: start for start in (*CHANGES[name], STARTS["steady"])}


def _page() -> str:
    done = [name for name in CHANGES if is_complete(KNOWN[name], RESULTS, list(_rules(name)))]
    rows = sorted((row for name in done for row in _rows(name)), reverse=True)
    head = f"""# steady with one rule changed

Made by `python bench/steady/tried.py`, {machine()}.
The protocol is that of `results.md` beside it: {len(TUNING)} seeds to find each row's own rate, \
{len(SCORING)} others to score it.
Below 1 steady is faster; where the interval spans 1 the rule is not told from the changed one. \
Of {len(rows)} intervals of 95 % about {len(rows) / 20:.0f} miss 1 by chance.

## All changes, steady's losses first

| task | steady, but | never | steps | steady's | steady takes, times its steps |
|---|---|---|---|---|---|"""
    tables = [table_of(KNOWN[name], RESULTS, list(_rules(name))) for name in done]
    return "\n".join([head, *(line for _, line in rows), "", *tables])


def _rows(name: str) -> list[tuple[float, str]]:
    """A line for each change of one task, with the mean log-ratio to sort it by."""
    task, runs = KNOWN[name], Runs(RESULTS / f"{name}.json")
    ours = Score.of(task, runs, "steady")
    found = []
    for start in CHANGES[name]:
        other = Score.of(task, runs, start.name)
        cells = (name, start.name, other.never, other.median, ours.median, ours.against(other))
        found.append((statistics.mean(ours.log_ratios(other)), f"| {' | '.join(cells)} |"))
    return found


if __name__ == "__main__":
    sys.exit(main())
