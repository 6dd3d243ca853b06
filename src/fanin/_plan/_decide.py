"""From sites to entries: a kept start goes before the recipe, and a gap is shown as one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from fanin._plan._entry import Entry
from fanin._plan._kept import has_start, kept_start, without_owner
from fanin._site import Site
from fanin.initializers import Initializer
from fanin.recipes import Choice, Recipe

__all__ = ["Facts", "decide"]


@final
@dataclass(frozen=True, slots=True)
class Facts:
    """What only the model itself tells: which tensors have no values, which rows are padding."""

    without_values: Collection[str] = ()
    padding_rows: Mapping[str, int] = field(default_factory=dict)


def decide(sites: Sequence[Site], recipe: Recipe, facts: Facts) -> tuple[Entry, ...]:
    """One entry for each site, in their order.

    Raises:
        FaninError: where the recipe refuses this model, or its initializer does not fit.
    """
    ready = recipe.for_model(sites)
    entries = tuple(_entry(site, ready, facts) for site in sites)
    for entry in entries:
        entry.check()
    return entries


def _entry(site: Site, recipe: Recipe, facts: Facts) -> Entry:
    has_values = site.name not in facts.without_values
    row = facts.padding_rows.get(site.name)
    kept = kept_start(site, has_values=has_values)
    if kept is not None and not _overrides(recipe, site):
        return Entry(site=site, decision=kept, by="kept start", padding_row=row)
    said = recipe(site)
    if isinstance(said, Initializer):
        said = Choice(said, f"The recipe {recipe.name} says so.")
    # What has no values, or raw memory for values, cannot be kept.
    if said is not None and (isinstance(said, Choice) or has_start(site, has_values=has_values)):
        return Entry(site=site, decision=said, by="recipe", padding_row=row)
    if kept is not None:
        return Entry(site=site, decision=kept, by="kept start", padding_row=row)
    gap = without_owner(site, recipe.name, recipe.no_rule, has_values=has_values)
    return Entry(site=site, decision=gap, by="nobody", padding_row=row)


def _overrides(recipe: Recipe, site: Site) -> bool:
    """Whether the scheme is about this role; a mark of the model's author it must not pass."""
    return site.role in recipe.overrides and not site.built.startswith("marked")
