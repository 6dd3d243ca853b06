"""Draws for parameters, and no others, as code: what the default plan says, or given starts."""

from collections.abc import Sequence

from fanin._audit import _remedies
from fanin._audit._findings.net import Net
from fanin.initializers import Initializer

__all__ = ["anew", "anew_as"]


def anew(net: Net, names: Sequence[str]) -> str:
    """As the default plan draws them; what is not trained, which it would keep, as is usual."""
    sites = [net.sites[name] for name in names]
    if not all(site.trainable for site in sites):
        return anew_as(net, [(site.name, _remedies.start_of(site)) for site in sites])
    return _remedies.start() if _are_all(net, names) else _remedies.redraw(names)


def anew_as(net: Net, starts: Sequence[tuple[str, Initializer | float]]) -> str:
    """By these starts."""
    return _remedies.redraw_as(starts, are_all=_are_all(net, [name for name, _ in starts]))


def _are_all(net: Net, names: Sequence[str]) -> bool:
    return set(names) >= set(net.sites)
