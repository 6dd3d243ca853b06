"""Everything one tour found: the one source of the story, the page and results.json."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, final

from fanin._audit import Report
from fanin._compare import Comparison
from fanin._plan import Plan
from fanin._tour.nets import Network

__all__ = ["FirstLayer", "Layer", "Results", "Training", "read_json", "write_json"]

_FORMAT: Final = {"format": "fanin tour", "schema": 1}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLayer:
    """fc1 of SimpleNet: a few weights, their gradients, and the loss of one pass."""

    weights: tuple[float, ...]
    gradient_before: str
    """What is at ``fc1.weight.grad`` before the backward pass."""
    gradients: tuple[float, ...]
    gradient_rms: float
    loss: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """fan_in Var(w) of one layer of SimpleNet, as torch made it and as fanin drew it.

    ``error`` is one standard error of ``own`` under torch's uniform law, relative.
    """

    name: str
    fan_in: float
    own: float
    error: float
    initialized: float
    start: str


@final
@dataclass(frozen=True, slots=True)
class Training:
    """A net and what came of training it from several starts."""

    network: Network
    comparison: Comparison


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """SimpleNet's layers before and after; the deep net's audits and its plan; the trainings."""

    seed: int
    own: FirstLayer
    initialized: FirstLayer
    layers: tuple[Layer, ...]
    before: Report
    plan: Plan
    after: Report
    trainings: tuple[Training, ...] = ()


def write_json(results: Results) -> str:
    """All of it as JSON text; audits, plan and comparisons as they save themselves."""
    pieces = {name: json.dumps(value) for name, value in (*_FORMAT.items(), ("seed", results.seed))}
    for name in ("own", "initialized"):
        pieces[name] = json.dumps(asdict(getattr(results, name)))
    pieces["layers"] = _list(json.dumps(asdict(layer)) for layer in results.layers)
    for name in ("before", "plan", "after"):
        pieces[name] = getattr(results, name).to_json().strip()
    pieces["trainings"] = _list(map(_training, results.trainings))
    return "{" + ",\n".join(f"{json.dumps(name)}: {text}" for name, text in pieces.items()) + "}\n"


def _list(pieces: Iterable[str]) -> str:
    inside = ",\n".join(pieces)
    return f"[{inside}]"


def _training(training: Training) -> str:
    network = json.dumps(asdict(training.network))
    return f'{{"network": {network}, "comparison": {training.comparison.to_json().strip()}}}'


def read_json(text: str) -> Results:
    """The results that `write_json` wrote."""
    data = json.loads(text)
    return Results(
        seed=data["seed"],
        own=_first_layer(data["own"]),
        initialized=_first_layer(data["initialized"]),
        layers=tuple(Layer(**one) for one in data["layers"]),
        before=Report.from_json(json.dumps(data["before"])),
        plan=Plan.from_json(json.dumps(data["plan"])),
        after=Report.from_json(json.dumps(data["after"])),
        trainings=tuple(map(_read_training, data["trainings"])),
    )


def _first_layer(data: Mapping[str, Any]) -> FirstLayer:
    lists = {name: tuple(data[name]) for name in ("weights", "gradients")}
    return FirstLayer(**{**data, **lists})


def _read_training(data: Mapping[str, Any]) -> Training:
    comparison = Comparison.from_json(json.dumps(data["comparison"]))
    return Training(Network(**data["network"]), comparison)
