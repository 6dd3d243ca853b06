"""siren: nets of sines, after Sitzmann et al. 2020."""

from collections.abc import Callable, Sequence
from functools import partial
from math import sqrt
from typing import Final

from fanin._errors import FaninError
from fanin._gains import canonical
from fanin._site import Site, SiteActivation
from fanin.initializers import Uniform, VarianceScaling
from fanin.recipes._common import NO_RULE, is_matrix, others, table
from fanin.recipes._recipe import Choice, Decision, Recipe
from fanin.recipes._torch_default import torch_default

__all__ = ["siren"]

_PAPER: Final = (
    "Sitzmann et al. 2020, Implicit neural representations with periodic activation functions; "
    "biases as the authors' code leaves them"
)


def _frequency(activation: SiteActivation) -> float | None:
    """omega of sin(omega x), or None for anything else."""
    try:
        name = canonical(activation)
    except FaninError:
        return None
    if not isinstance(name, str) or not name.startswith("sin"):
        return None
    return float(name.removeprefix("sin(").removesuffix("x)")) if name != "sin" else 1.0


def _refuse(sites: Sequence[Site]) -> str | None:
    if any(_frequency(site.activation) is not None for site in sites):
        return None
    return "no weight gets its input from a sine, and the bound is computed for sines"


def _choose(site: Site, torch_bias: Callable[[Site], Decision] | None = None) -> Decision:
    if site.role == "bias":
        return torch_bias(site) if torch_bias else None
    if not is_matrix(site.layout):
        return others(site)
    if site.role == "embedding":
        return table(site)
    frequency = _frequency(site.activation)
    if frequency is not None:
        why = "A sine of it has the arcsine law again, and the next layer the same normal input."
        gain = sqrt(2) / frequency
        return Choice(VarianceScaling(gain, distribution="uniform"), why, _PAPER)
    bound = 1 / site.layout.fan_in if site.layout.fan_in else 0.0
    why = "The first layer spreads its input over the periods of the sine: U(-1 / n, 1 / n)."
    return Choice(Uniform(-bound, bound), why, _PAPER)


def _read(sites: Sequence[Site]) -> Callable[[Site], Decision]:
    return partial(_choose, torch_bias=torch_default.for_model(sites).choose)


siren: Final = Recipe(
    "siren",
    _choose,
    "w ~ U(-b, b), b = sqrt(6 / fan_in) / omega after sin(omega x), 1 / fan_in in the first layer",
    _PAPER,
    refuse=_refuse,
    read=_read,
    no_rule=NO_RULE,
)
