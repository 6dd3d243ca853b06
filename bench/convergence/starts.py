"""The starts that are compared: torch's own, the textbook ones, the family's published, steady."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from importlib.util import find_spec
from types import MappingProxyType
from typing import Final

from tasks import Task
from torch import nn

import fanin
from fanin import Plan, Site, recipes
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
from fanin.recipes import Keep, Recipe

__all__ = ["LSUV", "Start", "entrants", "start_of"]

MATRICES: Final = ("weight", "residual_out", "shortcut", "readout", "recurrent", "query_key_value")
AS_BUILT: Final = Keep("As its module made it.")
LSUV: Final = "lsuv package"


@dataclass(frozen=True)
class Start:
    """How a task's model is made, and the plan that is then drawn; ``key`` changes with either.

    ``absent``: why nothing can be trained from it here.
    """

    name: str
    make: Callable[[], nn.Module]
    plan: Plan | None
    formula: str
    key: str
    absent: str = ""
    installed: bool = True
    """Whether it can be trained here; what was trained elsewhere is in the file."""


def entrants(task: Task) -> dict[str, Recipe | None]:
    """The starts of one task by name; None is the model as it is made."""
    own = {} if task.published in GENERAL else {task.published: PUBLISHED[task.published]}
    return {**GENERAL, **own, "steady": recipes.steady}


def start_of(task: Task, name: str, recipe: Recipe | None) -> Start:
    """The start, planned on the task's first batch."""
    if name == LSUV:
        return _of_package(task)
    if recipe is None:
        return Start(name, task.make, None, "as torch made it", "torch")
    try:
        plan = fanin.plan(task.make(), task.data.example()[0], recipe=recipe)
    except fanin.FaninError as error:
        return Start(name, task.make, None, recipe.formula, "", f"does not apply: {error.found}")
    return Start(name, task.make, plan, recipe.formula, _key(plan))


def _key(plan: Plan) -> str:
    """A few letters of what is drawn, in 6 digits: gains may round otherwise elsewhere."""
    lines = sorted(f"{entry.name} {entry.state} {entry.initializer}" for entry in plan)
    return blake2b("\n".join(lines).encode(), digest_size=6).hexdigest()


def _of_package(task: Task) -> Start:
    formula = "orthogonal, then each output of std 1 on one batch, by the package lsuv"
    found = find_spec("lsuv") is not None
    return Start(LSUV, partial(_measured, task), None, formula, "lsuv 0.3", installed=found)


def _measured(task: Task) -> nn.Module:
    """The model after lsuv's own call; the batch is of a seed that nothing else is trained on."""
    from lsuv import lsuv_with_singlebatch

    model = task.make()
    lsuv_with_singlebatch(model, task.batches(99)(1)[0], verbose=False)
    return model


def _everywhere(name: str, initializer: Initializer) -> Recipe:
    """One initializer for every matrix; biases zero; tables and norms as built."""

    def choose(site: Site) -> Initializer | Keep:
        if site.role == "bias":
            return Zeros
        return initializer if site.role in MATRICES else AS_BUILT

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


GENERAL: Final[Mapping[str, Recipe | None]] = MappingProxyType(
    {
        "torch_default": None,
        "keras_default": recipes.keras_default,
        "kaiming": recipes.kaiming,
        "xavier": recipes.xavier,
        "orthogonal": recipes.orthogonal,
        LSUV: None,
        "gpt2": recipes.gpt2,
    }
)

PUBLISHED: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        "kaiming_uniform": _everywhere("kaiming_uniform", kaiming_uniform()),
        "kaiming_fan_out": _everywhere("kaiming_fan_out", kaiming_normal(fan="out")),
        "looks_linear": Recipe("looks_linear", _looks_linear, "mirrored"),
        "orthogonal_1": _everywhere("orthogonal_1", Orthogonal(1.0)),
        "delta_orthogonal": Recipe("delta_orthogonal", _delta_orthogonal, "gain sqrt 2"),
        "forward_gain": Recipe("forward_gain", _forward_gain, "1 / sqrt(E phi²)"),
        "fixup": Recipe("fixup", _fixup, "rules 1 and 2"),
        "lstm": Recipe("lstm", _lstm, "orthogonal, Xavier, forget bias 1"),
        "siren": recipes.siren,
        "small_init": recipes.small_init,
    }
)
