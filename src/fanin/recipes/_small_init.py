"""small_init, of the width of the stream; and gpt_neox, which adds its own rule for writers."""

from collections.abc import Callable, Sequence
from functools import partial
from math import sqrt
from typing import Final

from fanin._site import Site
from fanin.initializers import Normal
from fanin.recipes._branches import layers, streams
from fanin.recipes._common import NO_RULE, is_matrix, others, writers
from fanin.recipes._gpt2 import no_stream
from fanin.recipes._recipe import Choice, Decision, Recipe

__all__ = ["gpt_neox", "small_init"]

_NGUYEN: Final = (
    "Nguyen & Salazar 2019, Transformers without tears: improving the normalization of "
    "self-attention"
)
_BLACK: Final = (
    "Black et al. 2022, GPT-NeoX-20B: an open-source autoregressive language model; "
    "2 / (L sqrt(d)) is Wang & Komatsuzaki's, of GPT-J"
)


def _widths(sites: Sequence[Site]) -> set[int]:
    return {site.layout.outputs for site in writers(sites) if site.layout is not None}


def _refuse(sites: Sequence[Site]) -> str | None:
    widths = sorted(_widths(sites))
    if len(widths) > 1:
        return f"the formula needs one width, and the residual streams are {widths} wide"
    return no_stream(sites)


def _refuse_neox(sites: Sequence[Site]) -> str | None:
    if len(streams(sites)) > 1:
        return f"the formula counts the layers of one stream; there are {len(streams(sites))}"
    return _refuse(sites)


def _read(sites: Sequence[Site]) -> Callable[[Site], Decision]:
    return partial(_choose, std=sqrt(0.4 / _widths(sites).pop()), writer_std=None)


def _read_neox(sites: Sequence[Site]) -> Callable[[Site], Decision]:
    width = _widths(sites).pop()
    return partial(_choose, std=sqrt(0.4 / width), writer_std=2 / (layers(sites) * sqrt(width)))


def _choose(site: Site, *, std: float | None = None, writer_std: float | None = None) -> Decision:
    if not is_matrix(site.layout):
        return others(site)
    if std is None:
        return None
    if writer_std is not None and site.role == "residual_out":
        why = "A writer's share of the stream is smaller by the number of layers."
        return Choice(Normal(writer_std), why, _BLACK)
    why = "Every matrix is as Xavier draws the one from width d to 4 d: N(0, 2 / 5d)."
    return Choice(Normal(std), why, _NGUYEN)


_NEEDS_ALL: Final = f"{NO_RULE} The width is read from the whole model, not from one parameter."

small_init: Final = Recipe(
    "small_init",
    _choose,
    "w ~ N(0, 2 / 5d), d the width of the residual stream; b = 0",
    _NGUYEN,
    refuse=_refuse,
    read=_read,
    no_rule=_NEEDS_ALL,
)
gpt_neox: Final = Recipe(
    "gpt_neox",
    _choose,
    "w ~ N(0, 2 / 5d), residual writers N(0, 4 / L² d), L layers of two writers; b = 0",
    _BLACK,
    refuse=_refuse_neox,
    read=_read_neox,
    no_rule=_NEEDS_ALL,
)
