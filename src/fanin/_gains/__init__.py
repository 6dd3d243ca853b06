"""Moments and gains of any activation."""

from fanin._gains.gain import Convention, gain
from fanin._gains.gated import Activation, Gated
from fanin._gains.identify import identify
from fanin._gains.moments import Moments, moments
from fanin._gains.names import names
from fanin._gains.recognize import canonical

__all__ = [
    "Activation",
    "Convention",
    "Gated",
    "Moments",
    "canonical",
    "gain",
    "identify",
    "moments",
    "names",
]
