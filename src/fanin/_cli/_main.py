"""One command: its exit code, and who does its work, which alone imports torch."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fanin._cli._parser import parser_of_all
from fanin._errors import FaninError
from fanin._text import plain

if TYPE_CHECKING:
    from fanin._cli._commands import Question

__all__ = ["main"]

DONE: Final = 0
UNHEALTHY: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
STOPPED: Final = "stopped by Ctrl-C; no unfinished file is left"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 not healthy, 2 bad usage, 130 Ctrl-C."""
    code = _exit_code(argv)
    if argv is None and threading.current_thread() is threading.main_thread():
        # The answer is given, and stands: Python takes a second to leave, in which it would die.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def _exit_code(argv: Sequence[str] | None) -> int:
    try:
        options = _options(argv)
    except SystemExit as stop:  # argparse leaves this way after --help, --version and bad usage
        return stop.code if isinstance(stop.code, int) else USAGE
    try:
        return _run(options)
    except FaninError as error:
        return _complain(f"error: {error}", USAGE)
    except BrokenPipeError:
        # The reader has gone, as `| head` does. Python must not try again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return USAGE
    except OSError as error:  # nothing was found out, or it is not kept
        return _complain(f"error: {error}", USAGE)
    except KeyboardInterrupt as stop:
        return _complain(str(stop) or STOPPED, INTERRUPTED)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The words read; what the command does not know is answered with its own usage."""
    options, unknown = parser_of_all().parse_known_args(argv)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def _complain(text: str, code: int) -> int:
    print(plain(text, sys.stderr.encoding or "utf-8"), file=sys.stderr)
    return code


def _run(options: argparse.Namespace) -> int:
    """Import the command's work, now that its words are right, and do it."""
    if options.command == "doctor":
        from fanin._cli._doctor import doctor

        return DONE if doctor() else UNHEALTHY
    if options.command == "tour":
        from fanin._tour import tour

        names = [name.strip() for name in options.recipes.split(",") if name.strip()]
        tour(names, seed=options.seed, fast=options.fast, out=options.out, as_json=options.json)
        return DONE
    if options.command == "compare":
        return _compare(options)
    from fanin._cli import _commands

    question = _commands.Question(
        target=options.target,
        settings=options.set,
        inputs=options.input,
        batch=options.batch,
        recipe=options.recipe,
        training=None if options.mode is None else options.mode == "training",
        meta=options.meta,
    )
    works = {"audit": _audit, "checkpoint": _checkpoint, "verify": _verify}
    if options.command in works:
        return works[options.command](question, options)
    if options.command == "explain":
        _commands.explain_model(question, options.name)
        return DONE
    healthy = _commands.plan_model(
        question, save=options.save, as_json=options.json, strict=options.strict
    )
    return DONE if healthy else UNHEALTHY


def _audit(question: "Question", options: argparse.Namespace) -> int:
    from fanin._cli._audit import Files, Measurement, audit_model

    measurement = Measurement(
        loss=options.loss,
        target=options.loss_target,
        seed=options.seed,
        draws=options.draws,
        optimizer=options.optimizer,
        learning_rate=options.learning_rate,
        spectrum=options.spectrum,
    )
    files = Files(json=options.json, html=options.html, junit=options.junit)
    healthy = audit_model(question, measurement, files, strict=options.strict)
    return DONE if healthy else UNHEALTHY


def _checkpoint(question: "Question", options: argparse.Namespace) -> int:
    from fanin._cli._checkpoint import Files, checkpoint_model

    files = Files(
        out=options.out,
        plan=options.plan,
        seed=options.seed,
        dtype=options.dtype,
        shard_size=options.shard_size,
        file_format=options.format,
        in_memory=options.in_memory,
        json=options.json,
    )
    checkpoint_model(question, files)
    return DONE


def _verify(question: "Question", options: argparse.Namespace) -> int:
    from fanin._cli._verify import verify_checkpoint

    same = verify_checkpoint(
        question,
        options.checkpoint,
        seed=options.seed,
        in_memory=options.in_memory,
        as_json=options.json,
    )
    return DONE if same else UNHEALTHY


def _compare(options: argparse.Namespace) -> int:
    from fanin._cli._compare import Contest, Files, compare_model

    contest = Contest(
        target=options.target,
        data=options.data,
        settings=options.set,
        recipes=options.recipes,
        loss=options.loss,
        optimizer=options.optimizer,
        rates=options.rates,
        loss_target=options.loss_target,
        steps=options.steps,
        seeds=options.seeds,
        seed=options.seed,
        budget=options.budget,
        workers=options.workers,
    )
    files = Files(resume=options.resume, json=options.json, html=options.html)
    compare_model(contest, files)
    return DONE
