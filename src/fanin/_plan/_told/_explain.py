"""What a parameter is, how it starts and why, in plain words."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from math import isnan
from typing import Final

from fanin._layout import Layout
from fanin._plan._entry import Entry
from fanin._site import Site, SiteRole
from fanin._text import number, paragraph
from fanin.initializers import Initializer, ScaledOutputs, VarianceScaling
from fanin.initializers._fans import gain_name, gain_number

__all__ = ["explained", "explained_all", "matching"]

_ROLES: Final[dict[SiteRole, str]] = {
    "weight": "a weight",
    "residual_out": "the last weight of a branch that is added to a residual stream",
    "shortcut": "a weight on the way past a residual branch",
    "embedding": "a table whose rows are looked up",
    "readout": "a readout: no other weight follows it",
    "query": "the weight that makes attention's queries",
    "key": "the weight that makes attention's keys",
    "value": "the weight that makes attention's values",
    "query_key_value": "the weight that makes attention's queries, keys and values",
    "key_value": "the weight that makes attention's keys and values",
    "gate": "the weight of a gate: its activated output multiplies another",
    "gate_value": "the weight whose output a gate multiplies",
    "gated": "the weight of a gate and of what it multiplies, in one",
    "router": "the weight that routes to experts",
    "recurrent": "a recurrent weight: the state passes it at every step",
    "projection": "the projection of a recurrent state",
    "bias": "a bias",
    "norm_scale": "the scale of a normalization",
    "norm_shift": "the shift of a normalization",
    "slope": "the slope of an activation",
    "branch_scale": "a learned scale of a residual branch",
    "elementwise": "a parameter that is added or multiplied entry by entry",
    "buffer": "a buffer",
}


_WITHOUT_AXES: Final = ("buffer", "norm_scale", "norm_shift", "branch_scale")
_MOST: Final = 10
"""Paragraphs that one pattern may have."""


def matching(pattern: str, entries: Sequence[Entry]) -> list[Entry]:
    """The entries of which a name fits the glob, their other and stored names too."""
    return [
        entry
        for entry in entries
        if any(fnmatchcase(name, pattern) for name in (*entry.names, *entry.site.stored))
    ]


def explained_all(entries: Sequence[Entry], recipe: str) -> str:
    """A paragraph for each of the first entries, and how many more there are."""
    paragraphs = [explained(entry, recipe) for entry in entries[:_MOST]]
    if len(entries) > _MOST:
        paragraphs.append(f"And {len(entries) - _MOST} more, from {entries[_MOST].name} on.")
    return "\n\n".join(paragraphs)


def explained(entry: Entry, recipe: str) -> str:
    """A paragraph: what the parameter is, what stands around it, its start, why, whose idea."""
    sentences = [*_identity(entry.site), *_surroundings(entry.site), *_start(entry)]
    why = f"Why: {entry.why.rstrip('.')}." if entry.why else ""
    sentences += [why, f"Paper: {entry.paper}." if entry.paper else "", _owner(entry, recipe)]
    return paragraph(" ".join(sentence for sentence in sentences if sentence))


def _identity(site: Site) -> Iterator[str]:
    of = f", of {_article(site.module)}," if site.module else ""
    axes = f": {site.layout}" if site.layout is not None else ""
    yield f"{site.name}{of} is {_ROLES[site.role]}{axes}."
    if site.layout is None and site.role not in _WITHOUT_AXES:
        yield "Its axes are not known."
    # A recurrent layer is handed its biases in one list with its weights.
    others = [role for role in site.other_roles if (site.role, role) != ("bias", "weight")]
    if others:
        yield f"It is also {', and '.join(_ROLES[role] for role in others)}."
    if site.tied:
        yield f"The same tensor is {', '.join(site.tied)}."
    if site.stored:
        yield f"It is computed from {', '.join(site.stored)}, and written through them."


def _article(noun: str) -> str:
    # An LSTM, a GRU: capitals are spelled out.
    vowels = "AEFHILMNORSX" if noun[:2].isupper() else "AEIO"
    return f"{'an' if noun[0].upper() in vowels else 'a'} {noun}"


def _surroundings(site: Site) -> Iterator[str]:
    yield from _input(site)
    if site.residual is not None:
        place = site.residual
        yield f"Its branch is number {place.index} of {place.count} of its residual stream."
        if place.norm != "none":
            yield f"The stream is {place.norm}-norm."
        if place.scaled_by:
            yield f"The branch is multiplied by {', '.join(place.scaled_by)}."
    if site.normalized_output:
        yield "Its output is normalized, so its std does not reach what follows."
    if site.uses > 1:
        yield f"It runs {site.uses} times in one pass."
    if site.like:
        yield f"It did not run; {site.like} stands for it."
    elif site.ran_in == "never" and site.role != "buffer":
        yield "It did not run."


def _input(site: Site) -> Iterator[str]:
    name = _activation(site)
    source = f" of {' and '.join(site.sources[:3])}" if site.sources else ""
    if name != "identity":
        yield f"Its input is {name}{source}."
    if site.normalized_input:
        yield "Its input is normalized."
    if site.join != "none" and len(site.sources) > 1:
        verb = "added" if site.join == "add" else "concatenated"
        yield f"{len(site.sources)} outputs are {verb} to make its input."


def _activation(site: Site) -> str:
    if isinstance(site.activation, str):
        return site.activation
    name: str = getattr(site.activation, "__name__", "a function found in the run")
    return name


def _start(entry: Entry) -> Iterator[str]:
    initializer = entry.initializer
    if initializer is None:
        yield {"kept": "It stays as it is.", "unclaimed": "Nobody says how it starts."}[entry.state]
        return
    yield f"It starts as {initializer}{_numbers(initializer, entry.axes, entry.std)}."
    if entry.padding_row is not None:
        yield f"Row {entry.padding_row} is padding and stays zero."
    yield from _calibration(entry)


def _numbers(initializer: Initializer, layout: Layout, std: float) -> str:
    """The numbers of the formula, and the std that they make."""
    facts = list(_symbols(initializer, layout))
    if facts:
        return f", with {' and '.join(facts)}: std {number(std)}"
    return "" if isnan(std) or std == 0 else f": std {number(std)}"


def _symbols(initializer: Initializer, layout: Layout) -> Iterator[str]:
    base = initializer.base if isinstance(initializer, ScaledOutputs) else initializer
    if isinstance(base, VarianceScaling):
        if base.fan != "out":
            yield f"fan_in = {layout.fan_in:g}"
        if base.fan != "in" and len({block.size for block in layout.blocks}) <= 1:
            yield f"fan_out = {layout.fan_out:g}"
    gain = getattr(base, "gain", 1.0)
    if not isinstance(gain, float):
        convention = base.convention if isinstance(base, VarianceScaling) else "forward"
        yield f"{gain_name(gain, convention)} = {number(gain_number(gain, convention), 4)}"


def _calibration(entry: Entry) -> Iterator[str]:
    target = getattr(entry.decision, "target_std", None)
    if entry.awaits_calibration:
        yield f"Its output is to have std {number(target)}; this is still to be measured."
    elif entry.factor is not None and entry.factor != 1:
        if not entry.measured:
            yield f"That is with a factor of {_factor(entry)}."
            return
        wanted = f", {number(target)} was wanted" if target is not None else ""
        found = f"its output had std {number(entry.measured)}{wanted}"
        yield f"It is calibrated ({found}): multiplied by {_factor(entry)}."


def _factor(entry: Entry) -> str:
    if isinstance(entry.factor, tuple):
        low, high = min(entry.factor, default=1.0), max(entry.factor, default=1.0)
        return f"{number(low)} to {number(high)}, by output"
    return number(entry.factor)


def _owner(entry: Entry, recipe: str) -> str:
    if entry.by == "rule":
        if entry.rule in entry.why:
            return ""
        return f"Decided by the rule {entry.rule!r}."
    if entry.by == "recipe":
        return f"Decided by the recipe {recipe}."
    if entry.by == "kept start":
        return "A start that the model declares for itself goes before the recipe."
    return 'Say it with plan.replace({name: initializer}), or Keep("why").'
