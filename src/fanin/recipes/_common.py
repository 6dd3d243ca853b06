"""What the recipes of this package agree on: tables, biases, and what is not drawn at all."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeGuard

from fanin._layout import Layout
from fanin._site import Site, SiteRole
from fanin.initializers import Normal, VarianceScaling, Zeros
from fanin.recipes._recipe import Choice, Decision, Keep

__all__ = ["NO_RULE", "is_matrix", "local_name", "others", "table", "writers"]

NO_RULE: Final = (
    "It has no rule for what is added or multiplied elementwise, nor for a weight whose axes are "
    "not known: neither has fans."
)

_KEPT: Final[Mapping[SiteRole, str]] = MappingProxyType(
    {
        "norm_scale": "A normalization starts as its module made it; the scheme leaves it so.",
        "norm_shift": "A normalization starts as its module made it; the scheme leaves it so.",
        "slope": "The slope is part of the activation, and stays as its module made it.",
        "branch_scale": "How a branch starts is the model's own choice, and stays so.",
        "buffer": "A buffer is state, not a weight.",
    }
)


def is_matrix(layout: Layout | None) -> TypeGuard[Layout]:
    """Whether outputs are sums over inputs, so that fans and matrices mean something."""
    return layout is not None and layout.has_fans


def local_name(site: Site) -> str:
    """The parameter's name in the module that owns it."""
    return site.name.rpartition(".")[2]


def others(site: Site) -> Decision:
    """Biases 0; norms, slopes and declared scales kept; None where a scheme has nothing to say."""
    if site.role == "bias":
        return Choice(Zeros, "A bias breaks no symmetry, so it starts at 0.")
    return Keep(_KEPT[site.role]) if site.role in _KEPT else None


def table(site: Site) -> Choice:
    """N(0, 1) for a lookup table; N(0, 1 / width) for one that is the readout as well."""
    if "readout" in site.other_roles:
        return Choice(
            VarianceScaling(1.0, fan="out"),
            "The table is the readout too, and a logit sums over its width.",
        )
    return Choice(Normal(1.0), "A row is looked up, not summed: what is drawn is the output.")


def writers(sites: Sequence[Site]) -> list[Site]:
    """The weights that write into a residual stream."""
    return [site for site in sites if site.role == "residual_out" and site.residual is not None]
