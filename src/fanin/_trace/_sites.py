"""From one recorded run to the sites of the model."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from fanin._layout import Layout
from fanin._layout._modules import known_layout
from fanin._layout._uses import layout_of_channels
from fanin._site import Residual, Site, SiteRole
from fanin._trace._built import built
from fanin._trace._graph import Node
from fanin._trace._names import Tensors
from fanin._trace._propagate import weight_operand
from fanin._trace._roles import Reading, Use
from fanin._trace._signals import Arrival

__all__ = ["sites_of"]

_BY_LAYOUT: dict[str, SiteRole] = {
    "bias": "bias",
    "norm_scale": "norm_scale",
    "norm_shift": "norm_shift",
    "slope": "slope",
    "recurrent": "recurrent",
    "projection": "projection",
    "embedding": "embedding",
}
_TABLE: Sequence[SiteRole] = (
    "residual_out", "shortcut", "embedding", "query_key_value", "key_value", "query", "key",
    "value", "gated", "gate", "gate_value", "router", "readout", "weight", "branch_scale",
    "norm_scale", "norm_shift", "slope", "bias", "elementwise",
)  # fmt: skip
"""Of several uses the first here names the parameter."""


def sites_of(reading: Reading, tensors: list[Tensors], mode: str) -> list[Site]:
    """One site for each of ``tensors``, in their order."""
    return [_site(reading, one, mode) for one in tensors]


def _site(reading: Reading, one: Tensors, mode: str) -> Site:
    tensor = one.tensors[0]
    if one.is_buffer:
        return _plain(one, layout_of_channels(tuple(tensor.shape)), "buffer", mode)
    uses = reading.uses.get(one.name, [])
    layout, is_known = _layout(reading, one, uses)
    role = _united(reading, _role(one.owner, layout if is_known else None, uses), uses)
    site = _plain(one, layout, role, mode if uses else "never")
    others = () if reading.packed_role(uses) == role else dict.fromkeys(use.role for use in uses)
    site = replace(
        site,
        uses=reading.runs(uses),
        other_roles=tuple(other for other in others if other != role),
    )
    places = [use.node for use in uses if use.node in reading.signals.arrivals]
    if role == "branch_scale":
        return replace(site, residual=reading.branch_scales.get(one.name))
    if not places or role in ("bias", "norm_scale", "norm_shift"):
        return site
    return _around(reading, site, places)


def _plain(one: Tensors, layout: Layout | None, role: SiteRole, mode: str) -> Site:
    tensor = one.tensors[0]
    return Site(
        name=one.name,
        layout=layout,
        role=role,
        module=type(one.owner).__name__.removeprefix("Parametrized"),
        ran_in="never" if mode == "never" else mode,  # type: ignore[arg-type]
        uses=0,
        tied=tuple(one.tied),
        stored=one.stored,
        dtype=str(tensor.dtype).removeprefix("torch."),
        trainable=tensor.requires_grad,
        built=built(tensor, one.owner, layout, is_bias=role == "bias"),
    )


def _layout(reading: Reading, one: Tensors, uses: list[Use]) -> tuple[Layout | None, bool]:
    """The layout, and whether a torch layer told it."""
    known = known_layout(one.owner, one.local) if isinstance(one.owner, nn.Module) else None
    if known is not None:
        return reading.with_purposes(known, uses), True
    shape = tuple(one.tensors[0].shape)
    if not uses:
        return (layout_of_channels(shape) if len(shape) < 2 else None), False
    found = reading.layout(shape, uses)
    if found is not None and all(use.role == "bias" for use in uses) and len(shape) == 1:
        found = Layout(shape, "out", role="bias", operation="sum")
    return found, False


def _role(owner: nn.Module, known: Layout | None, uses: list[Use]) -> SiteRole:
    seen = {use.role for use in uses}
    named = _BY_LAYOUT.get(known.role) if known is not None else None
    if named is not None:
        return named
    # What a recurrent layer gives is a state, not what a readout says of it.
    if not seen or isinstance(owner, (nn.RNNBase, nn.RNNCellBase)):
        return "weight"
    return next(role for role in _TABLE if role in seen)


def _united(reading: Reading, role: SiteRole, uses: list[Use]) -> SiteRole:
    """The role that all uses together give: three thirds make a packed weight."""
    return reading.packed_role(uses) or role if len(uses) > 1 else role


def _around(reading: Reading, site: Site, nodes: list[Node]) -> Site:
    """The site with what stands around the first place where it ran."""
    signals, first = reading.signals, nodes[0]
    arrival: Arrival = signals.arrivals[first]
    place: Residual | None = None
    if site.role == "residual_out":
        place = next((reading.writers[one] for one in nodes if one in reading.writers), None)
    elif site.role == "shortcut":
        place = next((reading.shortcuts[one] for one in nodes if one in reading.shortcuts), None)
    return replace(
        site,
        activation=arrival.activation,
        activation_after=signals.after.get(first, "identity"),
        normalized_input=arrival.normalized,
        normalized_output=first in signals.normalized_after,
        sources=_names(list(arrival.sources.values())),
        join=arrival.join,
        summands=reading.summands(first),
        residual=place,
        branch=reading.branches.get(first),
        depth=signals.depth[first],
        plain_depth=signals.plain_depth.get(first, 1),
    )


def _names(nodes: list[Node]) -> tuple[str, ...]:
    names: list[str] = []
    for node in nodes:
        if node.kind == "recurrent":
            names += [one.parameter for one in node.inputs if one.parameter and len(one.shape) > 1]
        else:
            weight = weight_operand(node)
            names += [weight.parameter] if weight is not None else []
    return tuple(dict.fromkeys(names))
