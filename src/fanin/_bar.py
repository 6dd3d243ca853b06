"""How far long work is, on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

__all__ = ["Report", "progress_bar"]


class Report(Protocol):
    """Told now and then of the work done, of the work in all, and of what is done just now."""

    def __call__(self, done: float, total: float, now: str = "", /) -> None:
        """Show it."""


@contextmanager
def progress_bar(what: str, said: Callable[[int, str], str], *, first: int = 0) -> Iterator[Report]:
    """A bar with the time left on a terminal; elsewhere a line at each quarter.

    The bar is called ``what``, and what is done just now once that is told. ``said`` of the percent
    and of that is the line; there is none before the ``first`` quarter.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Quarters(console, said, first)
        return
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        task = bar.add_task(what)

        def report(done: float, total: float, now: str = "", /) -> None:
            bar.update(task, description=now or what, completed=done, total=total)

        yield report


@final
@dataclass(slots=True)
class _Quarters:
    console: Console
    said: Callable[[int, str], str]
    next: int

    def __call__(self, done: float, total: float, now: str = "", /) -> None:
        if total and 4 * done >= self.next * total:
            line = self.said(int(100 * done // total), now)
            self.console.print(line, highlight=False, soft_wrap=True)
            self.next = int(4 * done // total) + 1
