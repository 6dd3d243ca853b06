"""One architecture of the zoo: how it is built and run, and what its source code says it does.

What counts as what, the same for every record:

A **writer** is the last weight of a branch whose output is added to a stream,
``x <- x + branch(x)``, with nothing but linear operations, normalizations and factors between the
weight and the sum. Factors are constants, learned scalars and vectors (LayerScale), routing
weights and gates: the signal that is scaled writes, the factor does not. A branch that ends in an
activation has no writer.
A **shortcut** is a weight on the other side of such a sum, where the stream itself passes.
No writers are weights whose outputs are summed without one of them being the stream: token and
position embeddings, time embeddings added inside a branch, the two linears of SAGEConv, the input
and the hidden weight of a recurrent cell.
A **readout** is a weight after which no other weight follows on the way out of the model.
**Gates** are the two inputs of a gated linear unit: a projection that passes the activation, one
that does not, or both packed in one weight. A squeeze-and-excitation factor is none.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, final

import torch
from torch import Tensor, nn

__all__ = ["Architecture", "Batch", "floats", "matching", "tokens"]

Batch: TypeAlias = Tensor | tuple[object, ...] | dict[str, object]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A model that can be built offline, and the facts that were read in its code.

    Names are patterns: ``{i}`` stands for any number, ``{q,k,v}`` for one of the words.
    """

    name: str
    package: str
    """What has to be importable; ``torch`` for our own."""
    factory: Callable[[], nn.Module]
    batch: Callable[[], Batch]
    writers: tuple[str, ...] = ()
    shortcuts: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    """The projection that passes the activation."""
    gate_values: tuple[str, ...] = ()
    """The one that it multiplies."""
    gated: tuple[str, ...] = ()
    """Both packed in one weight."""
    readouts: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    tied: tuple[tuple[str, str], ...] = ()
    """(first name in named_parameters, another name of the same tensor)."""
    never_ran: tuple[str, ...] = ()
    special: Mapping[str, str] = field(default_factory=dict)
    """Starts that the model declares and a plan must keep bit for bit: pattern and what it is."""
    padding_rows: Mapping[str, int] = field(default_factory=dict)
    """The row of an embedding that must stay zero."""
    undecided: Mapping[str, str] = field(default_factory=dict)
    """Names that the definitions above leave open as gate, embedding or readout, and why. Writers
    and shortcuts are never left open."""
    slow: bool = False

    def build(self) -> nn.Module:
        """The model in evaluation mode, the same every time; generators are left as they were."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.factory().eval()


def matching(patterns: Iterable[str], names: Iterable[str]) -> set[str]:
    """The names that any of the patterns describes.

    >>> sorted(matching(["h.{i}.{a,b}.weight"], ["h.0.a.weight", "h.11.b.weight", "h.0.c.weight"]))
    ['h.0.a.weight', 'h.11.b.weight']
    """
    expressions = [_expression(pattern) for pattern in patterns]
    return {name for name in names if any(e.fullmatch(name) for e in expressions)}


def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{([^{}]*)\}", pattern)
    for place in range(0, len(parts), 2):
        parts[place] = re.escape(parts[place])
    for place in range(1, len(parts), 2):
        words = parts[place].split(",")
        parts[place] = r"\d+" if words == ["i"] else "(?:" + "|".join(map(re.escape, words)) + ")"
    return re.compile("".join(parts))


def tokens(*shape: int, below: int = 64, seed: int = 0) -> Tensor:
    """Whole numbers from 3 (past the usual special tokens) up to ``below``."""
    return torch.randint(3, below, shape, generator=torch.Generator().manual_seed(seed))


def floats(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
