"""What did not run in this batch is like its siblings that did: another expert, a skipped layer."""

import re
from collections.abc import Sequence
from dataclasses import replace

from fanin._site import Site

__all__ = ["completed"]


def completed(sites: Sequence[Site]) -> tuple[Site, ...]:
    """The sites, with those that never ran described by a sibling that did.

    A sibling has the same name up to numbers, and the same shape.
    """
    ran: dict[tuple[str, object], Site] = {}
    for site in sites:
        if site.uses and site.layout is not None:
            ran.setdefault((_pattern(site.name), site.layout.shape), site)
    return tuple(_like(site, ran) for site in sites)


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _like(site: Site, ran: dict[tuple[str, object], Site]) -> Site:
    if site.uses or site.role == "buffer":
        return site
    shapes = (
        [site.layout.shape]
        if site.layout is not None
        else [shape for pattern, shape in ran if pattern == _pattern(site.name)]
    )
    for shape in shapes:
        other = ran.get((_pattern(site.name), shape))
        if other is not None:
            return replace(
                other,
                name=site.name,
                uses=0,
                ran_in="like another",
                like=other.name,
                tied=site.tied,
                stored=site.stored,
                dtype=site.dtype,
                trainable=site.trainable,
                built=site.built,
                module=site.module,
            )
    return site
