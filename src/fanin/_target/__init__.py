"""A model named on the command line, and an input that it runs on.

Nothing here is downloaded: a model is made by code of this machine, or from a configuration.
"""

from fanin._target._batch import EXAMPLE, batch_of, default_batch, parse_inputs
from fanin._target._build import Target, build
from fanin._target._python import call, find, importable

__all__ = [
    "EXAMPLE",
    "Target",
    "batch_of",
    "build",
    "call",
    "default_batch",
    "find",
    "importable",
    "parse_inputs",
]
