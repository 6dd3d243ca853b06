"""Commands of fanin, word for word: what each writes, in a directory of its own."""

from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

from fanin._cli import main

__all__ = ["said", "transcript", "write_texts"]


def said(line, folder):
    """The command, its exit code, and what it writes, as text."""
    out, errors = StringIO(), StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(errors):
        code = main(line.split()[1:])
    text = f"$ {line}\n{out.getvalue()}{errors.getvalue()}[exit code {code}]\n"
    return text.replace(str(folder), "HERE")


def transcript(lines, write_files):
    """All commands, in order, in one directory."""
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        write_files(folder)
        return "\n".join(said(line, folder) for line in lines)


def write_texts(files, folder):
    for name, text in files.items():
        (folder / name).write_text(dedent(text), encoding="utf-8")
