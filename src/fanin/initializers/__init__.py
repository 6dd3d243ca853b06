"""What to draw: each initializer is a value that prints as its formula.

`named` turns ``"xavier_uniform"`` into the value, for layers and the command line alike.
"""

from fanin.initializers._base import Initializer
from fanin.initializers._biases import Chrono, ForgetGate, PriorProbability
from fanin.initializers._elementwise import Constant, Normal, Ones, Uniform, Zeros
from fanin.initializers._fans import VarianceScaling
from fanin.initializers._json import from_json
from fanin.initializers._lookup import Custom, InitializerLike, as_initializer, named, names
from fanin.initializers._matrices import (
    DeltaOrthogonal,
    Hadamard,
    Identity,
    LooksLinear,
    Orthogonal,
)
from fanin.initializers._paper_names import (
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    xavier_normal,
    xavier_uniform,
)
from fanin.initializers._scaled import ScaledOutputs
from fanin.initializers._structured import ICNR, Sparse

__all__ = [
    "ICNR",
    "Chrono",
    "Constant",
    "Custom",
    "DeltaOrthogonal",
    "ForgetGate",
    "Hadamard",
    "Identity",
    "Initializer",
    "InitializerLike",
    "LooksLinear",
    "Normal",
    "Ones",
    "Orthogonal",
    "PriorProbability",
    "ScaledOutputs",
    "Sparse",
    "Uniform",
    "VarianceScaling",
    "Zeros",
    "as_initializer",
    "from_json",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "named",
    "names",
    "xavier_normal",
    "xavier_uniform",
]
