"""Compare: short trainings of one model from several starts."""

from fanin._compare._compare import compare
from fanin._compare._comparison import Comparison
from fanin._compare._ray import ray_executor
from fanin._compare._scale import sweep_scale
from fanin._compare._scale_result import ScaleSweep

__all__ = ["Comparison", "ScaleSweep", "compare", "ray_executor", "sweep_scale"]
