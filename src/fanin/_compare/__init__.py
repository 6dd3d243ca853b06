"""Compare: short trainings of one model from several starts."""

from fanin._compare._compare import compare
from fanin._compare._comparison import Comparison

__all__ = ["Comparison", "compare"]
