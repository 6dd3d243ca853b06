"""The stream written again from docs/reference/stream.md alone, one number at a time.

It shares nothing with fanin: Python integers, numpy.float32 scalars, BLAKE2b of hashlib.
"""

import math
import struct
from hashlib import blake2b

import numpy as np

__all__ = ["Coefficients", "element_index", "key", "normal", "standard_normal", "threefry"]

Coefficients = dict[str, list[np.float32]]
f = np.float32
M = 2**32
ROTATIONS = [(10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20)]


def key(seed: int, name: str) -> list[int]:
    person = b"fanin-stream-v1\0"
    digest = blake2b(name.encode(), digest_size=16, key=seed.to_bytes(8, "little"), person=person)
    return list(struct.unpack("<4I", digest.digest()))


def rotl(x: int, r: int) -> int:
    return (x << r | x >> (32 - r)) % M


def threefry(k: list[int], counter: list[int]) -> list[int]:
    k = [*k, k[0] ^ k[1] ^ k[2] ^ k[3] ^ 0x1BD11BDA]
    x = [(counter[j] + k[j]) % M for j in range(4)]
    for t in range(20):
        r, rr = ROTATIONS[t % 8]
        p, q = (1, 3) if t % 2 == 0 else (3, 1)
        x[0] = (x[0] + x[p]) % M
        x[p] = rotl(x[p], r) ^ x[0]
        x[2] = (x[2] + x[q]) % M
        x[q] = rotl(x[q], rr) ^ x[2]
        if t % 4 == 3:
            s = (t + 1) // 4
            x = [(x[j] + k[(s + j) % 5]) % M for j in range(4)]
            x[3] = (x[3] + s) % M
    return x


def word(seed: int, name: str, substream: int, i: int) -> int:
    b = i // 4
    return threefry(key(seed, name), [b % M, b // M, substream, 0])[i % 4]


def signed(w: int) -> int:
    return w - M if w >= M // 2 else w


def ends(low: float, high: float) -> tuple[np.float32, np.float32]:
    lowest, highest = f(low), f(high)
    if float(lowest) < low:
        lowest = np.nextafter(lowest, f(math.inf))
    if float(highest) > high:
        highest = np.nextafter(highest, f(-math.inf))
    if lowest > highest:
        lowest = highest = f((low + high) * 0.5)
    return lowest + f(0), highest + f(0)


def clamp(v: np.float32, low: np.float32, high: np.float32) -> np.float32:
    return max(low, min(high, v))


def uniform(w: int, low: float, high: float) -> np.float32:
    scale, shift = f((high - low) * 2.0**-24), f((low + high) * 0.5) + f(0)
    n = math.floor(signed(w) / 256)
    return clamp((f(n) + f(0.5)) * scale + shift, *ends(low, high))


def horner(c: list[np.float32], u: np.float32) -> np.float32:
    p = c[-1]
    for j in range(len(c) - 2, -1, -1):
        p = p * u + c[j]
    return p


def standard_normal(w: int, c: Coefficients) -> np.float32:
    s = signed(w)
    t = 2**31 - 1 - s if s >= 0 else 2**31 + s
    x = (f(s) + f(0.5)) * f(2**-31)
    a = (f(t) + f(0.5)) * f(2**-31)
    m, e = math.frexp(float(a * (f(2) - a)))
    log2 = f(e - 1) + horner(c["LOG2"], f(2 * m) - f(1.5))
    tail = log2 < f(-7)
    return x * (horner(c["TAIL"], log2 + f(19)) if tail else horner(c["CENTRE"], log2 + f(3.5)))


def normal(w: int, mean: float, std: float, c: Coefficients) -> np.float32:
    return standard_normal(w, c) * f(std) + (f(mean) + f(0))


def at(q: int) -> int:
    """The word at position q."""
    return (q - 2**31) % M


class Truncated:
    """Section 6: the two counts are found once, then words are replaced one by one."""

    def __init__(self, mean: float, std: float, low: float, high: float, c: Coefficients) -> None:
        self.mean, self.std, self.c = mean, std, c
        below = above = 0
        for g in (2**24, 2**16, 2**8, 1):
            tried = [below + k * g - 1 for k in range(1, 256)]
            below += g * sum(float(standard_normal(at(q), c)) < low for q in tried)
        for g in (2**24, 2**16, 2**8, 1):
            tried = [M - 1 - (above + k * g - 1) for k in range(1, 256)]
            above += g * sum(float(standard_normal(at(q), c)) > high for q in tried)
        self.below, self.span = below, M - below - above
        reach = 3.4e38
        bounds = [
            b if math.isinf(b) else max(-reach, min(reach, mean + b * std)) for b in (low, high)
        ]
        self.ends = ends(*bounds)

    def __call__(self, w: int) -> np.float32:
        q = (w + 2**31) % M
        moved = at(self.below + q * self.span // M)
        return clamp(normal(moved, self.mean, self.std, self.c), *self.ends)


def rounded(v: np.float32, digits: int, lowest_exponent: int, largest: float) -> float:
    """v to nearest, ties to even, in a type of so many significant bits."""
    exact = float(v)
    if exact == 0.0:
        return exact
    exponent = max(math.frexp(exact)[1] - 1, lowest_exponent) - (digits - 1)
    result = round(exact / 2.0**exponent) * 2.0**exponent
    return math.copysign(math.inf, exact) if abs(result) > largest else result


def bfloat16(v: np.float32) -> float:
    return rounded(v, 8, -126, 3.3895313892515355e38)


def float16(v: np.float32) -> float:
    return rounded(v, 11, -14, 65504.0)


def element_index(shape: list[int], place: list[int]) -> int:
    i = 0
    for size, k in zip(shape, place, strict=True):
        i = i * size + k
    return i
