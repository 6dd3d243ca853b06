"""The layout of a parameter that no torch layer owns, from how a run used its axes."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import prod

from fanin._layout._axes import Layout
from fanin._layout._block import Block
from fanin._layout._words import Axis

__all__ = [
    "layout_of_channels",
    "layout_of_convolution",
    "layout_of_lookup",
    "layout_of_product",
    "with_blocks",
]


def layout_of_product(
    shape: Sequence[int],
    *,
    summed: Collection[int],
    free: Collection[int],
    apart: Collection[int] = (),
) -> Layout | None:
    """A weight of which a product summed over some axes, and gave others to its result.

    ``apart``: axes along which the product ran once for each entry, such as experts. An axis that
    the run did not tell apart, as one of size 1, is taken as what is missing. None if it stays
    unclear which are the inputs and which the outputs.

    >>> print(layout_of_product((4, 8, 16), summed={2}, free={1}, apart={0}))
    matrix product [batch=4, out=8, in=16]
    """
    words: list[Axis | None] = []
    for axis in range(len(shape)):
        if axis in summed:
            words.append("in")
        elif axis in apart and axis not in free:
            words.append("batch")
        else:
            words.append("out" if axis in free else None)
    wanted: Axis
    for wanted in ("out", "in"):
        if wanted not in words and None in words:
            words[words.index(None)] = wanted
    whole: list[Axis] = [word or "batch" for word in words]
    if "out" not in whole or "in" not in whole:
        return None
    return Layout(tuple(shape), tuple(whole))


def layout_of_convolution(
    shape: Sequence[int],
    *,
    places: Sequence[int | None],
    kernel: Sequence[int],
    transposed: bool,
    groups: int,
    stride: Sequence[int],
) -> Layout | None:
    """The weight of a convolution that was called as a function.

    ``places``: for each axis that the convolution saw, the axis of the parameter; None for one of
    size 1, which is the parameter's next free one, if it has any.

    >>> found = layout_of_convolution((3, 3, 4, 8), places=(3, 2, 0, 1), kernel=(3, 3),
    ...     transposed=False, groups=1, stride=(2, 2))
    >>> print(found, found.fan_out)
    convolution [kernel=3, kernel=3, in=4, out=8] 18.0
    """
    seen: list[Axis] = ["in", "out"] if transposed else ["out", "in"]
    seen += ["kernel"] * len(kernel)
    words: list[Axis | None] = [None] * len(shape)
    for word, place in zip(seen, places, strict=True):
        if place is not None:
            words[place] = word
    missing = [word for word, place in zip(seen, places, strict=True) if place is None]
    whole = [word or (missing.pop(0) if missing else "batch") for word in words]
    if "out" not in whole or "in" not in whole:
        return None
    taps = float(prod(kernel))
    strided = taps / prod(stride)
    return Layout(
        tuple(shape),
        tuple(whole),
        groups=groups,
        taps_per_output=strided if transposed else taps,
        taps_per_input=taps if transposed else strided,
        operation="transposed convolution" if transposed else "convolution",
    )


def layout_of_lookup(shape: Sequence[int]) -> Layout:
    """A table whose rows are looked up.

    >>> print(layout_of_lookup((100, 16)))
    lookup [lookup=100, out=16]
    """
    if len(shape) == 1:
        return replace(layout_of_channels(shape), operation="lookup")
    words = " ".join(["lookup", *["out"] * (len(shape) - 1)])
    return Layout(tuple(shape), words, role="embedding", operation="lookup")


def layout_of_channels(shape: Sequence[int]) -> Layout:
    """A parameter that is added or multiplied entry by entry.

    >>> print(layout_of_channels((16,)))
    entry by entry [channel=16]
    """
    return Layout(tuple(shape), " ".join(["channel"] * len(shape)), operation="entry by entry")


def with_blocks(layout: Layout, blocks: Sequence[Block]) -> Layout:
    """The same layout, cut into ``blocks`` along its outputs where they fill them exactly."""
    if sum(block.size for block in blocks) != layout.outputs or layout.axes.count("out") != 1:
        return layout
    if "lookup" in layout.axes or layout.groups > 1:
        return layout
    return replace(layout, blocks=tuple(blocks))
