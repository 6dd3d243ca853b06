"""steady with one rule changed at a time, in the same trainings; writes tried.md.

What is in results/ is not trained again: stop it at any time, and start it again.
"""

import argparse
import sys
from collections.abc import Mapping
from math import inf
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parents[1] / "src"))

import torch  # noqa: E402
from changes import CHANGES  # noqa: E402
from pages import OURS, machine, ratio, table_of  # noqa: E402
from section import RESULTS  # noqa: E402
from tasks import EXTRA, SCORING, TASKS, TUNING  # noqa: E402
from trainings import Race, train  # noqa: E402

from fanin._compare._comparison import Comparison  # noqa: E402
from fanin._compare._scores import scores_of  # noqa: E402
from fanin.recipes import Recipe, steady  # noqa: E402

__all__ = ["made_page"]

HEADER = (
    "| task | steady, but | arrives, of seeds | steps | steady's | steady's over its "
    "| steady is |\n|---|---|---|---|---|---|---|"
)


def main() -> int:
    """Train what is not known yet; then write the page from all that is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--task", choices=CHANGES, action="append", help="one task; may be repeated"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 for this one")
    parser.add_argument("--page", action="store_true", help="train nothing, write the page again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    races = _races()
    for name in () if options.page else options.task or CHANGES:
        train(races[name], options.workers)
        print(table_of(races[name]), flush=True)
        (HERE / "tried.md").write_text(_page(races))
    (HERE / "tried.md").write_text(_page(races))
    return 0


def made_page() -> str:
    """What tried.md is to be."""
    return _page(_races())


def _races() -> dict[str, Race]:
    return {name: _race(name) for name in CHANGES}


def _race(name: str) -> Race:
    """Without changes that change nothing for this net."""
    race = Race((TASKS | EXTRA)[name], _rules(name), RESULTS)
    same = [one for one, start in race.starts.items() if start.key == race.starts[OURS].key]
    for one in same:
        if one != OURS:
            del race.starts[one]
    return race


def _rules(name: str) -> dict[str, Recipe | None]:
    """The changed starts of one task, by name, steady last."""
    return {start.name: start for start in (*CHANGES[name], steady)}


def _page(races: Mapping[str, Race]) -> str:
    known = {name: race.known() for name, race in races.items()}
    known = {name: one for name, one in known.items() if OURS in {s.name for s in one}}
    rows = sorted(row for name, one in known.items() for row in _rows(name, one))
    tables = [table_of(races[name]) for name in known]
    head = f"""# steady with one rule changed

Made by `python bench/convergence/tried.py`, {machine()}.
The protocol and the columns are those of `results.md` beside it: {len(TUNING)} seeds to find each \
row's own rate, {len(SCORING)} others to score it; below 1 steady is faster.
Of {len(rows)} intervals of 95 % about {len(rows) / 20:.0f} miss 1 by chance.

## All changes, steady's losses first

{HEADER}"""
    return "\n".join([head, *(line for _, line in rows), "", *tables])


def _rows(name: str, found: Comparison) -> list[tuple[float, str]]:
    """A line for each change of one task, with the speed-up to sort it by."""
    scores = {score.name: score for score in scores_of(found)}
    lines = []
    for score in scores.values():
        if score.name == OURS:
            continue
        verdict = found.verdict(OURS, score.name)
        arrived = f"{score.arrived} of {len(score.steps)}"
        steps = [f"{one.median:.0f}".replace("inf", "never") for one in (score, scores[OURS])]
        cells = (name, score.name, arrived, *steps, ratio(verdict), verdict.call)
        order = inf if verdict.speedup is None else verdict.speedup.mean
        lines.append((order, f"| {' | '.join(cells)} |"))
    return lines


if __name__ == "__main__":
    sys.exit(main())
