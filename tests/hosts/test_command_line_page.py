"""docs/how-to/command-line.md: its commands print what the page shows.

To write the outputs anew: ``python -m tests.hosts.test_command_line_page``, then read the change.
"""

import re
import shlex
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.hosts.pages import BLOCK, HOW_TO, blocks

from fanin._cli import main

PAGE = "command-line.md"


def printed(command):
    """What a command of the page prints; with ``> /dev/null`` nothing."""
    words = shlex.split(command)[1:]
    silent = words[-2:] == [">", "/dev/null"]
    out = StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        assert main(words[:-2] if silent else words) == 0
    return "" if silent else out.getvalue()


def shown(code):
    """A console block with its outputs made now."""
    commands = re.findall(r"^\$ (.*)$", code, re.MULTILINE)
    return "".join(f"$ {command}\n{printed(command)}" for command in commands)


def made_anew():
    """All console blocks, run in order beside the page's net.py."""
    with TemporaryDirectory() as folder, chdir(folder):
        Path("net.py").write_text(blocks(PAGE, "python")[0], encoding="utf-8")
        return [shown(code) for code in blocks(PAGE, "console")]


def test_the_commands_print_what_the_page_shows():
    """A page with yesterday's output teaches the wrong thing."""
    assert made_anew() == blocks(PAGE, "console")


if __name__ == "__main__":
    outputs = iter(made_anew())
    text = (HOW_TO / PAGE).read_text(encoding="utf-8")
    (HOW_TO / PAGE).write_text(
        BLOCK.sub(
            lambda found: f"```console\n{next(outputs)}```" if found[1] == "console" else found[0],
            text,
        ),
        encoding="utf-8",
    )
