"""steady with one rule changed at a time, in the same trainings; writes tried.md.

What is in results/ is not trained again: stop it at any time, and start it again.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from changes import CHANGES
from pages import OURS, machine, markdown, rows, table_of
from section import RESULTS
from tasks import EXTRA, SCORING, TASKS, TUNING
from trainings import Race, train

from fanin.recipes import Recipe, steady

__all__ = ["made_page"]

PAGE = Path(__file__).with_name("tried.md")


def main() -> int:
    """Train what is not known yet; then write the page from all that is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--task", choices=CHANGES, action="append", help="one task; may be repeated"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 for this one")
    parser.add_argument("--page", action="store_true", help="train nothing, write the page again")
    options = parser.parse_args()
    races = _races()
    for name in () if options.page else options.task or CHANGES:
        train(races[name], options.workers)
        print(table_of(races[name]), flush=True)
        PAGE.write_text(_page(races))
    PAGE.write_text(_page(races))
    return 0


def made_page() -> str:
    """What tried.md is to be."""
    return _page(_races())


def _races() -> dict[str, Race]:
    return {name: _race(name) for name in CHANGES}


def _race(name: str) -> Race:
    """Without changes that change nothing for this net; on the seeds where rules are chosen."""
    task = (TASKS | EXTRA)[name]
    settings = replace(task.settings, scoring_seeds=SCORING)
    recipes: dict[str, Recipe | None] = {one.name: one for one in (*CHANGES[name], steady)}
    race = Race(task, recipes, RESULTS, settings)
    own = race.starts[OURS].key
    for start in list(race.starts.values()):
        if start.key == own and start.name != OURS:
            del race.starts[start.name]
    return race


def _page(races: Mapping[str, Race]) -> str:
    found = rows(list(races.values()))
    tables = [table_of(race) for race in races.values() if race.known().starts]
    head = f"""# steady with one rule changed

Made by `python bench/convergence/tried.py`, {machine()}.
The protocol and the columns are those of `results.md` beside it: {len(TUNING)} seeds to find each \
row's own rate, {len(SCORING)} others to score it; below 1 steady is faster.
Rules are chosen by these rows, so of two that differ little the one chosen may be the luckier \
here: on other seeds, steady is in `results.md`.
Of {len(found)} intervals of 95 % about {len(found) / 20:.0f} miss 1 by chance.

## All changes, steady's losses first
"""
    return "\n".join([head, *markdown(found), "", *tables])


if __name__ == "__main__":
    sys.exit(main())
