"""A trace against the table: for each fact what was missed and what is false."""

from collections.abc import Iterable

import torch
from tests.zoo.record import Architecture, Batch, matching

import fanin
from fanin import FaninError, Site, Trace

__all__ = ["differences", "run", "without_data"]

_BY_ROLE = {
    "writers": "residual_out",
    "shortcuts": "shortcut",
    "gates": "gate",
    "gate_values": "gate_value",
    "gated": "gated",
    "readouts": "readout",
    "embeddings": "embedding",
}
_LEFT_OPEN = ("gates", "gate_values", "gated", "readouts", "embeddings")


def run(model: object, batch: Batch) -> object:
    """The model's output."""
    assert callable(model)
    if isinstance(batch, tuple):
        return model(*batch)
    return model(**batch) if isinstance(batch, dict) else model(batch)


def differences(architecture: Architecture, trace: Trace) -> dict[str, str]:
    """Fact: what the trace missed, and what it says that the code does not. Empty: they agree."""
    sites = {site.name: site for site in trace}
    open_names = matching(architecture.undecided, sites)
    found: dict[str, str] = {}
    for fact, role in _BY_ROLE.items():
        skipped = open_names if fact in _LEFT_OPEN else set()
        wanted = matching(getattr(architecture, fact), sites) - skipped
        seen = {name for name, site in sites.items() if _plays(site, role)} - skipped
        _note(found, fact, wanted, seen)
    tied = {(name, other) for name, site in sites.items() for other in site.tied}
    _note(found, "tied", set(architecture.tied), tied)
    idle = {name for name, site in sites.items() if site.uses == 0 and site.role != "buffer"}
    _note(found, "never ran", matching(architecture.never_ran, sites), idle)
    return found


def without_data(architecture: Architecture) -> dict[str, str] | FaninError:
    """`differences` of a model on the meta device, or what fanin says in its place.

    A model that torch itself cannot make without data is made with data and moved.
    """
    try:
        with torch.device("meta"):
            model = architecture.factory().eval()
    except RuntimeError:
        model = architecture.build().to("meta")
    try:
        return differences(architecture, fanin.trace(model, architecture.batch(), training=False))
    except FaninError as error:
        return error


def _plays(site: Site, role: str) -> bool:
    """A tied table plays two roles; a writer whose stream is the output stays a writer."""
    if role == "readout" and site.role == "residual_out":
        return False
    return role == site.role or (role in ("readout", "embedding") and role in site.other_roles)


def _note(
    found: dict[str, str], fact: str, wanted: Iterable[object], seen: Iterable[object]
) -> None:
    missed, false = set(wanted) - set(seen), set(seen) - set(wanted)
    parts = [("missed", missed), ("false", false)]
    text = "; ".join(f"{word} {sorted(map(str, names))}" for word, names in parts if names)
    if text:
        found[fact] = text
