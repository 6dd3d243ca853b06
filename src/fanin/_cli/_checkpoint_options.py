"""The words of ``fanin checkpoint``; nothing here needs torch."""

import argparse
from pathlib import Path

__all__ = ["add_checkpoint_options"]


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """All but the model's and its input's."""
    parser.set_defaults(meta=False)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="where the files go: a new directory, an empty one, or one where this same command "
        "was interrupted, which then goes on",
    )
    _add_start(parser)
    _add_files(parser)
    parser.add_argument(
        "--in-memory",
        action="store_true",
        help="make the model in memory, for one whose code does not run without, or that computes "
        "what is kept",
    )
    parser.add_argument("--json", action="store_true", help="print the receipt as JSON, no more")


def _add_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="a recipe, such as torch_default, kaiming or gpt2; or pkg.mod:name (default: steady)",
    )
    parser.add_argument(
        "--mode",
        choices=("evaluation", "training"),
        help="the mode to run it in (default: evaluation, and training for what did not run)",
    )
    parser.add_argument(
        "--plan", type=Path, metavar="FILE", help="a plan that was saved, in place of a recipe"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="all random numbers follow from it (default: 0)"
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype",
        metavar="NAME",
        help="of the parameters: bf16, fp16, fp32, or torch's names (default: the model's)",
    )
    parser.add_argument(
        "--shard-size",
        default="4GB",
        metavar="SIZE",
        help="the largest file, such as 500MB (default: 4GB)",
    )
    parser.add_argument(
        "--format",
        choices=("safetensors", "dcp"),
        default="safetensors",
        help="safetensors, as Hugging Face reads it, or that of torch.distributed.checkpoint "
        "(default: safetensors)",
    )
