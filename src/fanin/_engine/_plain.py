"""The definition of the stream in NumPy: the engine that runs everywhere, and the readable one.

Only integer operations, int-to-float conversion and float32 multiplication and addition are
used, each rounded on its own, so every machine gives the same bits.
"""

from typing import Any, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray

from fanin._engine._distribution import Distribution, Parameters
from fanin._engine._region import Region

__all__ = ["Plain", "standard_normal", "threefry"]

Words: TypeAlias = NDArray[np.uint32]
Floats: TypeAlias = NDArray[np.float32]

# Elements drawn at once: bounds the memory of a draw of any size to some megabytes.
CHUNK = 1 << 15

ROTATIONS = ((10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20))
PARITY = 0x1BD11BDA

# log2(m), m = 1.5 + t in [1, 2): absolute error 1.9e-6.
LOG2 = (
    "0x1.2b8046p-1", "0x1.ec73d2p-1", "-0x1.4858f8p-2", "0x1.223db6p-3",
    "-0x1.2046p-4", "0x1.67d68p-5", "-0x1.a4d8p-6",
)  # fmt: skip
# z / x at log2(1 - x^2) = t - 3.5 in [-7, 0]: relative error 2.5e-7.
CENTRE = (
    "0x1.0c7a14p+1", "-0x1.f05924p-3", "-0x1.5a8518p-9", "0x1.45c3f6p-11",
    "0x1.2b8428p-14", "0x1.372c9ep-21", "-0x1.1be144p-21", "-0x1.1cc8fep-25",
)  # fmt: skip
# z / x at log2(1 - x^2) = t - 19 in [-31, -7]: relative error 1.6e-7.
TAIL = (
    "0x1.39a978p+2", "-0x1.16d816p-3", "-0x1.cce3aep-10", "-0x1.744fb2p-15",
    "-0x1.6ef996p-20", "-0x1.5cc748p-25", "-0x1.1a00d8p-30", "-0x1.3fce02p-34",
    "-0x1.204398p-39", "0x1.0b8d36p-41", "0x1.e130bep-46",
)  # fmt: skip


def threefry(key: Words, counter: tuple[Words, Words, Words, Words]) -> tuple[Words, ...]:
    """Threefry4x32-20 (Salmon, Moraes, Dror, Shaw 2011): 128 bits of key and counter to 128."""
    keys = [*key, key[0] ^ key[1] ^ key[2] ^ key[3] ^ np.uint32(PARITY)]
    a, b, c, d = (word + k for word, k in zip(counter, keys, strict=False))
    for turn in range(20):
        left, right = ROTATIONS[turn % 8]
        a += b
        c += d
        b, d = _rotate(d, right), _rotate(b, left)
        d ^= a
        b ^= c
        if turn % 4 == 3:
            s = turn // 4 + 1
            a, b, c, d = (w + keys[(s + j) % 5] for j, w in enumerate((a, b, c, d)))
            d += np.uint32(s)
    return a, b, c, d


def _rotate(word: Words, by: int) -> Words:
    return (word << np.uint32(by)) | (word >> np.uint32(32 - by))


def words(key: bytes, substream: int, counter: NDArray[np.uint64]) -> Words:
    """The four 32-bit words of each counter, one counter a row."""
    zero = np.zeros(len(counter), np.uint32)
    low, high = counter.astype(np.uint32), (counter >> np.uint64(32)).astype(np.uint32)
    start = (low, high, zero + np.uint32(substream), zero)
    return np.stack(threefry(np.frombuffer(key, "<u4"), start), axis=1)


def _horner(coefficients: tuple[str, ...], t: Floats) -> Floats:
    values = [np.float32(float.fromhex(c)) for c in coefficients]
    result = np.full_like(t, values[-1])
    for value in reversed(values[:-1]):
        result *= t
        result += value
    return result


def standard_normal(word: Words) -> Floats:
    """z(word): the inverse normal CDF at (int32(word) + 0.5) / 2^32 + 0.5, to 1e-6 relative."""
    half, unit = np.float32(0.5), np.float32(2.0**-31)
    s = word.view(np.int32)
    x = (s.astype(np.float32) + half) * unit
    # 1 - |x|, from the bits: the tail keeps its relative precision.
    t = s ^ ((s >> 31) ^ np.int32(0x7FFFFFFF))
    a = (t.astype(np.float32) + half) * unit
    bits = (a * (np.float32(2.0) - a)).view(np.int32)
    exponent = ((bits >> 23) - 127).astype(np.float32)
    mantissa = ((bits & 0x7FFFFF) | 0x3F800000).view(np.float32)
    log2 = exponent + _horner(LOG2, mantissa - np.float32(1.5))
    centre = _horner(CENTRE, log2 + np.float32(3.5))
    tail = _horner(TAIL, log2 + np.float32(19.0))
    return x * np.where(log2 < np.float32(-7.0), tail, centre)


def _values(word: Words, distribution: Distribution, scale: float, shift: float) -> Floats:
    if distribution == Distribution.UNIFORM:
        centred = (word.view(np.int32) >> 8).astype(np.float32) + np.float32(0.5)
    else:
        centred = standard_normal(word)
    return centred * np.float32(scale) + (np.float32(shift) + np.float32(0.0))


def _indices(region: Region, begin: int, end: int) -> NDArray[np.uint64]:
    """The places, in the whole tensor, of elements [begin, end) of a region."""
    flat = np.arange(begin, end, dtype=np.uint64)
    index, stride = np.zeros(len(flat), np.uint64), 1
    axes = zip(region.full, region.start, region.count, region.step, strict=True)
    for full, start, size, step in reversed(list(axes)):
        place = flat % np.uint64(size)
        index += (place * np.uint64(step) + np.uint64(start)) * np.uint64(stride)
        flat, stride = flat // np.uint64(size), stride * full
    return index


def _element_words(
    key: bytes, substream: int, region: Region | None, begin: int, end: int
) -> Words:
    """One word for each of the elements [begin, end); ``begin`` is a multiple of four."""
    four = np.uint64(4)
    if region is None:
        counter = np.arange(begin // 4, (end + 3) // 4, dtype=np.uint64)
        return words(key, substream, counter).ravel()[: end - begin]
    # Indices grow, so neighbours that share a counter stand together: it is hashed once.
    index = _indices(region, begin, end)
    counter = index // four
    new = np.ones(len(index), bool)
    new[1:] = counter[1:] != counter[:-1]
    hashed = words(key, substream, counter[new])
    chosen: Words = hashed[np.cumsum(new) - 1, (index % four).astype(np.intp)]
    return chosen


def _to_bfloat16(value: Floats) -> NDArray[np.int16]:
    bits = value.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16).view(np.int16)


@final
class Plain:
    """Fills tensors by the NumPy functions of this module."""

    name = "plain"

    def interval(self, low: float, high: float) -> tuple[int, int]:
        """How many words, from the bottom, have z < low; and from the top, z > high.

        Words are ordered as signed integers, and searched in base 256: at each of four digits
        the 255 words that would end each candidate count are tried. The count is part of the
        definition, because rounding leaves z not quite monotonic.
        """
        below = above = 0
        for shift in (24, 16, 8, 0):
            step = (np.arange(1, 256, dtype=np.int64) << shift) - 1
            z = standard_normal((below + step - 2**31).astype(np.int32).view(np.uint32))
            below += int((z.astype(np.float64) < low).sum()) << shift
            z = standard_normal((2**31 - 1 - above - step).astype(np.int32).view(np.uint32))
            above += int((z.astype(np.float64) > high).sum()) << shift
        return below, above

    def fill(
        self,
        out: torch.Tensor,
        region: Region | None,
        key: bytes,
        substream: int,
        distribution: Distribution,
        parameters: Parameters,
    ) -> None:
        """Write the numbers of ``region`` (None: the whole) into contiguous ``out``."""
        scale, shift, lowest, highest, first, span = parameters
        flat = out.detach().reshape(-1)
        narrow = flat.dtype == torch.bfloat16
        target: NDArray[Any] = (flat.view(torch.int16) if narrow else flat).numpy()
        for begin in range(0, len(target), CHUNK):
            part = slice(begin, min(begin + CHUNK, len(target)))
            word = _element_words(key, substream, region, part.start, part.stop)
            if distribution == Distribution.BITS:
                target[part] = word.view(np.int32)
                continue
            if distribution == Distribution.TRUNCATED:
                offset = (word ^ np.uint32(1 << 31)).astype(np.uint64)
                moved = np.uint64(first) + ((offset * np.uint64(span)) >> np.uint64(32))
                word = moved.astype(np.uint32) ^ np.uint32(1 << 31)
            value = _values(word, distribution, scale, shift)
            if distribution != Distribution.NORMAL:
                value = np.minimum(np.maximum(value, np.float32(lowest)), np.float32(highest))
            with np.errstate(over="ignore"):  # beyond float16 is infinite, as rounding says
                target[part] = _to_bfloat16(value) if narrow else value
