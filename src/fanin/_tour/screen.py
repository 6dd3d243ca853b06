"""Where the tour is shown: the story on standard output."""

import sys
from collections.abc import Sequence

from rich.console import Console

from fanin._text import WIDTH, plain
from fanin._tour.story import Block

__all__ = ["show"]

HEADING = "bold cyan"


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
