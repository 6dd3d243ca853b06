"""The numbers of a stream are independent and have the distribution asked for.

Each test of a true claim fails once in a million seeds.
"""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from scipy import stats
from tests.thresholds import FALSE_ALARM, normal_threshold
from torch import Tensor

from fanin._stream import Stream, fill_bits, fill_normal, fill_truncated_normal, fill_uniform

SAMPLES = 2**20


def drawn(
    fill: Callable[..., None],
    shape: tuple[int, ...],
    stream: Stream,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    out = torch.empty(shape, dtype=dtype)
    fill(out, stream)
    return out


def standardized_moments(z: Tensor) -> list[float]:
    """How far the first four moments are from a standard normal's, in standard errors."""
    n = z.numel()
    hermite = [z, z**2 - 1, z**3 - 3 * z, z**4 - 6 * z**2 + 3]
    return [
        float(h.mean()) * math.sqrt(n / math.factorial(k)) for k, h in enumerate(hermite, start=1)
    ]


@pytest.mark.parametrize("seed", range(2))
def test_normals_have_the_moments_and_the_distribution_of_normals(seed):
    """Mean, variance, skewness and kurtosis by Hermite polynomials, which do not correlate."""
    fill = partial(fill_normal, mean=0.0, std=1.0)
    z = drawn(fill, (SAMPLES,), Stream(seed, "moments"), torch.float64)
    limit = normal_threshold(comparisons=4)
    assert max(map(abs, standardized_moments(z))) < limit
    assert stats.kstest(z[: 2**19].numpy(), "norm").pvalue > FALSE_ALARM


def test_the_tails_of_normals_hold_what_they_should():
    """Counts beyond 3, 4 and 5 std, each a Poisson number to a part in ten thousand."""
    z = drawn(partial(fill_normal, mean=0.0, std=1.0), (16 * SAMPLES,), Stream(0, "tails"))
    for bound in (3.0, 4.0, 5.0):
        expected = 16 * SAMPLES * stats.norm.sf(bound)
        for count in (int((z > bound).sum()), int((z < -bound).sum())):
            rare = min(stats.poisson.cdf(count, expected), stats.poisson.sf(count - 1, expected))
            assert rare > FALSE_ALARM / 12


def test_uniforms_have_the_moments_and_the_distribution_of_uniforms():
    """Legendre polynomials do not correlate under the uniform; P_k has variance 1 / (2k + 1)."""
    fill = partial(fill_uniform, low=-1.0, high=1.0)
    u = drawn(fill, (SAMPLES,), Stream(0, "moments"), torch.float64)
    legendre = [u, (3 * u**2 - 1) / 2, (5 * u**3 - 3 * u) / 2, (35 * u**4 - 30 * u**2 + 3) / 8]
    for k, p in enumerate(legendre, start=1):
        error = float(p.mean()) * math.sqrt(SAMPLES * (2 * k + 1))
        assert abs(error) < normal_threshold(comparisons=4)
    assert stats.kstest(u[: 2**19].numpy(), "uniform", (-1, 2)).pvalue > FALSE_ALARM
    bins = torch.histc(u, 2**12, -1, 1).numpy()
    assert stats.chisquare(bins).pvalue > FALSE_ALARM


@pytest.mark.parametrize("cut", [(-2.0, 2.0), (-0.5, 3.0), (1.0, 1.2), (2.5, math.inf)])
def test_truncated_normals_have_the_distribution_of_truncated_normals(cut):
    """Against scipy's truncnorm: mean, variance and Kolmogorov-Smirnov."""
    fill = partial(fill_truncated_normal, mean=0.0, std=1.0, low=cut[0], high=cut[1])
    z = drawn(fill, (SAMPLES,), Stream(0, f"cut {cut}"), torch.float64)
    law = stats.truncnorm(*cut)
    mean, variance, _, excess = law.stats("mvsk")
    limit = normal_threshold(comparisons=2)
    assert abs(float(z.mean()) - mean) < limit * math.sqrt(variance / SAMPLES)
    spread = variance * math.sqrt((excess + 2) / SAMPLES)
    assert abs(float(z.var()) - variance) < limit * spread
    assert stats.kstest(z[: 2**17].numpy(), law.cdf).pvalue > FALSE_ALARM


def test_every_bit_of_the_words_is_fair_and_alone():
    """Each of 32 bits is set half the time, and agrees with each other bit half the time."""
    words = drawn(fill_bits, (2**18,), Stream(0, "bits"), torch.int32)
    signs = torch.stack([1.0 - 2.0 * (words >> bit & 1) for bit in range(32)])
    gram = torch.cat([signs, torch.ones(1, 2**18)]) @ signs.T / math.sqrt(2**18)
    pairs = [float(gram[i, j]) for i in range(33) for j in range(min(i, 32))]
    assert len(pairs) == 32 * 31 // 2 + 32
    assert max(map(abs, pairs)) < normal_threshold(comparisons=len(pairs))


def correlation(a: Tensor, b: Tensor) -> float:
    """The correlation of independent standard normals, in standard errors."""
    return float((a * b).mean()) * math.sqrt(a.numel())


def test_elements_near_and_far_do_not_correlate():
    """Inside a counter (lags 1 to 3), across counters, rows and the tiles of the engines."""
    fill = partial(fill_normal, mean=0.0, std=1.0)
    z = drawn(fill, (SAMPLES,), Stream(0, "lags"), torch.float64)
    lags = [*range(1, 18), 63, 64, 65, 255, 256, 257, 768, 1024, 4096, 65536]
    for moment in (z, (z**2 - 1) / math.sqrt(2)):  # values, and sizes
        found = [correlation(moment[:-lag], moment[lag:]) for lag in lags]
        assert max(map(abs, found)) < normal_threshold(comparisons=2 * len(lags))


def test_streams_of_near_names_seeds_and_substreams_do_not_correlate():
    """The names of one model differ by one character; the seeds of one study by one."""
    near = [
        *(Stream(0, f"layers.{layer}.weight") for layer in range(6)),
        *(Stream(seed, "layers.0.weight") for seed in (1, 2, 3, 2**32, 2**63)),
        *(Stream(0, "layers.0.weight", substream) for substream in (1, 2, 2**31)),
        Stream(0, "layers.0.bias"),
        Stream(0, ""),
    ]
    fill = partial(fill_normal, mean=0.0, std=1.0)
    z = torch.stack([drawn(fill, (2**18,), stream) for stream in near])
    gram = z @ z.T / math.sqrt(2**18)
    pairs = [float(gram[i, j]) for i in range(len(near)) for j in range(i)]
    assert max(map(abs, pairs)) < normal_threshold(comparisons=len(pairs))
