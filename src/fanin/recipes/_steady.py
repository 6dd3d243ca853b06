"""steady, the default: one rule for each kind of place that a weight can stand in.

The rules, their reasons and the measurements behind them are in ``docs/explanation/steady.md``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import sqrt
from types import MappingProxyType
from typing import Final

from fanin._layout import Layout
from fanin._site import Site, SiteRole
from fanin.initializers import (
    ForgetGate,
    Initializer,
    LooksLinear,
    Normal,
    Orthogonal,
    Uniform,
    VarianceScaling,
    xavier_uniform,
)
from fanin.recipes._common import NO_RULE, is_matrix, local_name, others, table
from fanin.recipes._recipe import Choice, Decision, Recipe
from fanin.recipes._steady_around import ALONE, Around, around
from fanin.recipes._steady_plain import deep_start, forward_gain

__all__ = ["DEEP", "steady"]

DEEP: Final = 3
"""So many plain weights in a row, without norm, residual sum or gate, are a run of their own."""

_LONG: Final = 5
"""The same in a residual branch: the first one's run has in it what made the stream."""

_BALDUZZI: Final = "Balduzzi et al. 2017, The shattered gradients problem, section 5"
_FEDUS: Final = "Fedus et al. 2021, Switch transformers, section 2.4"
_FIXUP: Final = "Zhang et al. 2019, Fixup; the even share as in Huang et al. 2020, T-Fixup"
_HE: Final = "He et al. 2015, Delving deep into rectifiers, eq. 10"
_JOZEFOWICZ: Final = "Jozefowicz et al. 2015, An empirical exploration of recurrent architectures"
_LIU: Final = "Liu et al. 2020, Understanding the difficulty of training transformers"
_RADFORD: Final = "Radford et al. 2019, GPT-2, section 2.3, for 1 / sqrt(branches)"
_SAXE: Final = "Saxe et al. 2014, Exact solutions to the nonlinear dynamics of learning"
_SITZMANN: Final = "Sitzmann et al. 2020, Implicit neural representations, section 3.2"

_SINE: Final = re.compile(r"sin\(([0-9.e+-]+)x\)")

_THIRD: Final = VarianceScaling(1 / sqrt(3), distribution="uniform")
"""torch's own std, 1 / sqrt(3 fan_in); at the width of GPT-2, 768, it is GPT-2's 0.02."""


def _weight(site: Site, layout: Layout, beside: Around) -> Choice:
    frequency = _frequency(site)
    if frequency is not None:
        return _sine(site, frequency)
    if _is_gated(layout):
        return Choice(
            xavier_uniform(),
            "The input weights of gates: signal and gradient are kept alike, gate by gate.",
        )
    in_run = site.role in ("weight", "residual_out", "readout") and not site.normalized_output
    if in_run and site.plain_depth >= (_LONG if beside.branch else DEEP):
        start = deep_start(site)
        return Choice(
            start if beside.factor == 1.0 else start * beside.factor,
            f"One of {site.plain_depth} plain weights in a row: {_in_run(start)}",
            f"{_BALDUZZI}; {_SAXE}",
        )
    number = forward_gain(site.activation) * beside.factor
    return Choice(VarianceScaling(number), _said(site, beside), _HE)


def _in_run(start: Initializer) -> str:
    if isinstance(start, LooksLinear):
        return (
            "orthogonal, and paired units pass on only the odd part of the activation, so the run "
            "starts near a linear map."
        )
    return "orthogonal; its own units are not paired, for its place, width or activation."


def _said(site: Site, beside: Around) -> str:
    if site.normalized_output:
        return "A norm follows and divides the std out; this one is the usual, not to be too large."
    if beside.factor != 1.0:
        return (
            "In a branch without norm: its weights together are 1 / sqrt(branches) of what keeps "
            "the signal, each an even share, so that all branches add once what the stream had."
        )
    return "The mean square of the signal is kept: gain / sqrt(fan_in)."


def _residual_out(site: Site, layout: Layout, beside: Around) -> Choice:
    place = site.residual
    if place is None or site.normalized_output:
        return _weight(site, layout, beside)
    if place.norm != "none":
        return Choice(
            _THIRD * (1 / sqrt(place.count)),
            f"One of {place.count} branches of a normalized stream: small beside the skip path, "
            "and their sum does not grow with their number.",
            _RADFORD if place.norm == "pre" else _LIU,
        )
    alone = Around(None, 1 / sqrt(place.count))
    return _weight(site, layout, beside if beside.branch else alone)


def _attention(site: Site, layout: Layout, beside: Around) -> Choice:  # noqa: ARG001
    return Choice(
        _THIRD, "Attention: torch's std, which starts the softmax flat, whatever the width."
    )


def _readout(site: Site, layout: Layout, beside: Around) -> Choice:
    if site.plain_depth >= DEEP or _frequency(site) is not None:
        return _weight(site, layout, beside)
    if site.normalized_input:
        return Choice(
            _THIRD, "A readout of a normalized signal: torch's std, a third of the usual variance."
        )
    return Choice(
        VarianceScaling(1.0), "It makes no more of what it reads: outputs of unit size at most."
    )


def _table(site: Site, layout: Layout, beside: Around) -> Choice:  # noqa: ARG001
    if beside.scores:
        why = "Its rows are added to attention's scores: small, so that no position leads."
        return Choice(Normal(0.02, cut=2), why)
    if beside.beside_tied and "readout" not in site.other_roles:
        return Choice(
            VarianceScaling(1.0, fan="out"),
            "One of this width is the readout too: where rows of both are added, they weigh alike.",
        )
    return table(site)


def _router(site: Site, layout: Layout, beside: Around) -> Choice:  # noqa: ARG001
    return Choice(
        VarianceScaling(sqrt(0.1), cut=2), "A tenth of the variance: no expert leads.", _FEDUS
    )


def _square(site: Site, layout: Layout, beside: Around) -> Choice:  # noqa: ARG001
    why = "Orthogonal, gate by gate: what is remembered neither grows nor fades."
    return Choice(Orthogonal(1.0, keep="norm"), why, _SAXE)


def _sine(site: Site, frequency: float) -> Choice:
    first = site.depth <= 1
    bound = 1 / site.fan_in if first else sqrt(6 / site.fan_in) / frequency
    why = "Layers of sin(w x) have a published start, which sets what frequencies they hold."
    return Choice(Uniform(-bound, bound), why, _SITZMANN)


def _bias(site: Site, beside: Around) -> Decision:
    gates = [block.name for block in site.layout.blocks] if site.layout is not None else []
    if "forget" in gates and not local_name(site).startswith("bias_hh"):
        return Choice(ForgetGate(1.0), "The forget gate starts open.", _JOZEFOWICZ)
    weight = beside.weight
    if weight is None or not is_matrix(weight.layout):
        return others(site)
    reads_inputs = weight.role in ("weight", "readout") and weight.depth == 1 and not gates
    if not (reads_inputs or _frequency(weight) is not None):
        return others(site)
    bound = 1 / sqrt(weight.fan_in)
    why = "Of a layer that reads the inputs, as torch's: with few inputs all units bend at 0 else."
    return Choice(Uniform(-bound, bound), why)


def _frequency(site: Site) -> float | None:
    """w where this weight stands before or after sin(w x), as in a SIREN."""
    for name in (site.activation, site.activation_after):
        found = _SINE.fullmatch(name) if isinstance(name, str) else None
        if found is not None:
            return float(found[1])
    return None


def _is_gated(layout: Layout) -> bool:
    """Whether the outputs are the gates of an LSTM or GRU."""
    return bool({"forget", "update"} & {block.name for block in layout.blocks})


_MATRICES: Final[Mapping[SiteRole, Callable[[Site, Layout, Around], Choice]]] = MappingProxyType(
    {
        "weight": _weight,
        "residual_out": _residual_out,
        "shortcut": _weight,
        "embedding": _table,
        "readout": _readout,
        "query": _attention,
        "key": _attention,
        "value": _attention,
        "query_key_value": _attention,
        "key_value": _attention,
        "gate": _weight,
        "gate_value": _weight,
        "gated": _weight,
        "router": _router,
        "recurrent": _square,
        "projection": _square,
    }
)


def _choose(site: Site, beside: Mapping[str, Around] = MappingProxyType({})) -> Decision:
    own = beside.get(site.name, ALONE)
    if site.role == "bias":
        return _bias(site, own)
    if site.role not in _MATRICES:
        return others(site)
    return _MATRICES[site.role](site, site.layout, own) if is_matrix(site.layout) else None


def _read(sites: Sequence[Site]) -> Callable[[Site], Decision]:
    return partial(_choose, beside=around(sites))


steady: Final = Recipe(
    "steady",
    _choose,
    "by place: gain / sqrt(fan_in); orthogonal, in pairs where the activation asks for it, in a "
    "deep plain run; branches that add up to one; torch's std in transformers; b = 0 but at the "
    "inputs",
    "docs/explanation/steady.md, with a paper for each rule",
    read=_read,
    no_rule=NO_RULE,
)
