"""The starts that are compared: torch's own, the textbook ones, the family's published, steady."""

import math
from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import nn

from fanin import Site, recipes
from fanin.initializers import (
    DeltaOrthogonal,
    ForgetGate,
    Initializer,
    LooksLinear,
    Orthogonal,
    VarianceScaling,
    Zeros,
    kaiming_normal,
    kaiming_uniform,
    xavier_uniform,
)
from fanin.recipes import Choice, Keep, Recipe

__all__ = ["PUBLISHED", "STARTS", "apply"]

MATRICES = ("weight", "residual_out", "shortcut", "readout", "recurrent", "query_key_value")


def apply(model: nn.Module, recipe: Recipe, sites: Sequence[Site], seed: int) -> None:
    """Draw every parameter for which the recipe has an initializer; the rest stays as built."""
    choose = recipe.for_model(sites)
    parameters = dict(model.named_parameters())
    for site in sites:
        chosen = choose(site)
        initializer = chosen.initializer if isinstance(chosen, Choice) else chosen
        if initializer is None or isinstance(initializer, Keep) or not site.uses:
            continue
        tensor = parameters[site.name]
        initializer.fill_(tensor, layout=site.layout, seed=seed, name=site.name)


def _everywhere(name: str, initializer: Initializer) -> Recipe:
    """One initializer for every matrix; biases zero; tables and norms as built."""

    def choose(site: Site) -> Initializer | None:
        if site.role == "bias":
            return Zeros
        return initializer if site.role in MATRICES else None

    return Recipe(name, choose, str(initializer))


def _looks_linear(site: Site) -> Initializer:
    """Balduzzi et al. 2017."""
    if site.role == "bias":
        return Zeros
    position = "last" if site.role == "readout" else "hidden" if site.depth > 1 else "first"
    return LooksLinear(position=position)


def _delta_orthogonal(site: Site) -> Initializer:
    """Xiao et al. 2018, with the gain of ReLU; the readout as He et al."""
    if site.role == "bias":
        return Zeros
    return kaiming_normal() if site.role == "readout" else DeltaOrthogonal(math.sqrt(2))


def _forward_gain(site: Site) -> Initializer:
    """1 / sqrt(E phi²) for the activation at the input (Bingham & Miikkulainen 2023)."""
    return Zeros if site.role == "bias" else VarianceScaling(site.activation)


def _lstm(site: Site) -> Initializer:
    """Orthogonal recurrent weights and Xavier input weights for each gate, forget bias 1."""
    if site.role == "recurrent":
        return Orthogonal()
    if site.role == "bias":
        return ForgetGate(1.0) if "bias_ih" in site.name else Zeros
    return xavier_uniform()


def _fixup(site: Site) -> Initializer | None:
    """Zhang et al. 2019, rules 1 and 2, without the added scalars; m = 2 in these nets."""
    if site.role in ("residual_out", "readout", "bias"):
        return Zeros
    blocks = 32 if site.module == "Linear" else 8
    return kaiming_normal() * (blocks**-0.5 if site.name.startswith("first") else 1.0)


STARTS = MappingProxyType(
    {
        "torch_default": Recipe("torch_default", lambda _: None, "as torch made it"),
        "kaiming": recipes.kaiming,
        "xavier": recipes.xavier,
        "orthogonal": recipes.orthogonal,
        "steady": recipes.steady,
    }
)

PUBLISHED = MappingProxyType(
    {
        "kaiming_uniform": _everywhere("kaiming_uniform", kaiming_uniform()),
        "kaiming_fan_out": _everywhere("kaiming_fan_out", kaiming_normal(fan="out")),
        "looks_linear": Recipe("looks_linear", _looks_linear, "mirrored"),
        "orthogonal_1": _everywhere("orthogonal_1", Orthogonal(1.0)),
        "delta_orthogonal": Recipe("delta_orthogonal", _delta_orthogonal, "gain sqrt 2"),
        "forward_gain": Recipe("forward_gain", _forward_gain, "1 / sqrt(E phi²)"),
        "fixup": Recipe("fixup", _fixup, "rules 1 and 2"),
        "gpt2": recipes.gpt2,
        "lstm": Recipe("lstm", _lstm, "orthogonal, Xavier, forget bias 1"),
        "siren": recipes.siren,
    }
)

torch.set_num_threads(1)
