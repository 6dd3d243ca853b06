"""Starts that a model declares for itself, and that no recipe overwrites."""

from typing import Final

from fanin._plan._entry import Unclaimed
from fanin._site import Site
from fanin.initializers import Constant, Ones, Zeros
from fanin.recipes import Choice, Keep

__all__ = ["UNSEEN", "has_start", "kept_start", "without_owner"]

UNSEEN: Final = Keep(
    "A buffer without values here: only its module can fill it, to_empty does not."
)
"""What a plan made on the meta device says of a buffer."""
_BY_HAND: Final = {
    "branch_scale": "A learned scale of a branch",
    "elementwise": "Added or multiplied entry by entry",
}
"""Roles whose module knows better than any recipe."""
_NORMS: Final = {"norm_scale": (Ones, "scale", "1"), "norm_shift": (Zeros, "shift", "0")}


def kept_start(site: Site, *, has_values: bool) -> Choice | Keep | None:
    """The start that the model declares for this parameter; None where it declares none.

    ``has_values``: False on the meta device, where there is nothing to keep.

    >>> kept_start(Site(name="A_log", layout=None, built="marked _no_reinit"), has_values=True)
    Keep(why='Its author marked it: _no_reinit.')
    """
    if site.role == "buffer" and not has_values:
        return UNSEEN
    if site.role == "buffer":
        return Keep("A buffer: its module fills it.")
    if site.built.startswith("marked"):
        return Keep(f"Its author marked it: {site.built.removeprefix('marked ')}.")
    if not has_start(site, has_values=has_values):
        return _known_start(site)
    return _untouched(site) or _declared(site)


def _untouched(site: Site) -> Keep | None:
    """What no recipe touches, whatever its values are."""
    if not site.trainable:
        return Keep("It is not trained: its requires_grad is False.")
    if site.role in _NORMS:
        return Keep(f"The {_NORMS[site.role][1]} of a norm: as its module made it{_value(site)}.")
    if site.role in _BY_HAND:
        return Keep(f"{_BY_HAND[site.role]}: as its module made it{_value(site)}.")
    return None


def has_start(site: Site, *, has_values: bool) -> bool:
    """Whether there is something to keep: not on the meta device, not in raw memory."""
    return has_values and site.built != "not finite"


def _known_start(site: Site) -> Choice | None:
    """The start of a parameter that has no values, where all its kind start alike."""
    if site.role in _NORMS:
        start, word, value = _NORMS[site.role]
        return Choice(start, f"The {word} of a norm starts at {value}; it has no values to keep.")
    if site.role == "slope" and site.module == "PReLU":
        return Choice(Constant(0.25), "torch starts a PReLU so; it has no values to keep.")
    return None


def _declared(site: Site) -> Keep | None:
    """A weight of zeros, ones or the identity is no accident; nor is a bias of other numbers."""
    if not site.built or (site.role == "bias" and site.built == "zeros"):
        return None
    return Keep(f"Its module declares it: {site.built}.")


def _value(site: Site) -> str:
    return f", {site.built}" if site.built else ""


def without_owner(site: Site, recipe: str, no_rule: str, *, has_values: bool) -> Unclaimed:
    """Why nobody says how this parameter starts."""
    why = no_rule or f"The recipe {recipe} has no rule for the role {site.role}."
    if site.built == "not finite":
        return Unclaimed(f"Its numbers are not finite. {why}")
    if not has_values and site.role != "weight":
        return Unclaimed(f"It has no values here that could be kept. {why}")
    return Unclaimed(why)
