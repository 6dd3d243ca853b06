"""Where the tour is shown: the story on standard output, progress on standard error."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias, final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from fanin._text import WIDTH, plain
from fanin._tour.story import Block

__all__ = ["Report", "progress", "show"]

HEADING = "bold cyan"
Report: TypeAlias = Callable[[float, int], None]
"""Told now and then of the work done and the work in all."""


def show(blocks: Sequence[Block]) -> None:
    """Print the blocks, an empty line between; colour only where a terminal shows it."""
    console = Console(width=WIDTH, highlight=False, markup=False, emoji=False, soft_wrap=True)
    encoding = sys.stdout.encoding or "utf-8"
    for block in blocks:
        is_heading, text = block.kind == "heading", plain(block.text, encoding)
        if is_heading:
            console.print()
        console.print(text, style=HEADING if is_heading else None)
        console.print()


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """A bar with the time left on a terminal; a line at the start and at each quarter elsewhere.

    Nothing shows before the first report, so that a story can be told until then.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Quarters(what, console)
        return
    columns = TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    bar = Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    )
    task = bar.add_task(what)

    def report(done: float, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield report
    finally:
        bar.stop()


@final
class _Quarters:
    def __init__(self, what: str, console: Console) -> None:
        self.what, self.console, self.next = what, console, 0

    def __call__(self, done: float, total: int) -> None:
        if 4 * done >= self.next * total:
            self.console.print(f"{self.what}: {int(100 * done / total)} %", highlight=False)
            self.next = int(4 * done / total) + 1
