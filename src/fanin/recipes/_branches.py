"""Residual streams and branches, read from what the sites of a whole model say."""

from collections.abc import Iterator, Mapping, Sequence

from fanin._site import Site
from fanin.recipes._common import writers

__all__ = ["before_writers", "branches", "layers", "streams"]


def streams(sites: Sequence[Site]) -> Mapping[int, int]:
    """How many branches write into each residual stream, by the stream's number."""
    places = [site.residual for site in writers(sites)]
    return {place.stream: place.count for place in places if place is not None}


def layers(sites: Sequence[Site]) -> float:
    """Transformer layers of all streams: two branches each, attention and feed-forward."""
    return sum(streams(sites).values()) / 2


def before_writers(sites: Sequence[Site]) -> frozenset[str]:
    """The weights whose outputs reach a residual writer with no other weight in between."""
    found = {name for site in writers(sites) for name in site.sources}
    return frozenset(found - {site.name for site in writers(sites)})


def branches(sites: Sequence[Site]) -> Mapping[str, tuple[Site, ...]]:
    """The weights before each residual writer, back to the writer before it or a shortcut.

    That is the writer's branch, save for the first branch of a stream: there the walk runs on into
    what made the stream, a stem, since a site does not tell where the skip path forks off.
    """
    known = {site.name: site for site in sites}
    ends = frozenset(_ends(sites))
    return {site.name: tuple(_walk(site, known, ends)) for site in writers(sites)}


def _ends(sites: Sequence[Site]) -> Iterator[str]:
    for site in sites:
        if site.role in ("residual_out", "shortcut"):
            yield site.name
        if site.role == "shortcut":
            yield from site.sources


def _walk(writer: Site, known: Mapping[str, Site], ends: frozenset[str]) -> Iterator[Site]:
    seen: set[str] = set()
    waiting = list(writer.sources)
    while waiting:
        name = waiting.pop()
        if name in seen or name in ends or name not in known:
            continue
        seen.add(name)
        yield known[name]
        waiting += known[name].sources
