"""fanin sets, explains and checks the starting weights of PyTorch models.

This is the whole public surface. Names are imported when they are first used, so that
``fanin --help`` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fanin._version import __version__

if TYPE_CHECKING:
    from fanin import initializers, nn, recipes, theory
    from fanin._audit import Finding, Limits, Report, audit
    from fanin._checkpoint import CheckpointReceipt, write_checkpoint
    from fanin._compare import Comparison, ScaleSweep, compare, ray_executor, sweep_scale
    from fanin._errors import FaninError
    from fanin._fill import fill
    from fanin._gains import Gated, Moments, gain, moments
    from fanin._layout import Block, Fans, Layout, fans, layout
    from fanin._plan import Coverage, Entry, Plan, Receipt, Verification, initialize, plan
    from fanin._site import Residual, Site
    from fanin._trace import Trace, trace

__all__ = [
    "Block",
    "CheckpointReceipt",
    "Comparison",
    "Coverage",
    "Entry",
    "FaninError",
    "Fans",
    "Finding",
    "Gated",
    "Layout",
    "Limits",
    "Moments",
    "Plan",
    "Receipt",
    "Report",
    "Residual",
    "ScaleSweep",
    "Site",
    "Trace",
    "Verification",
    "__version__",
    "audit",
    "compare",
    "fans",
    "fill",
    "gain",
    "initialize",
    "initializers",
    "layout",
    "moments",
    "nn",
    "plan",
    "ray_executor",
    "recipes",
    "sweep_scale",
    "theory",
    "trace",
    "write_checkpoint",
]

_HOME = {
    "_audit": ("Finding", "Limits", "Report", "audit"),
    "_checkpoint": ("CheckpointReceipt", "write_checkpoint"),
    "_compare": ("Comparison", "ScaleSweep", "compare", "ray_executor", "sweep_scale"),
    "_errors": ("FaninError",),
    "_fill": ("fill",),
    "_gains": ("Gated", "Moments", "gain", "moments"),
    "_layout": ("Block", "Fans", "Layout", "fans", "layout"),
    "_plan": ("Coverage", "Entry", "Plan", "Receipt", "Verification", "initialize", "plan"),
    "_site": ("Residual", "Site"),
    "_trace": ("Trace", "trace"),
}


def __getattr__(name: str) -> object:
    if name in ("initializers", "nn", "recipes", "theory"):
        return import_module(f"fanin.{name}")
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"fanin.{module}"), name)
    raise AttributeError(f"module 'fanin' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
