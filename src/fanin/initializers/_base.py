"""What every initializer promises, and the one way its numbers reach a tensor."""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import MISSING, fields
from math import inf, prod, sqrt
from operator import index
from typing import Any, ClassVar, Final, cast

import torch
from torch import Generator, Tensor

from fanin._errors import FaninError
from fanin._layout import Layout
from fanin._numbers import is_whole
from fanin._stream import REACH, Region, Stream
from fanin.initializers._arguments import finite
from fanin.initializers._target import WIDE, fill_target, has_no_data, require_writable

__all__ = [
    "Initializer",
    "arguments",
    "formula_number",
    "std_over_parts",
    "take_region",
    "take_seed",
]


class Initializer(ABC):
    """A frozen value that says what to draw; it holds no seed and draws nothing by itself.

    ``repr`` is the constructor, ``str`` the formula; equal values compare and hash equal, and
    ``0.5 * initializer`` draws half of what ``initializer`` draws.
    """

    __slots__ = ()

    needs_axes: ClassVar[bool] = True
    """Whether a tensor's shape alone is not enough to draw."""

    on_any_device: ClassVar[bool] = False
    """Whether `draw_into` takes tensors of other devices than the CPU too."""

    @abstractmethod
    def std(self, layout: Layout) -> float:
        """The standard deviation of the entries of a weight of this layout."""

    @abstractmethod
    def bound(self, layout: Layout) -> float:
        """The largest magnitude an entry can take; infinite for a normal."""

    @abstractmethod
    def draw_into(self, out: Tensor, layout: Layout, stream: Stream, region: Region | None) -> None:
        """Write ``region`` (all of it when None) of this weight into ``out``, from ``stream``.

        ``out`` is a contiguous tensor of the region's shape, on the CPU unless `on_any_device`; the
        rest of the weight is never written, and its values do not depend on the region asked.
        """

    @abstractmethod
    def times(self, factor: float) -> "Initializer":
        """The initializer of the law of ``factor`` times this one's draws; ``factor * it``.

        A positive factor also keeps the numbers: each is ``factor`` times what it was.
        """

    def __mul__(self, factor: float) -> "Initializer":
        return self.times(finite(repr(self), "factor", factor))

    def __rmul__(self, factor: float) -> "Initializer":
        return self * factor

    def fill_(
        self,
        tensor: Tensor,
        *,
        layout: Layout | None = None,
        seed: int | None = None,
        generator: Generator | None = None,
        name: str = "",
    ) -> Tensor:
        """``tensor`` becomes this initializer's draw for (seed, name), in place; it is returned.

        The values are a function of ``seed``, ``name`` and the place in the tensor, of nothing
        else. With no ``seed`` one number is taken from ``generator``, or from torch's global
        generator, so ``torch.manual_seed`` rules. Without ``layout`` a tensor of two axes is taken
        as ``[out, in]``; one of more is an error where the axes matter.

        Works on parameters, on any float or complex dtype (drawn in float32 or better, rounded
        once), on any device and memory order. On meta and fake tensors it does nothing.

        Raises:
            FaninError: for an integer or sparse tensor, a result of a computation, overlapping
                memory, or a layout that does not fit. The tensor is then untouched.

        >>> import torch
        >>> from fanin.initializers import Uniform
        >>> Uniform(-1, 1).fill_(torch.empty(3), seed=0).abs().max() < 1
        tensor(True)
        """
        require_writable(tensor)
        axes = self._axes_of(tensor, layout)
        if has_no_data(tensor):
            if tensor.is_meta:
                self.std(axes)  # so that what could not be drawn is refused here too
            return tensor
        self.require_range(tensor.dtype, axes)
        stream = Stream(take_seed(seed, generator), name)
        fill_target(
            tensor,
            lambda out: self.draw_into(out, axes, stream, None),
            on_any_device=self.on_any_device,
        )
        return tensor

    def _axes_of(self, tensor: Tensor, layout: Layout | None) -> Layout:
        if layout is None:
            return _plain_layout(self, tensor) if self.needs_axes else _UNREAD
        if not isinstance(layout, Layout):
            raise FaninError(
                "this is not a layout",
                where=f"{self!r}.fill_(tensor, layout=...)",
                found=repr(layout)[:80],
                fix="give fanin.layout(module, 'weight'), or fanin.Layout(shape, 'out in')",
            )
        layout.check(tensor)
        return layout

    def require_range(self, dtype: torch.dtype, axes: Layout) -> None:
        """Raise FaninError where draws for a weight of these axes could be beyond ``dtype``."""
        if dtype in WIDE:
            return
        largest = self.bound(axes)
        if largest == inf:
            largest = REACH * self.std(axes)
        if largest > torch.finfo(dtype).max:
            raise FaninError(
                "the draws do not fit the dtype, and would become infinite",
                where=repr(self),
                found=f"entries up to {largest:.3g}, {dtype} ends at {torch.finfo(dtype).max:.3g}",
                fix="give a smaller start, or use bfloat16 or float32",
            )

    def __repr__(self) -> str:
        first, *rest = arguments(self) or [("", None, False)]
        shown = [f"{value!r}" for _, value, is_set in [first] if is_set]
        shown += [f"{name}={value!r}" for name, value, is_set in rest if is_set]
        return f"{type(self).__name__}({', '.join(shown)})"

    def to_json(self) -> str:
        """This value as JSON text, read back by `from_json`.

        Raises:
            FaninError: if it holds a function that has no name.

        >>> from fanin.initializers import Normal
        >>> Normal(0.02).to_json()
        '{"initializer": "Normal", "std": 0.02}'
        """
        return json.dumps(_to_dict(self))


def _to_dict(initializer: Initializer) -> dict[str, object]:
    found: dict[str, object] = {"initializer": type(initializer).__name__}
    for argument, value, is_set in arguments(initializer):
        if isinstance(value, Initializer):
            found[argument] = _to_dict(value)
        elif is_set and isinstance(value, (int, float, str, tuple)):
            found[argument] = value
        elif is_set:
            raise FaninError(
                "a function cannot be saved",
                where=repr(initializer),
                found=f"{argument}={value!r}",
                fix="name the activation, or save its number: fanin.gain(function)",
            )
    return found


def arguments(initializer: Initializer) -> list[tuple[str, object, bool]]:
    """Each constructor argument: its name, its value, whether it differs from the default."""
    found = []
    for field in fields(cast("Any", initializer)):
        if field.init is False and field.compare is False:
            continue
        value = getattr(initializer, field.name)
        is_set = field.default is MISSING or value != field.default
        found.append((field.name.lstrip("_"), value, is_set))
    return found


_UNREAD: Final = Layout((), "")
"""Stands for the layout where `needs_axes` says that it is not read."""


def _plain_layout(initializer: Initializer, tensor: Tensor) -> Layout:
    if tensor.dim() == 2:
        return Layout(tuple(tensor.shape), "out in")
    if tensor.dim() < 2:
        return Layout(tuple(tensor.shape), " ".join(["out"] * tensor.dim()))
    raise FaninError(
        "the axes of a bare tensor are not known",
        where=repr(initializer),
        found=f"shape {tuple(tensor.shape)}",
        fix="give layout=fanin.layout(module, 'weight'), or name the axes: "
        "layout=fanin.Layout(shape, 'out in kernel kernel')",
    )


def take_seed(seed: object, generator: object = None) -> int:
    """``seed``, or one number from ``generator``, or one from torch's global generator."""
    if generator is not None and not isinstance(generator, Generator):
        raise FaninError(
            "this is not a generator",
            where="fill_",
            found=repr(generator)[:80],
            fix="give a torch.Generator, or seed=0",
        )
    if seed is None:
        device = "cpu" if generator is None else generator.device
        return int(torch.empty((), dtype=torch.int64, device=device).random_(generator=generator))
    if generator is not None:
        raise FaninError(
            "two sources of random numbers",
            where="fill_",
            found=f"seed={seed} and a generator",
            fix="give one of them",
        )
    # NumPy's integers are taken too; what is no seed the stream refuses.
    return Stream(index(seed) if is_whole(seed) else cast("int", seed), "").seed


def std_over_parts(layout: Layout, part_std: Callable[[Layout], float]) -> float:
    """The root mean square of ``part_std`` over all entries of the parts of ``layout``."""
    if 0 in layout.shape:
        return 0.0
    sizes = Counter(part.layout for part in layout.parts())
    entries = {part: count * prod(part.shape) for part, count in sizes.items()}
    total = sum(part_std(part) ** 2 * number for part, number in entries.items())
    return sqrt(total / sum(entries.values()))


def take_region(whole: Tensor, region: Region | None) -> Tensor:
    """The part of ``whole`` that ``region`` names; all of it when None."""
    if region is None:
        return whole
    axes = zip(region.start, region.count, region.step, strict=True)
    return whole[tuple(slice(start, start + count * step, step) for start, count, step in axes)]


def formula_number(value: float) -> str:
    """A number as it reads in a formula.

    >>> formula_number(0.020000000000000004)
    '0.02'
    """
    return f"{value:.6g}"
