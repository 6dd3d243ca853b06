"""How many kernel taps reach an output and leave an input, borders and stride counted."""

from math import prod

from torch import nn

from fanin._errors import FaninError
from fanin._numbers import is_whole

__all__ = ["Taps", "convolution_taps", "transposed_taps"]

Taps = tuple[float, float]
"""Taps per output, taps per input; averages over positions."""

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
TransposedConvolution = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def convolution_taps(module: Convolution, input_size: tuple[int, ...] | None) -> Taps:
    """``(K, K / stride)`` away from borders; with an input size, counted position by position."""
    if input_size is None:
        kernel = prod(module.kernel_size)
        return float(kernel), kernel / prod(module.stride)
    _check_size(module, input_size)
    counts = [_convolution_axis(module, axis, size) for axis, size in enumerate(input_size)]
    return _averages(module, input_size, counts)


def transposed_taps(module: TransposedConvolution, input_size: tuple[int, ...] | None) -> Taps:
    """``(K / stride, K)`` away from borders; with an input size, counted position by position."""
    if input_size is None:
        kernel = prod(module.kernel_size)
        return kernel / prod(module.stride), float(kernel)
    _check_size(module, input_size)
    counts = [_transposed_axis(module, axis, size) for axis, size in enumerate(input_size)]
    return _averages(module, input_size, counts)


def _averages(
    module: nn.Module, input_size: tuple[int, ...], counts: list[tuple[int, int, int]]
) -> Taps:
    pairs, outputs, inputs = (prod(column) for column in zip(*counts, strict=True))
    if pairs == 0:
        raise FaninError(
            "no tap of the kernel meets the input",
            where=str(module),
            found=f"input_size={input_size}, of which every output sees padding only",
            fix="give the spatial size that the layer really sees, or less padding",
        )
    return pairs / outputs, pairs / inputs


def _convolution_axis(module: Convolution, axis: int, size: int) -> tuple[int, int, int]:
    kernel, stride = module.kernel_size[axis], module.stride[axis]
    dilation = module.dilation[axis]
    reach = dilation * (kernel - 1)
    if isinstance(module.padding, str):
        both = reach if module.padding == "same" else 0
        before = both // 2
    else:
        before = int(module.padding[axis])
        both = 2 * before
    outputs = (size + both - reach - 1) // stride + 1
    _check_outputs(module, size, outputs)
    if module.padding_mode != "zeros":
        return outputs * kernel, outputs, size
    starts = range(-before, -before + kernel * dilation, dilation)
    return sum(_steps_inside(start, stride, outputs, size) for start in starts), outputs, size


def _transposed_axis(module: TransposedConvolution, axis: int, size: int) -> tuple[int, int, int]:
    kernel, stride = module.kernel_size[axis], module.stride[axis]
    dilation, padding = module.dilation[axis], int(module.padding[axis])
    extra = module.output_padding[axis]
    outputs = (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1
    _check_outputs(module, size, outputs)
    starts = range(-padding, -padding + kernel * dilation, dilation)
    return sum(_steps_inside(start, stride, size, outputs) for start in starts), outputs, size


def _steps_inside(start: int, step: int, count: int, size: int) -> int:
    """How many of ``start, start + step, ...`` (``count`` of them) lie in ``range(size)``."""
    first = max(0, -(start // step))
    end = min(count, -((start - size) // step))
    return max(0, end - first)


def _check_size(module: Convolution | TransposedConvolution, input_size: tuple[int, ...]) -> None:
    axes = len(module.kernel_size)
    fits = isinstance(input_size, tuple) and len(input_size) == axes
    if not fits or not all(is_whole(size, least=1) for size in input_size):
        raise FaninError(
            "the input size does not fit the layer",
            where=str(module),
            found=f"input_size={input_size}",
            fix=f"give a tuple of the {axes} spatial sizes of the input, no batch, no channels",
        )


def _check_outputs(module: nn.Module, size: int, outputs: int) -> None:
    if size < 1 or outputs < 1:
        raise FaninError(
            "the input is smaller than the kernel",
            where=str(module),
            found=f"an input axis of {size}",
            fix="give the spatial size that the layer really sees",
        )
