"""Mean-field predictions: what a start makes of signals and gradients in a deep net.

Formulas and where they come from: docs/reference/theory.md.
"""

from fanin.theory._critical import edge_of_chaos
from fanin.theory._finite_width import LogGrowth, log_growth
from fanin.theory._loss import initial_cross_entropy
from fanin.theory._mean_field import MeanField
from fanin.theory._normalized import batch_norm_gradient_growth, residual_variance
from fanin.theory._phase import PhaseDiagram, phase_diagram
from fanin.theory._spectrum import Spectrum, jacobian_spectrum
from fanin.theory._variance_map import FixedPoint

__all__ = [
    "FixedPoint",
    "LogGrowth",
    "MeanField",
    "PhaseDiagram",
    "Spectrum",
    "batch_norm_gradient_growth",
    "edge_of_chaos",
    "initial_cross_entropy",
    "jacobian_spectrum",
    "log_growth",
    "phase_diagram",
    "residual_variance",
]
