"""fanin sets, explains and checks the starting weights of PyTorch models.

This is the whole public surface. Names are imported when they are first used, so that
``fanin --help`` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fanin._version import __version__

if TYPE_CHECKING:
    from fanin import initializers, nn
    from fanin._errors import FaninError
    from fanin._fill import fill
    from fanin._gains import Gated, Moments, gain, moments
    from fanin._layout import Block, Fans, Layout, fans, layout

__all__ = [
    "Block",
    "FaninError",
    "Fans",
    "Gated",
    "Layout",
    "Moments",
    "__version__",
    "fans",
    "fill",
    "gain",
    "initializers",
    "layout",
    "moments",
    "nn",
]

_HOME = {
    "_errors": ("FaninError",),
    "_fill": ("fill",),
    "_gains": ("Gated", "Moments", "gain", "moments"),
    "_layout": ("Block", "Fans", "Layout", "fans", "layout"),
}


def __getattr__(name: str) -> object:
    if name in ("initializers", "nn"):
        return import_module(f"fanin.{name}")
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"fanin.{module}"), name)
    raise AttributeError(f"module 'fanin' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
