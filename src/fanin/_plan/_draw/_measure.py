"""One pass over a tensor, in blocks that fit the cache: its checksum, and its sum of squares."""

import ctypes
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Final, final

import torch
from torch import Tensor

from fanin.initializers._target import has_no_data

__all__ = ["Measured", "bytes_of", "checksum", "has_bytes", "measure", "squares"]

_BLOCK: Final = 1 << 15
"""Elements looked at together: they fit the cache, and torch starts no threads for so few."""


_NORMED: Final = (torch.float32, torch.float64, torch.complex64, torch.complex128)


@final
@dataclass(frozen=True, slots=True)
class Measured:
    """``checksum``: CRC-32 of the entries' bytes in row-major order; ``squares``: Σ |w - mean|²."""

    checksum: str
    squares: float


def measure(tensor: Tensor, mean: float = 0.0) -> Measured:
    """Read a float or complex tensor once; ``squares`` is finite only if all its entries are.

    >>> measure(torch.tensor([3.0, 4.0]))
    Measured(checksum='7fd65497', squares=25.0)
    """
    crc, total = 0, 0.0
    for block in _blocks(tensor):
        crc = zlib.crc32(bytes_of(block), crc)
        total += _squares(block, mean)
    return Measured(f"{crc:08x}", total)


def squares(tensor: Tensor, mean: float) -> float:
    """Σ |w - mean|², finite only if all entries are.

    >>> squares(torch.tensor([3.0, 4.0]), 0.0)
    25.0
    """
    return sum(_squares(block, mean) for block in _blocks(tensor))


def checksum(tensors: list[Tensor]) -> str | None:
    """CRC-32 of the bytes of ``tensors``, one after the other; None where one has no dense bytes.

    >>> checksum([torch.tensor([3.0]), torch.tensor([4.0])])
    '7fd65497'
    """
    crc = 0
    for tensor in tensors:
        if not has_bytes(tensor):
            return None
        for block in _blocks(tensor):
            crc = zlib.crc32(bytes_of(block), crc)
    return f"{crc:08x}"


def has_bytes(tensor: Tensor) -> bool:
    """Whether the entries lie in memory one by one: not sparse, quantized, meta, or wrapped."""
    dense = tensor.layout == torch.strided and not tensor.is_quantized
    return dense and not has_no_data(tensor) and not hasattr(tensor, "__tensor_flatten__")


def bytes_of(block: Tensor) -> "ctypes.Array[ctypes.c_char]":
    """The memory of a contiguous tensor on the CPU, for as long as that is there."""
    # Not by numpy(), after which torch forbids to resize the memory, as FSDP does.
    size = block.numel() * block.element_size()
    return (ctypes.c_char * size).from_address(block.data_ptr())


def _blocks(tensor: Tensor) -> Iterator[Tensor]:
    """Flat pieces of the tensor in row-major order, on the CPU."""
    tensor = tensor.detach().resolve_neg().resolve_conj()
    if tensor.is_contiguous():
        yield from _pieces(tensor.flatten())
        return
    for row in tensor:
        yield from _pieces(row.contiguous().flatten())


def _pieces(flat: Tensor) -> Iterator[Tensor]:
    return (flat[start : start + _BLOCK].cpu() for start in range(0, flat.numel(), _BLOCK))


def _squares(block: Tensor, mean: float) -> float:
    wide = block if block.dtype in _NORMED else block.float()
    if mean != 0:
        wide = wide - mean
    norm = float(torch.linalg.vector_norm(wide))
    if isfinite(norm) and norm > 1e-15:
        return norm**2
    # Squares beyond what float32 holds, or below; or zeros; or entries that are no numbers.
    accurate = torch.complex128 if wide.is_complex() else torch.float64
    return float(torch.linalg.vector_norm(wide, dtype=accurate)) ** 2
