"""torch_default: in distribution what the `reset_parameters` of torch's own layers draws."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isclose, prod, sqrt
from types import MappingProxyType
from typing import Final, Literal

from fanin._layout import Layout
from fanin._site import Site
from fanin.initializers import (
    Constant,
    Initializer,
    Normal,
    Ones,
    Uniform,
    VarianceScaling,
    Zeros,
    xavier_uniform,
)
from fanin.recipes._common import is_matrix, local_name
from fanin.recipes._recipe import Choice, Decision, Keep, Recipe

__all__ = ["torch_default"]


def _by(fan: Literal["in", "out"]) -> VarianceScaling:
    # kaiming_uniform_(a=sqrt(5)): gain² = 2 / (1 + 5), so the bound is 1 / sqrt(fan).
    return VarianceScaling(1 / sqrt(3), fan=fan, distribution="uniform")


def _bounded(layout: Layout, bound: float, form: VarianceScaling) -> Initializer:
    """U(-bound, bound), written with the fan that gives it where one does."""
    return form if isclose(form.bound(layout), bound) else Uniform(-bound, bound)


def _is_transposed(site: Site) -> bool:
    return site.module.startswith("ConvTranspose")


def _bound(site: Site, layout: Layout) -> float:
    """1 / sqrt(the tensor's second axis times its kernel), whatever that axis is."""
    fan: float
    if site.module == "Bilinear":  # the first of its inputs
        fan = layout.fan_in * layout.outputs / layout.fan_out
    elif "lookup" in layout.axes:  # a Linear's weight that an embedding shares
        fan = layout.outputs
    elif _is_transposed(site):
        rows, columns = layout.matrix_shape()
        fan = rows * (columns // layout.channels_shape()[1])
    else:
        fan = layout.matrix_shape()[1]
    return 1 / sqrt(fan) if fan else 0.0


def _dense(site: Site, weights: Mapping[str, Site]) -> Decision:
    if local_name(site) == "bias":
        return _bias(site, weights)
    if local_name(site) != "weight" or not is_matrix(site.layout):
        return None
    bound = _bound(site, site.layout)
    if _is_transposed(site):
        why = "By torch's reset: U(-b, b), b = 1 / sqrt(fan_out), outputs taken for inputs."
        return Choice(_bounded(site.layout, bound, _by("out")), why)
    why = "By torch's reset: U(-b, b), b = 1 / sqrt(fan_in), a third of what keeps a signal."
    if site.module == "Bilinear":
        why = "By torch's reset: U(-b, b), b = 1 / sqrt(width of the first input)."
    return Choice(_bounded(site.layout, bound, _by("in")), why)


def _bias(site: Site, weights: Mapping[str, Site]) -> Decision:
    if site.module == "NonDynamicallyQuantizableLinear":
        return Choice(Zeros, "By torch's reset: the biases of attention are 0, out_proj's too.")
    path = site.name.rpartition(".")[0]
    owner = weights.get(f"{path}.weight" if path else "weight")
    # The bias has no fan of its own; without its weight nothing is known of it.
    if owner is None or not is_matrix(owner.layout):
        return None
    bound = _bound(owner, owner.layout)
    return Choice(
        Uniform(-bound, bound), "By torch's reset: U(-b, b), b = 1 / sqrt(fan) of its weight."
    )


def _recurrent(site: Site, weights: Mapping[str, Site]) -> Decision:  # noqa: ARG001
    layout = site.layout
    if layout is None:
        return None
    why = "By torch's reset: U(-b, b), b = 1 / sqrt(hidden size), for all of the layer."
    if local_name(site).startswith("weight_hr"):
        return Choice(_by("in"), why)
    hidden = layout.blocks[0].size if layout.blocks else layout.outputs
    bound = 1 / sqrt(hidden)
    if not is_matrix(layout):
        return Choice(Uniform(-bound, bound), why)
    return Choice(_bounded(layout, bound, _by("out")), why)


def _attention(site: Site, weights: Mapping[str, Site]) -> Decision:  # noqa: ARG001
    name, layout = local_name(site), site.layout
    if name in ("bias_k", "bias_v") and layout is not None:
        why = "By torch's reset: xavier_normal_, which takes the token's width for both fans."
        return Choice(Normal(1 / sqrt(prod(layout.shape))), why)
    if name == "in_proj_bias":
        return Choice(Zeros, "By torch's reset: the biases of attention are 0.")
    if not is_matrix(layout):
        return None
    form = xavier_uniform()
    factor = sqrt(6 / (layout.fan_in + layout.outputs)) / form.bound(layout)
    if isclose(factor, 1):
        return Choice(form, "By torch's reset: xavier_uniform_.")
    return Choice(
        form * factor,
        "By torch's reset: xavier_uniform_ of query, key and value as one, of thrice the fan_out.",
    )


def _table(site: Site, weights: Mapping[str, Site]) -> Decision:  # noqa: ARG001
    return Choice(Normal(1.0), "By torch's reset: rows of N(0, 1).")


def _norm(site: Site, weights: Mapping[str, Site]) -> Decision:  # noqa: ARG001
    scale = local_name(site) == "weight"
    return Choice(Ones if scale else Zeros, "By torch's reset: a normalization is the identity.")


def _slope(site: Site, weights: Mapping[str, Site]) -> Decision:  # noqa: ARG001
    return Choice(
        Constant(0.25),
        "By torch's reset: the slope of a PReLU is 0.25, unless its layer was given another.",
    )


_Rule = Callable[[Site, Mapping[str, Site]], Decision]
_RULES: Final[Mapping[str, _Rule]] = MappingProxyType(
    {
        **dict.fromkeys(("Linear", "NonDynamicallyQuantizableLinear", "Bilinear"), _dense),
        **dict.fromkeys((f"Conv{t}{n}d" for t in ("", "Transpose") for n in (1, 2, 3)), _dense),
        **dict.fromkeys(("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"), _recurrent),
        **dict.fromkeys(("Embedding", "EmbeddingBag"), _table),
        **dict.fromkeys(("LayerNorm", "GroupNorm", "RMSNorm", "SyncBatchNorm"), _norm),
        **dict.fromkeys((f"{k}Norm{n}d" for k in ("Batch", "Instance") for n in (1, 2, 3)), _norm),
        "MultiheadAttention": _attention,
        "PReLU": _slope,
    }
)


def _choose(site: Site, weights: Mapping[str, Site] = MappingProxyType({})) -> Decision:
    if site.role == "buffer":
        return Keep("A buffer is state, not a weight.")
    rule = _RULES.get(site.module)
    return rule(site, weights) if rule else None


def _read(sites: Sequence[Site]) -> Callable[[Site], Decision]:
    named = {name: site for site in sites for name in (site.name, *site.tied)}
    return partial(_choose, weights=MappingProxyType(named))


torch_default: Final = Recipe(
    "torch_default",
    _choose,
    "as reset_parameters of torch's layers: mostly U(-b, b), b = 1 / sqrt(fan_in)",
    read=_read,
    no_rule="torch has a default only for its own layers; this parameter belongs to another "
    "module, and nothing but that module knows how it starts.",
)
