"""Fans, shown with the reason."""

from dataclasses import dataclass
from typing import final

from torch import nn

from fanin._errors import FaninError
from fanin._layout._axes import Layout
from fanin._layout._modules import layout

__all__ = ["Fans", "fans"]


@final
@dataclass(frozen=True, slots=True)
class Fans:
    """``fan_in`` = connections per output, ``fan_out`` = connections per input, and why."""

    fan_in: float
    fan_out: float
    reason: str

    def __str__(self) -> str:
        return f"fan_in {self.fan_in:g}, fan_out {self.fan_out:g}: {self.reason}"


def fans(
    module_or_layout: nn.Module | Layout,
    name: str = "weight",
    *,
    input_size: tuple[int, ...] | None = None,
) -> Fans:
    """``fan_in = connections / outputs``, ``fan_out = connections / inputs``, with the reason.

    Takes a layout, or a module and the name of its parameter. ``input_size`` (spatial sizes) counts
    what zero padding takes away at the borders of a convolution.

    Raises:
        FaninError: for a parameter without fans, or whose axes are not known.

    >>> import torch
    >>> print(fans(torch.nn.ConvTranspose2d(16, 32, 4, stride=2)))
    fan_in 64, fan_out 512: transposed convolution [in=16, out=32, kernel=4, kernel=4]:
    an output sums 16 inputs x 4 taps, an input feeds 32 outputs x 16 taps
    """
    if isinstance(module_or_layout, Layout):
        where = module_or_layout
        if input_size is not None:
            raise FaninError(
                "a layout has counted its taps already",
                where=str(where),
                found=f"input_size={input_size}",
                fix="give it when the layout is made: fanin.layout(module, input_size=...)",
            )
    else:
        where = layout(module_or_layout, name, input_size=input_size)
    return Fans(where.fan_in, where.fan_out, f"{where}: {_reason(where)}")


def _reason(where: Layout) -> str:
    taps_in, taps_out = float(where.taps_per_output or 0), float(where.taps_per_input or 0)
    if "lookup" in where.axes:
        rows = "one row" if taps_in == 1 else f"rows that count {taps_in:g} in all"
        each = "" if taps_out == 1 else f", counting {taps_out:g} in each"
        return f"an output sums {rows}, a row feeds {where.outputs} outputs{each}"
    if where.axes.count("in") > 1:
        return (
            f"an output sums {where.fan_in:g} products of inputs, "
            f"an input of the first kind is in {where.fan_out:g}"
        )
    forward = _count(where.fan_in / taps_in, "input", taps_in)
    backward = _count(where.fan_out / taps_out, "output", taps_out)
    each = " in each block" if where.blocks else ""
    return f"an output sums {forward}, an input feeds {backward}{each}"


def _count(number: float, what: str, taps: float) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}" + (f" x {taps:g} taps" * (taps != 1))
