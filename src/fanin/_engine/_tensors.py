"""The stream in tensor operations: the engine that draws on whatever device the tensor is.

Every operation rounds once or not at all, and is one kernel: integers, int to float32, and
multiplication and addition of float32, which no compiler can fuse across kernels. There is no
division, no square root, no operation with two roundings (addcmul, lerp, alpha other than one).
Nothing is read back, so a draw does not wait for the device.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from fanin._engine._distribution import Distribution, Parameters
from fanin._engine._plain import CENTRE, LOG2, PARITY, ROTATIONS, TAIL, Plain
from fanin._engine._region import Region

__all__ = ["TensorOperations"]

CHUNK: Final = 1 << 21
"""Words hashed at once: large enough to keep a device busy, with about 100 MB beside the tensor."""

CPU_CHUNK: Final = 1 << 16
"""The same on the CPU, where what counts is the cache."""

SIGN: Final = 1 << 31


@final
@dataclass(frozen=True, slots=True)
class _Rows:
    """A part as rows of equal length: elements ``step`` apart, rows that start anywhere."""

    base: int
    outer: tuple[tuple[int, int], ...]
    """Number and distance of the rows, axis by axis, outermost first."""
    length: int
    step: int
    """At most 3: neighbours in a row share counters, which are hashed once."""

    @classmethod
    def of(cls, region: Region | None, count: int) -> "_Rows":
        base, axes = (0, [(count, 1)]) if region is None else region.runs()
        if axes[-1][1] > 3:
            axes.append((1, 1))
        *outer, (length, step) = axes
        return cls(base, tuple(outer), length, step)

    def counters(self, columns: int) -> int:
        """How many counters cover this many columns of any row."""
        return ((columns - 1) * self.step + 3) // 4 + 1

    def blocks(self, chunk: int) -> Iterator[tuple[slice, slice]]:
        """Rows and columns that together need about ``chunk`` words, or fewer."""
        columns = min(self.length, chunk // self.step)
        rows = max(1, chunk // (4 * self.counters(columns)))
        total = prod(size for size, _ in self.outer)
        for top in range(0, total, rows):
            for left in range(0, self.length, columns):
                yield (
                    slice(top, min(top + rows, total)),
                    slice(left, min(left + columns, self.length)),
                )

    def starts(self, rows: slice, column: int, device: torch.device) -> Tensor:
        """The place in the whole tensor of one column of these rows [rows, 1], int64."""
        number = torch.arange(rows.start, rows.stop, dtype=torch.int64, device=device)
        place = torch.full_like(number, self.base + column * self.step)
        for size, stride in reversed(self.outer):
            place += number % size * stride
            number = number // size
        return place[:, None]


def _signed(word: int) -> int:
    """The int32 with the bits of ``word`` modulo 2^32."""
    return (word + SIGN) % (2 * SIGN) - SIGN


def _rotated(word: Tensor, by: int) -> Tensor:
    # The shift to the right copies the sign, which the mask takes away.
    return (word << by) | ((word >> (32 - by)) & ((1 << by) - 1))


def _hashed(key: bytes, substream: int, counter: Tensor) -> tuple[Tensor, ...]:
    """Threefry4x32-20 of each counter, as four tensors of int32, whose sums wrap."""
    k = [int(word) for word in np.frombuffer(key, "<u4")]
    k.append(k[0] ^ k[1] ^ k[2] ^ k[3] ^ PARITY)
    a = counter.to(torch.int32) + _signed(k[0])
    b = (counter >> 32).to(torch.int32) + _signed(k[1])
    c, d = torch.full_like(a, _signed(substream + k[2])), torch.full_like(a, _signed(k[3]))
    for turn in range(20):
        left, right = ROTATIONS[turn % 8]
        a += b
        c += d
        b, d = _rotated(d, right), _rotated(b, left)
        d ^= a
        b ^= c
        if turn % 4 == 3:
            s = turn // 4 + 1
            for j, word in enumerate((a, b, c, d)):
                word.add_(_signed(k[(s + j) % 5] + (s if j == 3 else 0)))
    return a, b, c, d


def _words(
    rows: _Rows, block: tuple[slice, slice], key: bytes, substream: int, device: torch.device
) -> Tensor:
    """The words of a block [rows, columns], int32."""
    down, across = block
    columns = across.stop - across.start
    first = rows.starts(down, across.start, device)
    ahead = torch.arange(rows.counters(columns), dtype=torch.int64, device=device)
    words = torch.stack(_hashed(key, substream, (first >> 2) + ahead), dim=-1).flatten(1)
    steps = torch.arange(0, columns * rows.step, rows.step, dtype=torch.int64, device=device)
    return words.gather(1, (first & 3) + steps)


def _horner(coefficients: tuple[str, ...], t: Tensor) -> Tensor:
    *lower, highest = (float.fromhex(c) for c in coefficients)
    result = torch.full_like(t, highest)
    for value in reversed(lower):
        result.mul_(t).add_(value)
    return result


def _centred(word: Tensor) -> Tensor:
    """(word + 1/2) / 2^31 of an int32."""
    return word.to(torch.float32).add_(0.5).mul_(2.0**-31)


def _standard_normal(word: Tensor) -> Tensor:
    """z(word), step by step as docs/reference/stream.md has it."""
    a = _centred(word ^ ((word >> 31) ^ 0x7FFFFFFF))
    bits = ((2.0 - a) * a).view(torch.int32)
    mantissa = ((bits & 0x7FFFFF) | 0x3F800000).view(torch.float32)
    log2 = _horner(LOG2, mantissa - 1.5).add_(((bits >> 23) - 127).to(torch.float32))
    tail = _horner(TAIL, log2 + 19.0)
    centre = _horner(CENTRE, log2 + 3.5)
    return _centred(word).mul_(torch.where(log2 < -7.0, tail, centre))


def _moved(word: Tensor, first: int, span: int) -> Tensor:
    """The word at position first + floor(q span / 2^32), for the word at position q."""
    position = word.to(torch.int64) + SIGN
    # The product takes 64 bits, one more than an int64 has: half a position at a time.
    upper, lower = (position >> 16) * span, (position & 0xFFFF) * span
    return (((upper + (lower >> 16)) >> 16) + (first - SIGN)).to(torch.int32)


def _values(word: Tensor, distribution: Distribution, parameters: Parameters) -> Tensor:
    scale, shift, lowest, highest, first, span = parameters
    if distribution == Distribution.UNIFORM:
        value = (word >> 8).to(torch.float32).add_(0.5)
    elif distribution == Distribution.TRUNCATED:
        value = _standard_normal(_moved(word, first, span))
    else:
        value = _standard_normal(word)
    value.mul_(float(np.float32(scale))).add_(float(np.float32(shift)) + 0.0)
    return value if distribution == Distribution.NORMAL else value.clamp_(lowest, highest)


def _to_bfloat16(value: Tensor) -> Tensor:
    """The bits as int16, rounded by integers: some processors' own way flushes subnormals."""
    bits = value.view(torch.int32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).to(torch.int16)


@final
class TensorOperations:
    """Fills tensors by operations of torch, on the tensor's own device."""

    name = "tensors"

    def interval(self, low: float, high: float) -> tuple[int, int]:
        """How many words, from the bottom, have z < low; and from the top, z > high."""
        return Plain().interval(low, high)  # a search on a few thousand words, for any device

    @torch.no_grad()
    def fill(
        self,
        out: Tensor,
        region: Region | None,
        key: bytes,
        substream: int,
        distribution: Distribution,
        parameters: Parameters,
    ) -> None:
        """Write the numbers of ``region`` (None: the whole) into contiguous ``out``."""
        if out.numel() == 0:
            return
        rows = _Rows.of(region, out.numel())
        narrow = out.dtype == torch.bfloat16
        flat = out.detach().reshape(-1)
        target = (flat.view(torch.int16) if narrow else flat).view(-1, rows.length)
        chunk = CPU_CHUNK if out.device.type == "cpu" else CHUNK
        for block in rows.blocks(chunk):
            drawn = _words(rows, block, key, substream, out.device)
            if distribution != Distribution.BITS:
                drawn = _values(drawn, distribution, parameters)
            target[block].copy_(_to_bfloat16(drawn) if narrow else drawn)
            del drawn  # so that the next block has its memory
