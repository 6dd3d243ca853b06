"""The words of the command line: what each command is given."""

import argparse
from pathlib import Path
from typing import Final, TypeAlias

from fanin._cli._checkpoint_options import add_checkpoint_options
from fanin._cli._compare_options import add_options
from fanin._cli._verify_options import add_verify_options
from fanin._version import __version__

__all__ = ["parser_of_all"]

TOUR_RECIPES: Final = "own,kaiming,xavier,steady"
OR_A_PLAN: Final = "; or FILE.json, a plan that was saved."
WHERE_MODELS_ARE: Final = (
    "TARGET is pkg.mod:name or file.py:name of a function, class or model, whose code is run; "
    "hf:NAME, a model type, class or config.json of transformers; timm:NAME"
    f"{OR_A_PLAN} Nothing is downloaded."
)


def parser_of_all() -> argparse.ArgumentParser:
    """All commands, with their options."""
    parser = argparse.ArgumentParser(
        prog="fanin",
        description="Set, explain and check the starting weights of PyTorch models.",
        formatter_class=_wide,
    )
    parser.add_argument("--version", action="version", version=f"fanin {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    _add_plan(commands)
    _add_explain(commands)
    _add_audit(commands)
    _add_compare(commands)
    _add_checkpoint(commands)
    _add_verify(commands)
    _add_tour(commands)
    _add_command(
        commands,
        "doctor",
        "say which engine draws, what is installed, and check the random numbers",
    )
    return parser


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - its only name


def _add_command(
    commands: _Commands, name: str, text: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=text, description=_sentence(text), epilog=epilog, formatter_class=_wide
    )
    parser.set_defaults(parser=parser)
    return parser


def _add_plan(commands: _Commands) -> None:
    text = "say how every parameter of a model is to start, and why"
    parser = _add_command(commands, "plan", text, WHERE_MODELS_ARE)
    _add_model(parser)
    parser.add_argument("--save", type=Path, metavar="FILE", help="save the plan as JSON")
    parser.add_argument("--json", action="store_true", help="print the JSON and nothing else")
    parser.add_argument(
        "--strict", action="store_true", help="exit code 1 if a tensor is claimed by nobody"
    )


def _add_explain(commands: _Commands) -> None:
    text = "say how some parameters of a model are to start: formula, numbers, reason, paper"
    parser = _add_command(commands, "explain", text, WHERE_MODELS_ARE)
    _add_model(parser)
    parser.add_argument(
        "name", nargs="+", metavar="NAME", help="a parameter, or several: 'layers.*.weight'"
    )


def _add_audit(commands: _Commands) -> None:
    text = "run a model on one batch, forward and backward, and say if its start is healthy"
    parser = _add_command(commands, "audit", text, WHERE_MODELS_ARE.replace(OR_A_PLAN, "."))
    _add_target(parser, "the model; see below")
    parser.add_argument(
        "--target",
        dest="loss_target",
        metavar="WHERE",
        help="pkg.mod:name or file.py:name that gives what the loss compares with",
    )
    parser.add_argument(
        "--loss",
        metavar="WHERE",
        help="pkg.mod:name or file.py:name of the loss (default: the model's own, or what fits "
        "the target, or a random direction)",
    )
    _add_start(parser)
    _add_measurement(parser)
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="save the report as JSON; without FILE print the JSON and nothing else",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="save the report as a web page")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="save it as JUnit XML for CI")
    parser.add_argument(
        "--strict", action="store_true", help="exit code 1 for a warning too, not only an error"
    )


def _add_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="look at what this recipe draws, or pkg.mod:name (default: the model's own weights)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the draws, and of the model's code (default: 0)"
    )
    parser.add_argument(
        "--draws", type=int, default=1, metavar="N", help="take medians over N draws of the recipe"
    )


def _add_measurement(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        choices=("evaluation", "training"),
        help="the mode to run it in (default: training, and evaluation where that does not run)",
    )
    parser.add_argument(
        "--optimizer",
        choices=("adam", "sgd"),
        default="adam",
        help="of the first step that is looked ahead (default: adam)",
    )
    parser.add_argument(
        "--learning-rate", type=float, default=0.001, metavar="X", help="its size (default: 0.001)"
    )
    parser.add_argument(
        "--spectrum",
        action="store_true",
        help="the singular values of the Jacobian, also of a large model",
    )
    # Known so that the answer is a reason.
    parser.add_argument("--meta", action="store_true", help=argparse.SUPPRESS)


def _add_compare(commands: _Commands) -> None:
    text = "train a model for a short while from several starts, and say which is the fastest"
    parser = _add_command(commands, "compare", text, WHERE_MODELS_ARE.replace(OR_A_PLAN, "."))
    parser.add_argument("target", metavar="TARGET", help="what makes the model; see below")
    _add_set(parser)
    add_options(parser)


def _add_checkpoint(commands: _Commands) -> None:
    text = "write a model's planned start to files of weights, however large, without the model"
    parser = _add_command(commands, "checkpoint", text, WHERE_MODELS_ARE.replace(OR_A_PLAN, "."))
    _add_target(parser, "the model; see below")
    add_checkpoint_options(parser)


def _add_verify(commands: _Commands) -> None:
    text = "say if a checkpoint is exactly the planned start of a model, bit for bit"
    parser = _add_command(commands, "verify", text, WHERE_MODELS_ARE)
    _add_model(parser)
    add_verify_options(parser)


def _add_model(parser: argparse.ArgumentParser) -> None:
    _add_target(parser, "the model, or a saved plan; see below")
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="a recipe, such as torch_default, kaiming, orthogonal or gpt2; or pkg.mod:name "
        "(default: steady)",
    )
    parser.add_argument(
        "--mode",
        choices=("evaluation", "training"),
        help="the mode to run it in (default: evaluation, and training for what did not run)",
    )
    parser.add_argument(
        "--meta", action="store_true", help="make the model without memory for its weights"
    )


def _add_target(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("target", metavar="TARGET", help=text)
    _add_set(parser)
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="SHAPE",
        help="what the model runs on: 64x784, int:2x16, mask=bool:2x16; repeat it for several "
        "(default: what the model declares)",
    )
    parser.add_argument(
        "--batch", metavar="WHERE", help="pkg.mod:name or file.py:name that gives what it runs on"
    )


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the function, or a value of the configuration; may be repeated",
    )


def _add_tour(commands: _Commands) -> None:
    text = "show on real digits what starting weights do: the problem, cause, cure and proof"
    parser = _add_command(commands, "tour", text)
    parser.add_argument("--fast", action="store_true", help="a shorter look, half as long")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("fanin-tour"),
        metavar="DIR",
        help="where tour.html, results.json and pictures go (default: fanin-tour)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="all random numbers follow from it (default: 0)"
    )
    parser.add_argument(
        "--recipes",
        default=TOUR_RECIPES,
        metavar="A,B,...",
        help="recipes by name, own for the start that torch makes; the first is what the others "
        f"are compared with (default: {TOUR_RECIPES})",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the content of results.json and nothing else"
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _wide(prog: str) -> argparse.HelpFormatter:
    """Help of the same width on every terminal."""
    return argparse.HelpFormatter(prog, max_help_position=22, width=80)
