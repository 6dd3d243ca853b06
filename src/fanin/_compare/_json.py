"""A comparison as JSON text and back."""

from pathlib import Path
from typing import Final

from fanin._compare._comparison import Comparison
from fanin._errors import FaninError
from fanin._records_json import Codec

__all__ = ["SCHEMA", "read", "read_file", "write"]

SCHEMA: Final = 1
"""A comparison of another number is not read; a change of any record raises it."""
_CODEC: Final = Codec(Comparison, "comparison", "fanin comparison", SCHEMA, again="compare again")


def write(comparison: Comparison, indent: int | None = None) -> str:
    """The JSON text; without an indent a line for each start, trial and outcome."""
    return _CODEC.write(comparison, indent)


def read(text: str) -> Comparison:
    """The comparison of a JSON text.

    Raises:
        FaninError: for text that is none, of another schema, with fields that are unknown, or
            whose parts do not belong together.
    """
    return _consistent(_CODEC.read(text))


def read_file(path: Path) -> Comparison:
    """The comparison in a file; an error for one that is too long for it, or no text."""
    return _consistent(_CODEC.read_file(path))


def _consistent(found: Comparison) -> Comparison:
    """As it is, if every training is of a start and a seed of the comparison, once."""
    names = [start.name for start in found.starts]
    if len(set(names)) < len(names):
        raise _unreadable("starts", "two starts of one name", "names that differ")
    if found.reference not in names:
        raise _unreadable("reference", repr(found.reference)[:60], "one of the starts")
    members = [(one.member.start, one.member.seed) for one in found.outcomes]
    wanted = [(name, seed) for seed in found.settings.scoring_seeds for name in names]
    if sorted(members) != sorted(wanted):
        other = sorted(set(members) ^ set(wanted))
        said = repr(other[0])[:60] if other else "a training twice"
        raise _unreadable("outcomes", said, "one of every start and scoring seed")
    strange = [trial.start for trial in found.trials if trial.start not in names]
    if strange:
        raise _unreadable("trials", repr(strange[0])[:60], "trials of the starts")
    return found


def _unreadable(where: str, found: str, wanted: str) -> FaninError:
    return _CODEC.unreadable(f"Comparison.from_json, {where}", found, wanted)
