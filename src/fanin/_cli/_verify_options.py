"""The words of ``fanin verify``; nothing here needs torch."""

import argparse
from pathlib import Path

__all__ = ["add_verify_options"]


def add_verify_options(parser: argparse.ArgumentParser) -> None:
    """All but the plan's."""
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="a file (.safetensors, .pt, .bin), or a directory with such, with an index, or "
        "with .metadata",
    )
    parser.add_argument(
        "--in-memory",
        action="store_true",
        help="make the model in memory, as fanin checkpoint does (default: as the checkpoint was "
        "made; else without memory, or in memory where that fails)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the start (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the JSON and nothing else")
