"""The thresholds of the findings, each with where it comes from."""

from dataclasses import dataclass, fields
from math import inf
from typing import final

from fanin._errors import FaninError
from fanin._numbers import is_number

__all__ = ["Limits"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where a number becomes a finding; the reference of findings derives each.

    Raises:
        FaninError: for what is no positive number, and an error that comes before its warning.

    >>> Limits().total, Limits(total=100.0).layer
    (1000.0, 10.0)
    """

    total: float = 1e3
    """E x² (or the squared gradient) over a run of layers by more than this factor is a warning.

    Four ReLU layers of torch's start, a factor of 6 each, are that much. Three of them cost twice
    the steps of a kept signal, ten do not train."""
    hopeless: float = 1e6
    """The same for an error. Eight of those layers; and the std is then at a thousandth, which is
    what bfloat16 resolves and Adam's usual step moves."""
    by_chance: float = 0.01
    """How often a fair draw of the measured widths may be called unfair, by the law of one draw."""
    dead: float = 0.5
    """The share of units that are constant over the batch, beyond what chance gives: a warning."""
    saturated: float = 0.5
    """The share of entries at which a bounded activation is flat: a warning; 0.95 is an error."""
    entropy: float = 0.3
    """Attention with less of the entropy of uniform attention is a warning, a sixth of it an error.

    Then of 100 keys 4 are seen, of 1000 keys 8; scores of std 1 leave over 0.85."""
    excess_loss: float = 2.0
    """Nats of cross-entropy above that of knowing nothing: a warning; ten times this is an error.

    Logits of std 2 have it. Of a mean squared error, e^this times the target's variance."""
    fastest: float = 1.0
    """A weight that one step moves by more than its own size forgets its start: a warning."""
    slowest: float = 1e-4
    """A weight that Adam moves by less than this part of its size hardly learns: a warning."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (is_number(value) and 0 < value < inf):
                raise _refused(field.name, value, "a positive number")
        for name in ("by_chance", "dead", "saturated", "entropy"):
            if getattr(self, name) > 1:
                raise _refused(name, getattr(self, name), "a share, at most 1")
        if not 1 < self.total <= self.hopeless:
            raise _refused("total", self.total, "over 1, and at most hopeless")

    @property
    def layer(self) -> float:
        """What one layer alone may do: the square root of ``total``, half of it on a log scale.

        A layer whose weights are 10 times too large, so 100 times in the square, does more.
        """
        return float(self.total**0.5)


def _refused(name: str, value: object, wanted: str) -> FaninError:
    return FaninError(
        "this is no limit",
        where=f"fanin.Limits, {name}=",
        found=repr(value)[:60],
        fix=f"give {wanted}",
    )
