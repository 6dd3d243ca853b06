"""Whether the words and sizes of a layout fit together."""

from collections.abc import Iterable, Iterator
from math import inf
from typing import Protocol, get_args

from fanin._errors import FaninError, nearest
from fanin._layout._block import Block
from fanin._layout._words import Axis, Role
from fanin._numbers import is_number, is_whole

__all__ = ["as_tuple", "check_sizes", "check_words", "place"]

_AXES = get_args(Axis)
_ROLES = get_args(Role)


class Described(Protocol):
    """What is checked of a layout."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""

    @property
    def axes(self) -> tuple[Axis, ...] | str:
        """The word of each axis."""

    @property
    def groups(self) -> int:
        """How many groups share the channels."""

    @property
    def taps_per_output(self) -> float | None:
        """Kernel positions that reach one output."""

    @property
    def taps_per_input(self) -> float | None:
        """Kernel positions that leave one input."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The matrices along the out axis."""

    @property
    def role(self) -> Role:
        """What the weight does."""


def place(layout: Described) -> str:
    """A layout as an error names it: its shape and axes."""
    return f"Layout({layout.shape}, '{' '.join(layout.axes)}')"


def as_tuple(name: str, given: object) -> tuple[object, ...]:
    """``given`` as a tuple, or FaninError where it has no entries to give."""
    if not isinstance(given, Iterable):
        raise FaninError(
            f"{name} is not a sequence",
            where="Layout",
            found=f"{name}={given!r}"[:80],
            fix="give a tuple, such as (64, 32)",
        )
    return tuple(given)


def check_words(layout: Described) -> None:
    """Raise FaninError unless every axis has one known name, and the role is known."""
    for word, known, what in _words(layout):
        if word not in known:
            raise FaninError(
                what,
                where=place(layout),
                found=repr(word),
                fix=f"use one of: {nearest(word, known)}",
            )
    if len(layout.axes) != len(layout.shape):
        raise FaninError(
            "the layout does not name every axis once",
            where=place(layout),
            found=f"{len(layout.axes)} names for {len(layout.shape)} axes",
            fix="give one word for each axis, such as 'out in kernel kernel'",
        )
    if "channel" in layout.axes and {"out", "in", "lookup"} & set(layout.axes):
        raise FaninError(
            "a channel axis is multiplied elementwise, so it stands beside no out or in",
            where=place(layout),
            found=" ".join(layout.axes),
            fix="name it 'batch' if each of its entries is a matrix of its own, or 'out' or 'in'",
        )


def _words(layout: Described) -> Iterator[tuple[str, tuple[str, ...], str]]:
    yield from ((axis, _AXES, "an axis has an unknown name") for axis in layout.axes)
    yield layout.role, _ROLES, "the role is unknown"


def check_sizes(layout: Described) -> None:
    """Raise FaninError unless shape, taps, groups and blocks are sizes that fit together."""
    if not all(is_whole(size) for size in layout.shape):
        raise FaninError(
            "a shape is made of whole numbers",
            where=place(layout),
            found=layout.shape,
            fix="give the tensor's own shape: Layout(tensor.shape, ...)",
        )
    for name in ("taps_per_output", "taps_per_input"):
        taps = getattr(layout, name)
        if not is_number(taps) or not 0 < taps < inf:
            raise FaninError(
                "taps are a positive number",
                where=place(layout),
                found=f"{name}={taps}",
                fix="leave it out: it is then the size of the kernel",
            )
    _check_groups(layout)
    if layout.blocks:
        _check_blocks(layout)


def _check_groups(layout: Described) -> None:
    if layout.groups == 1:
        return
    channels = next(
        (n for n, word in zip(layout.shape, layout.axes, strict=True) if word in ("out", "in")),
        None,
    )
    if channels is None:
        raise FaninError(
            "groups need an out or in axis",
            where=place(layout),
            found=f"groups={layout.groups}",
            fix="leave groups at 1, or name the out and in axes",
        )
    if not is_whole(layout.groups, least=1) or channels % layout.groups:
        raise FaninError(
            "groups do not divide the channels",
            where=place(layout),
            found=f"{channels} channels in {layout.groups} groups",
            fix="give a number of groups that divides the first of the out and in axes",
        )


def _check_blocks(layout: Described) -> None:
    if not all(isinstance(block, Block) for block in layout.blocks):
        raise FaninError(
            "blocks are made of Block(name, size)",
            where=place(layout),
            found=str(layout.blocks)[:80],
            fix="give blocks=(fanin.Block('gate', 64), fanin.Block('up', 64))",
        )
    outputs = [n for n, word in zip(layout.shape, layout.axes, strict=True) if word == "out"]
    if layout.groups > 1:
        raise FaninError(
            "groups and blocks cannot be told apart",
            where=place(layout),
            found=f"{layout.groups} groups and {len(layout.blocks)} blocks",
            fix="give one of them; blocks can say what groups say",
        )
    if len(outputs) != 1:
        raise FaninError(
            "blocks cut one out axis",
            where=place(layout),
            found=f"{len(layout.blocks)} blocks and {len(outputs)} out axes",
            fix="name exactly one axis 'out', or leave blocks out",
        )
    total = sum(block.size for block in layout.blocks)
    if total != outputs[0]:
        raise FaninError(
            "the blocks do not fill the out axis",
            where=place(layout),
            found=f"blocks of {total} outputs in all, an out axis of {outputs[0]}",
            fix="give blocks whose sizes add up to the out axis",
        )
