"""Variance from the fans: std = gain / sqrt(fan), the family of Kaiming, Xavier and LeCun."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import ClassVar, Final, Literal, TypeAlias, cast, final, get_args

from torch import Tensor, nn

from fanin._errors import FaninError
from fanin._gains import Activation, Convention, Gated, canonical, gain
from fanin._layout import Layout
from fanin._numbers import is_number
from fanin._stream import Region, Stream
from fanin.initializers._arguments import cut_or_none, finite, known_word
from fanin.initializers._base import Initializer, formula_number, std_over_parts, take_region
from fanin.initializers._elementwise import Normal, draw_normal, draw_uniform

__all__ = [
    "Fan",
    "Gain",
    "VarianceScaling",
    "gain_name",
    "gain_number",
    "leading",
    "require_gain",
]

Gain: TypeAlias = float | str | Gated | Callable[[Tensor], Tensor] | nn.Module
"""A number that multiplies std, or the activation it is computed from."""

Fan = Literal["in", "out", "avg", "geometric"]
Distribution = Literal["normal", "uniform"]


@final
@dataclass(frozen=True, slots=True, repr=False)
class VarianceScaling(Initializer):
    """std = gain / sqrt(fan), of a normal or uniform distribution.

    ``gain`` is a number, or the activation at the layer's input, by name, function or module; it
    stays symbolic until drawn. ``convention`` says which of its gains: ``forward`` is
    1 / sqrt(E φ²), which keeps the signal's mean square; see `fanin.gain`.
    ``fan`` is ``in`` (keeps the signal), ``out`` (keeps the gradient), ``avg`` or ``geometric``
    (between the two). ``factor`` multiplies std. ``cut`` truncates the normal, std kept.
    Each block of the layout is drawn with its own fans.

    Raises:
        FaninError: for an unknown activation, fan or distribution.

    >>> from torch import nn
    >>> from fanin import layout
    >>> print(f"{VarianceScaling('relu').std(layout(nn.Linear(200, 50))):.6f}")
    0.100000
    """

    on_any_device: ClassVar[bool] = True

    gain: Gain = 1.0
    fan: Fan = field(default="in", kw_only=True)
    distribution: Distribution = field(default="normal", kw_only=True)
    cut: float | None = field(default=None, kw_only=True)
    convention: Convention = field(default="forward", kw_only=True)
    factor: float = field(default=1.0, kw_only=True)
    _multiplier: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", require_gain(self.gain, "VarianceScaling"))
        known_word("VarianceScaling", "fan", self.fan, get_args(Fan))
        known_word("VarianceScaling", "distribution", self.distribution, get_args(Distribution))
        known_word("VarianceScaling", "convention", self.convention, get_args(Convention))
        object.__setattr__(self, "factor", finite("VarianceScaling", "factor", self.factor))
        object.__setattr__(self, "cut", cut_or_none("VarianceScaling", self.cut))
        number = self.factor * gain_number(self.gain, self.convention)
        object.__setattr__(self, "_multiplier", number)
        if self.cut is not None and self.distribution == "uniform":
            raise FaninError(
                "a uniform distribution is not cut",
                where="VarianceScaling",
                found=f"distribution='uniform', cut={self.cut}",
                fix="leave cut out, or use distribution='normal'",
            )

    def std(self, layout: Layout) -> float:
        """|factor| gain / sqrt(fan); the root mean square of that over blocks of other sizes."""
        if len({block.size for block in layout.blocks}) > 1:
            return std_over_parts(layout, self._part_std)
        return self._part_std(layout)

    def _part_std(self, layout: Layout) -> float:
        fan = self._fan_of(layout)
        return abs(self._multiplier) / sqrt(fan) if fan else 0.0

    def bound(self, layout: Layout) -> float:
        """sqrt(3) std if uniform; infinite for a normal that is not cut; the largest block's."""
        std = max((self._part_std(part.layout) for part in layout.parts()), default=0.0)
        if self.distribution == "uniform":
            return sqrt(3) * std
        return Normal(std, cut=self.cut).bound(layout)

    def draw_into(self, out: Tensor, layout: Layout, stream: Stream, region: Region | None) -> None:
        """Write the draw; blocks of different std share one stream of numbers."""
        parts = layout.parts() if layout.blocks else ()
        stds = {self._part_std(part.layout) for part in parts} or {self._part_std(layout)}
        if len(stds) == 1:
            self._draw(out, stream, region, stds.pop())
            return
        whole = out.new_empty(layout.shape)
        for part in parts:
            place = Region.of(layout.shape, part.index)
            piece = out.new_empty(part.layout.shape)
            self._draw(piece, stream, place, self._part_std(part.layout))
            whole[part.index] = piece
        out.copy_(take_region(whole, region))

    def _draw(self, out: Tensor, stream: Stream, region: Region | None, std: float) -> None:
        if self.distribution == "uniform":
            draw_uniform(out, stream, region, -sqrt(3) * std, sqrt(3) * std)
        else:
            draw_normal(out, stream, region, 0.0, std, self.cut)

    def _fan_of(self, layout: Layout) -> float:
        if self.fan == "in":
            return layout.fan_in
        if self.fan == "out":
            return layout.fan_out
        if self.fan == "avg":
            return (layout.fan_in + layout.fan_out) / 2
        return sqrt(layout.fan_in * layout.fan_out)

    def times(self, factor: float) -> "VarianceScaling":
        return replace(self, factor=self.factor * factor)

    def __str__(self) -> str:
        if isinstance(self.gain, float):
            size = leading(formula_number(self.factor * self.gain))
        else:
            factor = leading(formula_number(self.factor))
            size = factor + leading(gain_name(self.gain, self.convention))
        fan, shares = _FORMULAS[self.fan]
        if self.distribution == "uniform":
            return f"w ~ U(-b, b), b = {size}sqrt({3 * shares} / {fan})"
        cut = "" if self.cut is None else f", cut at {formula_number(self.cut)} std"
        if shares == 1:
            return f"w ~ N(0, s²), s = {size.strip() or '1'} / sqrt({fan}){cut}"
        return f"w ~ N(0, s²), s = {size}sqrt({shares} / {fan}){cut}"


_FORMULAS: Final[dict[Fan, tuple[str, int]]] = {
    "in": ("fan_in", 1),
    "out": ("fan_out", 1),
    "avg": ("(fan_in + fan_out)", 2),
    "geometric": ("sqrt(fan_in fan_out)", 1),
}
"""What stands under the root, and how many fans it adds up."""


def leading(size: str) -> str:
    """``size`` as a leading factor of a formula; a factor of 1 is not written.

    >>> leading("2") + "Q", leading("1") + "Q"
    ('2 Q', 'Q')
    """
    return "" if size == "1" else f"{size} "


def require_gain(value: object, where: str) -> Gain:
    """``value`` as a finite float, or as an activation in its canonical form."""
    if is_number(value):
        return finite(where, "gain", value)
    return canonical(cast("Activation", value))


def gain_number(value: Gain, convention: Convention = "forward") -> float:
    """The number that a gain stands for."""
    return value if isinstance(value, float) else gain(value, convention=convention)


def gain_name(value: Gain, convention: Convention = "forward") -> str:
    """A gain as it reads in a formula.

    >>> gain_name("relu"), gain_name(1.5)
    ('gain(relu)', '1.5')
    """
    if isinstance(value, float):
        return formula_number(value)
    name = value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)
    return f"gain({name})" if convention == "forward" else f"gain({name}, {convention})"
