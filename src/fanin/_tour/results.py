"""Everything one tour found: the one source of the story, the pictures and results.json."""

import json
import re
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Final, final

from fanin._tour.first_layer import FirstLayer
from fanin._tour.scores import Cell
from fanin._tour.signal import DepthProfile
from fanin._version import __version__

__all__ = ["Conditions", "Results", "versions", "write_json"]

NUMBERS: Final = re.compile(r"\[\s+((?:(?:-?\d[-+.e\d]*|null),?\s+)+)\]")
"""A list of numbers and nulls, spread over lines."""


@final
@dataclass(frozen=True, slots=True)
class Conditions:
    """What the numbers depend on: the same conditions give the same numbers."""

    seed: int
    steps: int
    batch: int
    window: int
    target: float
    tuning_seeds: list[int]
    scoring_seeds: list[int]
    train_images: int
    held_out_images: int
    versions: dict[str, str]


@final
@dataclass(frozen=True, slots=True)
class Results:
    """Measurements of the first layer, of depth, and of the trainings."""

    conditions: Conditions
    first_layer: list[FirstLayer]
    depth: list[DepthProfile]
    cells: list[Cell]


def versions() -> dict[str, str]:
    """The versions of fanin, torch and NumPy."""
    return {"fanin": __version__, "torch": version("torch"), "numpy": version("numpy")}


def write_json(results: Results) -> str:
    """All numbers as JSON text, a list of numbers on one line; equal results give equal bytes."""
    text = json.dumps(asdict(results), indent=1, allow_nan=False)
    return NUMBERS.sub(lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"
