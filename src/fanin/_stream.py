"""The owner of randomness: numbers as a pure function of (seed, name, element index).

No global state is read or written. A part of a tensor is drawn alone, at the cost of the part,
and equals the same part of the whole bit for bit, whatever the engine, the number of threads or
the order of the calls. ``docs/reference/stream.md`` defines every bit.
"""

import math
import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, final

import torch

from fanin._engine import Distribution, Parameters, Region, draws_on, engine
from fanin._errors import FaninError

__all__ = [
    "LARGEST",
    "REACH",
    "Region",
    "Stream",
    "fill_bits",
    "fill_normal",
    "fill_truncated_normal",
    "fill_uniform",
]

FLOATS: Final = frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16})
# The largest |z| of any word is 6.338; the result of a draw must stay a finite float32.
LARGEST: Final = 3.4e38
REACH: Final = 6.34
# A truncated normal drawn from fewer words than this is a staircase, not a density.
FEWEST_WORDS: Final = 1 << 16


@final
@dataclass(frozen=True, slots=True)
class Stream:
    """The 32-bit words f(seed, name, substream, element index), element by element.

    ``seed`` is in [0, 2^64); ``name`` is the canonical name of the parameter; ``substream`` in
    [0, 2^32) gives independent numbers under the same name. Raises FaninError otherwise.

    Threefry4x32-20 of Salmon, Moraes, Dror and Shaw (2011), keyed by a hash of seed and name.

    >>> " ".join(f"{word:08x}" for word in Stream(0, "weight").key())
    'e88d9c49 5c6fafdc 83fb5803 9e7fe8c8'
    """

    seed: int
    name: str
    substream: int = 0

    def __post_init__(self) -> None:
        _require_integer("seed", self.seed, 64)
        _require_integer("substream", self.substream, 32)
        try:
            self.name.encode()
        except (AttributeError, UnicodeEncodeError):
            raise FaninError(
                "the name of a stream is not text that UTF-8 can write",
                where="Stream",
                found=repr(self.name),
                fix="give the name of the parameter as a str without lone surrogates",
            ) from None

    def key(self) -> tuple[int, int, int, int]:
        """The four 32-bit key words: BLAKE2b-128 of the name, keyed by the seed.

        >>> Stream(0, "weight").key() == Stream(1, "weight").key()
        False
        """
        first, second, third, fourth = struct.unpack("<4I", self.digest())
        return first, second, third, fourth

    def digest(self) -> bytes:
        """The key as 16 bytes, each word little-endian.

        >>> len(Stream(0, "weight").digest())
        16
        """
        return blake2b(
            self.name.encode(),
            digest_size=16,
            key=self.seed.to_bytes(8, "little"),
            person=b"fanin-stream-v1\0",
        ).digest()


def _require_integer(what: str, value: int, bits: int) -> None:
    if type(value) is not int or not 0 <= value < 1 << bits:
        raise FaninError(
            f"the {what} of a stream is not an integer in [0, 2**{bits})",
            where="Stream",
            found=repr(value),
            fix=f"give {what} as an int, for example 0",
        )


def fill_uniform(
    out: torch.Tensor,
    stream: Stream,
    low: float,
    high: float,
    region: Region | None = None,
) -> None:
    """U(low, high): variance (high - low)^2 / 12, on 2^24 evenly spaced points.

    ``out`` is a contiguous tensor of float32, float64, bfloat16 or float16 with the shape of
    ``region`` (None: out is the whole), on the CPU or where `draws_on` allows it. The float32
    values never leave [low, high], and stay strictly inside a symmetric interval; bfloat16 and
    float16 are one rounding of them, float64 the same numbers. Raises FaninError, before anything
    is written, for any other tensor, for ``low > high`` and for bounds beyond float32.

    >>> weight = torch.empty(2, 3)
    >>> fill_uniform(weight, Stream(0, "weight"), -0.5, 0.5)
    >>> bool((weight.abs() < 0.5).all())
    True
    """
    if not -LARGEST <= low <= high <= LARGEST:
        raise _parameter_error(
            "the uniform has no such bounds",
            f"low={low}, high={high}",
            "give low <= high, both within 3.4e38",
        )
    region = _checked(out, region, FLOATS)
    lowest, highest = _bounds(low, high)
    scale, shift = (high - low) * 2.0**-24, (low + high) * 0.5
    _fill(out, stream, region, Distribution.UNIFORM, (scale, shift, lowest, highest, 0, 0))


def fill_normal(
    out: torch.Tensor,
    stream: Stream,
    mean: float,
    std: float,
    region: Region | None = None,
) -> None:
    """N(mean, std^2), cut by the 32 bits of a word at 6.338 std.

    ``out`` and ``region`` as for ``fill_uniform``. Raises FaninError, before anything is written,
    for a tensor that does not fit, for ``std < 0`` and for values beyond float32.

    >>> weight = torch.empty(4)
    >>> fill_normal(weight, Stream(0, "weight"), mean=0.0, std=1.0)
    >>> [f"{value:.5f}" for value in weight.tolist()]
    ['0.84368', '0.64613', '0.13257', '-1.12037']
    """
    _check_normal(mean, std)
    region = _checked(out, region, FLOATS)
    _fill(out, stream, region, Distribution.NORMAL, (std, mean, 0.0, 0.0, 0, 0))


def fill_truncated_normal(
    out: torch.Tensor,
    stream: Stream,
    mean: float,
    std: float,
    low: float,
    high: float,
    region: Region | None = None,
) -> None:
    """N(mean, std^2) given that it lies in [mean + low std, mean + high std].

    ``low`` and ``high`` are in units of ``std``, and may be infinite; ``std`` is that of the
    normal before the cut (the values vary less). The float32 values never leave the interval;
    where it holds every word, they are those of ``fill_normal``. ``out`` and ``region`` as for
    ``fill_uniform``. Raises FaninError, before anything is written, for a tensor that does not
    fit, for ``std < 0`` and for an interval that holds fewer than 2^16 of the 2^32 words
    (probability 1.5e-5), where the values would be a staircase.

    >>> weight = torch.empty(1000)
    >>> fill_truncated_normal(weight, Stream(0, "weight"), 0.0, 0.02, -2.0, 2.0)
    >>> bool((weight.abs() <= 0.04).all())
    True
    """
    _check_normal(mean, std)
    region = _checked(out, region, FLOATS)
    below, above = engine().interval(low, high)
    words = (1 << 32) - below - above
    if not low < high or words < FEWEST_WORDS:
        raise _parameter_error(
            "the truncated normal leaves too few words between its bounds",
            f"low={low}, high={high} (in units of std): {max(words, 0)} of 2^32 words",
            "give low < high with a probability of 1.6e-5 or more between them",
        )
    lowest, highest = _bounds(_cut(mean, std, low), _cut(mean, std, high))
    _fill(
        out,
        stream,
        region,
        Distribution.TRUNCATED,
        (std, mean, lowest, highest, below, words),
    )


def fill_bits(out: torch.Tensor, stream: Stream, region: Region | None = None) -> None:
    """The words of the stream themselves, as int32.

    ``out`` is a contiguous int32 tensor with the shape of ``region`` (None: the whole).
    Raises FaninError, before anything is written, for any other tensor.

    >>> word = torch.empty(2, dtype=torch.int32)
    >>> fill_bits(word, Stream(0, "weight"))
    >>> [f"{value & 0xFFFFFFFF:08x}" for value in word.tolist()]
    ['4cf27738', '3dabd88c']
    """
    region = _checked(out, region, frozenset({torch.int32}))
    _fill(out, stream, region, Distribution.BITS, (0.0, 0.0, 0.0, 0.0, 0, 0))


def _float32(value: float) -> float:
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def _next_float32(value: float, *, up: bool) -> float:
    if value == 0.0:
        return 2.0**-149 if up else -(2.0**-149)
    (bits,) = struct.unpack("<i", struct.pack("<f", value))
    step = 1 if (value > 0.0) is up else -1
    following: float = struct.unpack("<f", struct.pack("<i", bits + step))[0]
    return following


def _bounds(low: float, high: float) -> tuple[float, float]:
    """The least and greatest float32 in [low, high]; where there is none, the nearest to it."""
    lowest, highest = _float32(low), _float32(high)
    if lowest < low:
        lowest = _next_float32(lowest, up=True)
    if highest > high:
        highest = _next_float32(highest, up=False)
    if lowest > highest:
        lowest = highest = _float32((low + high) * 0.5)
    return lowest + 0.0, highest + 0.0


def _checked(
    out: torch.Tensor, region: Region | None, dtypes: frozenset[torch.dtype]
) -> Region | None:
    """The region that is still to be taken apart: None when ``out`` is the whole."""
    placed = out.dtype in dtypes and draws_on(out.device, out.dtype)
    if not placed or not out.is_contiguous():
        kinds = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise _tensor_error(out, f"a contiguous CPU tensor of {kinds}")
    if out.data_ptr() == 0 and out.numel() > 0:
        raise _tensor_error(out, "a tensor that has memory of its own")
    if region is None:
        return None
    # An axis of length one changes no position in memory.
    if [n for n in out.shape if n != 1] != [n for n in region.count if n != 1]:
        raise _tensor_error(out, f"a tensor of the region's shape {region.count}")
    return None if region.is_whole else region


def _fill(
    out: torch.Tensor,
    stream: Stream,
    region: Region | None,
    distribution: Distribution,
    parameters: Parameters,
) -> None:
    try:
        engine().fill(out, region, stream.digest(), stream.substream, distribution, parameters)
    finally:
        # The engine writes behind autograd's back: a stale saved tensor must be noticed.
        if not out.is_inference():
            torch.autograd.graph.increment_version(out)


def _check_normal(mean: float, std: float) -> None:
    if not (std >= 0.0 and abs(mean) + REACH * std <= LARGEST):
        raise _parameter_error(
            "the normal has no such parameters",
            f"mean={mean}, std={std}",
            "give a finite mean and std >= 0, so that mean + 6.34 std is within 3.4e38",
        )


def _cut(mean: float, std: float, bound: float) -> float:
    """mean + bound std; infinite where nothing is cut, and no further than float32 reaches."""
    if bound in (-math.inf, math.inf):
        return bound
    return max(-LARGEST, min(mean + bound * std, LARGEST))


def _tensor_error(out: torch.Tensor, wanted: str) -> FaninError:
    return FaninError(
        "the tensor cannot be filled",
        where="a draw from a stream",
        found=f"{out.dtype} of shape {tuple(out.shape)} on {out.device}, strides {out.stride()}",
        fix=f"give {wanted}",
    )


def _parameter_error(what: str, found: str, fix: str) -> FaninError:
    return FaninError(what, where="a draw from a stream", found=found, fix=fix)
