"""Train small nets from several starts; print the tables, and write them to results.md.

What is in results/ is not trained again: stop it at any time, and start it again.
"""

import argparse
import sys
from pathlib import Path

from pages import page, table_of
from section import kept, quick_races
from tasks import TASKS
from trainings import train

__all__ = ["made_page"]

PAGE = Path(__file__).with_name("results.md")


def main() -> int:
    """Train what is asked for and not known yet; then write the page from all that is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, action="append", help="one task; may be repeated")
    parser.add_argument("--start", action="append", help="one start; may be repeated")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 for this one")
    parser.add_argument("--quick", action="store_true", help="five minutes of it, not kept")
    parser.add_argument("--page", action="store_true", help="train nothing, write the page again")
    options = parser.parse_args()
    if options.quick:
        for race in quick_races(options.workers):
            print(table_of(race), flush=True)
        return 0
    races = {race.task.name: race for race in kept()}
    for name in () if options.page else options.task or TASKS:
        train(races[name], options.workers, options.start)
        print(table_of(races[name]), flush=True)
        PAGE.write_text(page(list(races.values())))
    PAGE.write_text(page(list(races.values())))
    return 0


def made_page() -> str:
    """What results.md is to be."""
    return page(kept())


if __name__ == "__main__":
    sys.exit(main())
