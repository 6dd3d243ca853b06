"""What was tried for steady and dropped: the same trainings, with one rule changed at a time."""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parents[1] / "src"))

import torch  # noqa: E402
from starts import STARTS  # noqa: E402
from tables import is_complete, machine, table_of  # noqa: E402
from tasks import TASKS  # noqa: E402

from fanin import Site, recipes  # noqa: E402
from fanin.initializers import (  # noqa: E402
    Initializer,
    Orthogonal,
    Uniform,
    VarianceScaling,
    Zeros,
)
from fanin.recipes import Recipe  # noqa: E402
from fanin.recipes._steady_plain import forward_gain, linear_start  # noqa: E402
from run import train_starts  # noqa: E402

Change = Callable[[Site, Mapping[str, Site]], Initializer | None]


def _changed(name: str, change: Change) -> Recipe:
    """steady, save where ``change`` says something."""

    def read(sites: Sequence[Site]) -> Callable[[Site], object]:
        steady = recipes.steady.for_model(sites)
        known = {site.name: site for site in sites}

        def choose(site: Site) -> object:
            other = change(site, known)
            return steady(site) if other is None else other

        return choose

    return Recipe(name, lambda _: None, name, read=read)


def _plain_weights(make: Callable[[Site], Initializer]) -> Change:
    return lambda site, _: make(site) if site.role in ("weight", "readout") else None


def _torch_bias(site: Site, known: Mapping[str, Site]) -> Initializer | None:
    weight = known.get(site.name.replace("bias", "weight"))
    if site.role != "bias" or weight is None:
        return None
    bound = 1 / sqrt(weight.fan_in)
    return Uniform(-bound, bound)


def _ends(factor: Callable[[int], float]) -> Change:
    """All of a branch's factor at its end."""

    def change(site: Site, _: Mapping[str, Site]) -> Initializer | None:
        if site.residual is not None:
            return VarianceScaling(forward_gain(site.activation)) * factor(site.residual.count)
        inner = site.role == "weight" and site.plain_depth == 2
        return VarianceScaling(forward_gain(site.activation)) if inner else None

    return change


def _orthogonal(number: float) -> Change:
    return _plain_weights(lambda s: Orthogonal(1.0 if s.depth == 1 else number, keep="signal"))


ZERO_BIASES = _changed("zero-biases", lambda site, _: Zeros if site.role == "bias" else None)
TORCH_BIASES = _changed("torch-biases", _torch_bias)
MIRRORED = _changed("mirrored", _plain_weights(linear_start))
HIDDEN = _changed("mirrored-hidden", lambda s, _: linear_start(s) if s.role == "weight" else None)
LOUD = _changed(
    "full-readout",
    lambda s, _: VarianceScaling(forward_gain(s.activation)) if s.role == "readout" else None,
)
QUIET = _changed(
    "small-readout", lambda s, _: VarianceScaling(1 / sqrt(3)) if s.role == "readout" else None
)
SHALLOW = (MIRRORED, HIDDEN, LOUD, QUIET)

TRIED: dict[str, tuple[Recipe, ...]] = {
    "simple-sgd": SHALLOW,
    "simple-adam": SHALLOW,
    "wave-4-adam": (*SHALLOW, ZERO_BIASES, TORCH_BIASES),
    "wave-2-adam": (ZERO_BIASES, TORCH_BIASES),
    "relu-10-adam": (ZERO_BIASES, TORCH_BIASES, QUIET),
    "tanh-30-momentum": tuple(
        _changed(f"gain-{number:g}", _orthogonal(number)) for number in (1.0, 1.1, 1.45, 5 / 3)
    ),
    "residual-mlp-32-momentum": (
        _changed("end-zero", _ends(lambda _: 0.0)),
        _changed("end-1/L", _ends(lambda count: 1 / count)),
        _changed("end-1/sqrt(L)", _ends(lambda count: count**-0.5)),
        QUIET,
        LOUD,
    ),
    "residual-mlp-32-adam": (
        _changed("end-zero", _ends(lambda _: 0.0)),
        _changed("end-1/L", _ends(lambda count: 1 / count)),
        _changed("end-1/sqrt(L)", _ends(lambda count: count**-0.5)),
        LOUD,
    ),
}


def main() -> int:
    """Train what is not known yet; then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=TRIED, action="append", help="one task; may be repeated")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder, tables = HERE / "results-tried", []
    for name in options.task or TRIED:
        began = time.time()
        starts = [STARTS["torch_default"], *TRIED[name], STARTS["steady"]]
        rules = {start.name: start for start in starts}
        train_starts(TASKS[name], folder, rules)
        print(table_of(TASKS[name], folder, list(rules)))
        print(f"({time.time() - began:.0f} s)\n", flush=True)
    for name, recipes_tried in TRIED.items():
        names = ["torch_default", *(one.name for one in recipes_tried), "steady"]
        if is_complete(TASKS[name], folder, names):
            tables.append(table_of(TASKS[name], folder, names))
    head = f"""# Tried for steady, and dropped

Made by `python bench/steady/tried.py`, {machine()}.
The protocol is that of `results.md` beside it. Each row is steady with one rule changed.
"""
    (HERE / "tried.md").write_text("\n".join([head, *tables]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
