"""The command line. It knows words and exit codes; torch is imported only by a command's work."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fanin._errors import FaninError
from fanin._text import plain
from fanin._version import __version__

__all__ = ["main"]

DONE: Final = 0
UNHEALTHY: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
STARTS: Final = "torch_default,kaiming_normal,xavier_uniform,orthogonal_relu"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 not healthy, 2 bad usage, 130 Ctrl-C."""
    try:
        return _run(_parser().parse_args(argv))
    except SystemExit as stop:  # argparse leaves this way after --help, --version and bad usage
        return stop.code if isinstance(stop.code, int) else USAGE
    except FaninError as error:
        return _complain(f"error: {error}", USAGE)
    except BrokenPipeError:
        # The reader has gone, as `| head` does. Python must not try again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNHEALTHY
    except OSError as error:
        return _complain(f"error: {error}", UNHEALTHY)
    except KeyboardInterrupt:
        return _complain("stopped by Ctrl-C; no unfinished file is left", INTERRUPTED)


def _complain(text: str, code: int) -> int:
    print(plain(text, sys.stderr.encoding or "utf-8"), file=sys.stderr)
    return code


def _run(options: argparse.Namespace) -> int:
    if options.command == "doctor":
        from fanin._doctor import doctor

        return DONE if doctor() else UNHEALTHY
    from fanin._tour import tour

    names = [name.strip() for name in options.starts.split(",") if name.strip()]
    tour(names, seed=options.seed, fast=options.fast, out=options.out, as_json=options.json)
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fanin",
        description="Set, explain and check the starting weights of PyTorch models.",
        formatter_class=_wide,
    )
    parser.add_argument("--version", action="version", version=f"fanin {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    _add_tour(commands)
    text = "say which engine draws, what is installed, and check the random numbers"
    commands.add_parser("doctor", help=text, description=_sentence(text), formatter_class=_wide)
    return parser


def _add_tour(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "show on real digits what starting weights do: the problem, cause, cure and proof"
    parser = commands.add_parser(
        "tour", help=text, description=_sentence(text), formatter_class=_wide
    )
    parser.add_argument("--fast", action="store_true", help="a shorter look, under 20 seconds")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("fanin-tour"),
        metavar="DIR",
        help="where results.json and pictures go (default: fanin-tour)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="all random numbers follow from it (default: 0)"
    )
    parser.add_argument(
        "--starts",
        default=STARTS,
        metavar="A,B,...",
        help="initializers by name, torch_default for torch's own; the first is what the others "
        f"are compared with (default: {STARTS})",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the content of results.json and nothing else"
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _wide(prog: str) -> argparse.HelpFormatter:
    """Help of the same width on every terminal."""
    return argparse.HelpFormatter(prog, max_help_position=22, width=80)
