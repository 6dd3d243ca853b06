"""Writes the page of tested architectures: ``python -m tests.zoo.page``."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.zoo.compare import differences, without_data
from tests.zoo.packages import load
from tests.zoo.record import Architecture, matching
from tests.zoo.registry import ARCHITECTURES, FAMILIES
from torch.distributions import Distribution

import fanin

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "tested-architectures.md"

_INTRODUCTION = """\
# Tested architectures

fanin is run on {count} architectures, {others} of them other people's: built offline in small sizes
from packages as they are on PyPI (versions are in `constraints.txt`), never changed for the test.
For each of them the facts below were read in its source code, by hand, and are kept as a table in
`tests/zoo`; a trace must find exactly these.

- **Writers** are the weights that write into a residual stream: none missed, none false.
  **Shortcuts** are the weights on the other side of such a sum.
- Gates of gated units, readouts, embeddings, tied tensors and parameters that never run are as in
  the code; every parameter and buffer is accounted for once.
- After tracing, also after one that failed in the last module, the model is bit for bit as before:
  values, gradients, training flags, hooks, and the states of random generators.
- After `fanin.initialize` the starts that a model declares for itself (LayerScale, `A_log`, zeroed
  gammas, LoRA's B, padding rows, buffers) are bit for bit as before, and the output is finite.
- **Without data**: the model is on the meta device, where nothing is computed. {meta} of {count}
  are traced so, and say the same; where a model needs data, fanin says so and what to do.

This page is written by `python -m tests.zoo.page`, and a test compares it with what is so.
"""
_HEAD = """
## {family}

| architecture | package | tensors | writers | shortcuts | roles | without data |
| --- | --- | --: | --: | --: | --- | --- |
"""


def page() -> str:
    """The whole page; every package of the zoo has to be installed."""
    with warnings.catch_warnings(), _checked_distributions():
        warnings.simplefilter("ignore")
        rows = {name: _row(one) for name, one in ARCHITECTURES.items()}
    text = _INTRODUCTION.format(
        count=len(rows),
        others=sum(one.package != "torch" for one in ARCHITECTURES.values()),
        meta=sum(row.endswith("| yes |") for row in rows.values()),
    )
    for family, members in FAMILIES.items():
        title = family[0].upper() + family[1:]
        text += _HEAD.format(family=title) + "\n".join(rows[one.name] for one in members) + "\n"
    return text


@contextmanager
def _checked_distributions() -> Iterator[None]:
    """Distributions check their arguments, as in a fresh process.

    Compiling anything in torch turns that check off for the whole process; with it off, a model
    that reads values only there runs without data.
    """
    before = Distribution._validate_args
    Distribution.set_default_validate_args(True)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def _row(architecture: Architecture) -> str:
    load(architecture.package)
    trace = fanin.trace(architecture.build(), architecture.batch(), training=False)
    names = [site.name for site in trace]
    package = "our own" if architecture.package == "torch" else architecture.package
    cells = (
        architecture.name,
        package,
        len(names),
        len(matching(architecture.writers, names)),
        len(matching(architecture.shortcuts, names)),
        _agreement(differences(architecture, trace)),
        _meta(architecture),
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _agreement(found: dict[str, str]) -> str:
    return "differ: " + ", ".join(found) if found else "as in the code"


def _meta(architecture: Architecture) -> str:
    outcome = without_data(architecture)
    if isinstance(outcome, fanin.FaninError):
        return f"no: {outcome.what}"
    return _agreement(outcome) if outcome else "yes"


if __name__ == "__main__":
    PAGE.write_text(page())
