"""The words of ``fanin compare``; nothing here needs torch."""

import argparse
from pathlib import Path
from typing import Final

__all__ = ["add_options"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


def add_options(parser: argparse.ArgumentParser) -> None:
    """All but the model's."""
    parser.add_argument(
        "--recipes",
        type=_names,
        default="own,steady",
        metavar="A,B,...",
        help="recipes, such as torch_default, kaiming or steady, or pkg.mod:name; own for the "
        "model as it is made; the first is what the others are compared with (default: "
        "own,steady)",
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="WHERE",
        help="digits, 5000 images that come with fanin; or pkg.mod:name or file.py:name of "
        "(inputs, targets), of two such pairs, the second held out, of a function that returns "
        "these, or of a function of a seed",
    )
    parser.add_argument(
        "--loss",
        metavar="WHERE",
        help="pkg.mod:name or file.py:name of the loss (default: cross-entropy, or the mean "
        "squared error)",
    )
    _add_training(parser)
    _add_work(parser)
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="save the comparison as JSON; without FILE print the JSON and nothing else",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="save it as a web page")


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--optimizer",
        choices=("sgd", "momentum", "adam"),
        default="adam",
        help="what trains it (default: adam)",
    )
    parser.add_argument(
        "--rates",
        type=_numbers,
        metavar="X,Y,...",
        help="the learning rates to begin with (default: four half decades)",
    )
    parser.add_argument(
        "--target",
        dest="loss_target",
        type=float,
        metavar="X",
        help="the loss to reach (default: what the first start has after three quarters)",
    )
    parser.add_argument(
        "--steps", type=int, default=500, metavar="N", help="of each training (default: 500)"
    )
    parser.add_argument("--seeds", type=int, default=8, metavar="N", help="that count (default: 8)")
    parser.add_argument(
        "--seed", type=int, default=0, help="all random numbers follow from it (default: 0)"
    )


def _add_work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget",
        type=_seconds,
        metavar="TIME",
        help="about how long it may take, such as 90s, 2m or 1h: seeds and steps are cut to that",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes to train in; 0 for this one (default: one a core)",
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="keep each training as it ends; the same command goes on from there",
    )


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names:
        return names
    raise argparse.ArgumentTypeError("no name in it")


def _numbers(text: str) -> list[float]:
    try:
        return [float(one) for one in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"write numbers, such as 0.01,0.1, not {text!r}") from None


def _seconds(text: str) -> float:
    """Of a time such as 90s, 2m or 1.5h."""
    number, unit = text[:-1], text[-1:]
    try:
        found = float(number) * _UNITS[unit]
    except (KeyError, ValueError):
        found = 0.0
    if 0 < found < float("inf"):
        return found
    raise argparse.ArgumentTypeError(f"write a time as 90s, 2m or 1h, not {text!r}")
