"""The law of the matrices is Haar's: exact facts about it, and rivals that are not Haar.

Each fact is a set of deviations from Haar's law with the thresholds that a Haar sample passes once
in a million draws by no more: that of Dvoretzky, Kiefer, Wolfowitz and Massart for a distribution
function, Bernstein's for the mean of a bounded variable. Both hold for every sample size. A fact
that no rival fails would prove nothing, so each has one that must fail it.
"""

from collections.abc import Callable
from functools import cache
from math import log, pi, sqrt

import pytest
import torch
from scipy import stats
from tests.thresholds import FALSE_ALARM, distribution_threshold
from torch import Tensor

from fanin._orthogonal import _in_panels, orthonormal
from fanin._stream import Stream

DRAWS = 10_000
# By how much a deviation passes its threshold; not Haar where it is positive.
Excess = float


@cache
def drawn(rows: int, cols: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Independent matrices of one shape: one seed each."""
    return torch.stack(
        [orthonormal(rows, cols, Stream(i, "weight"), dtype=dtype) for i in range(DRAWS)]
    )


@cache
def drawn_in_panels(size: int) -> Tensor:
    """The same by the way of the large matrices, whose panels here have two columns."""
    streams = (Stream(i, "weight") for i in range(DRAWS))
    return torch.stack([_in_panels(size, size, s, torch.float64, 2) for s in streams])


def normals(rows: int, cols: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(DRAWS, rows, cols, dtype=dtype, generator=generator)


def distribution_excess(sample: Tensor, law: Callable[..., object], comparisons: int) -> Excess:
    """How far the empirical distribution function is from the law, beyond chance."""
    statistic = stats.kstest(sample.numpy(), law).statistic
    return float(statistic) - distribution_threshold(len(sample), FALSE_ALARM / comparisons)


def mean_excess(
    sample: Tensor, mean: float, variance: float, bound: float, comparisons: int
) -> Excess:
    """How far the mean is off, beyond chance: Bernstein's inequality for |x - mean| <= bound."""
    t = log(2 * comparisons / FALSE_ALARM)
    slack = bound * t / 3
    allowed = (slack + sqrt(slack**2 + 2 * len(sample) * variance * t)) / len(sample)
    return abs(float(sample.mean()) - mean) - allowed


def entries(sample: Tensor) -> Excess:
    """An entry of O(n): (1 + q) / 2 is Beta((n - 1) / 2, (n - 1) / 2)."""
    length = max(sample.shape[1:])
    law = stats.beta((length - 1) / 2, (length - 1) / 2).cdf
    columns = sample.flatten(1).T
    return max(distribution_excess((1 + q) / 2, law, len(columns)) for q in columns)


def complex_entries(sample: Tensor) -> Excess:
    """An entry of U(n): |q|^2 is Beta(1, n - 1), and its phase is uniform."""
    columns = sample.flatten(1).T
    count = 2 * len(columns)
    size, angle = stats.beta(1, max(sample.shape[1:]) - 1).cdf, stats.uniform(-pi, 2 * pi).cdf
    return max(
        max(
            distribution_excess(q.abs().square(), size, count),
            distribution_excess(q.angle(), angle, count),
        )
        for q in columns
    )


def sphere(sample: Tensor) -> Excess:
    """A row and a column of O(3) are uniform on the sphere.

    By Archimedes the height is then uniform, and so is the longitude.
    """
    vectors = [sample[:, i, :] for i in range(3)] + [sample[:, :, i] for i in range(3)]
    height, longitude = stats.uniform(-1, 2).cdf, stats.uniform(-pi, 2 * pi).cdf
    return max(
        max(
            distribution_excess(v[:, 2], height, 12),
            distribution_excess(torch.atan2(v[:, 1], v[:, 0]), longitude, 12),
        )
        for v in vectors
    )


def traces(sample: Tensor) -> Excess:
    """In O(n), n >= 4: tr Q has the moments 0, 1, 0, 3 of a normal, and E tr Q^2 = 1.

    Diaconis and Shahshahani (1994); E (tr Q)^2k = (2k - 1)!! for k <= n, so that the eighth moment
    is 105 for n >= 4, and Var tr Q^2 = 2.
    """
    size = sample.size(-1)
    trace = sample.diagonal(dim1=1, dim2=2).sum(1)
    square = torch.einsum("nij,nji->n", sample, sample)
    return max(
        mean_excess(trace, 0, 1, size, 5),
        mean_excess(trace**2, 1, 3 - 1, size**2, 5),
        mean_excess(trace**3, 0, 15, size**3, 5),
        mean_excess(trace**4, 3, 105 - 9, size**4, 5),
        mean_excess(square, 1, 2, size + 1, 5),
    )


def complex_traces(sample: Tensor) -> Excess:
    """In U(n), n >= 4: E |tr Q|^2k = k! and E tr Q = E (tr Q)^2 = E tr Q^2 = 0."""
    size = sample.size(-1)
    trace = sample.diagonal(dim1=1, dim2=2).sum(1)
    square = torch.einsum("nij,nji->n", sample, sample)
    return max(
        mean_excess(trace.real, 0, 1 / 2, size, 6),
        mean_excess(trace.imag, 0, 1 / 2, size, 6),
        mean_excess(trace.abs() ** 2, 1, 2 - 1, size**2, 6),
        mean_excess(trace.abs() ** 4, 2, 24 - 4, size**4, 6),
        mean_excess((trace**2).real, 0, 1, size**2, 6),
        mean_excess(square.real, 0, 1, size, 6),
    )


def determinants(sample: Tensor) -> Excess:
    """det Q is +1 and -1, half the time each."""
    return mean_excess(torch.linalg.det(sample), 0, 1, 1, 1)


def complex_determinants(sample: Tensor) -> Excess:
    """The phase of det Q is uniform."""
    return distribution_excess(torch.linalg.det(sample).angle(), stats.uniform(-pi, 2 * pi).cdf, 1)


def fourth_moments(sample: Tensor) -> Excess:
    """Fourth moments in O(n): how two entries depend on each other.

    E a^4 = 3 / n(n+2); in one row E a^2 b^2 = 1 / n(n+2); in different rows and columns
    E a^2 d^2 = (n+1) / n(n-1)(n+2); round a square E a b c d = -1 / n(n-1)(n+2).
    Every product is at most 1, so that its variance is at most its mean size.
    """
    n = sample.size(-1)
    common = n * (n - 1) * (n + 2)
    found = []
    for i in range(n - 1):
        a, b = sample[:, i, i], sample[:, i, i + 1]
        c, d = sample[:, i + 1, i], sample[:, i + 1, i + 1]
        found += [
            (a**4, 3 / (n * (n + 2)), 3 / (n * (n + 2))),
            (a**2 * b**2, 1 / (n * (n + 2)), 1 / (n * (n + 2))),
            (a**2 * d**2, (n + 1) / common, (n + 1) / common),
            (a * b * c * d, -1 / common, 1 / (n * (n + 2))),
        ]
    return max(mean_excess(x, mean, variance, 1, len(found)) for x, mean, variance in found)


FACTS = {
    "entries": (entries, lambda: drawn(5, 5)),
    "entries of a tall matrix": (entries, lambda: drawn(6, 3)),
    "entries of a wide matrix": (entries, lambda: drawn(3, 6)),
    "entries in single precision": (entries, lambda: drawn(4, 4, torch.float32)),
    "entries by panels": (entries, lambda: drawn_in_panels(4)),
    "complex entries": (complex_entries, lambda: drawn(4, 4, torch.complex128)),
    "complex entries of a tall matrix": (complex_entries, lambda: drawn(4, 2, torch.complex128)),
    "sphere": (sphere, lambda: drawn(3, 3)),
    "traces": (traces, lambda: drawn(5, 5)),
    "complex traces": (complex_traces, lambda: drawn(4, 4, torch.complex128)),
    "determinants": (determinants, lambda: drawn(5, 5)),
    "determinants of one number": (determinants, lambda: drawn(1, 1)),
    "determinants by panels": (determinants, lambda: drawn_in_panels(4)),
    "complex determinants": (complex_determinants, lambda: drawn(4, 4, torch.complex128)),
    "fourth moments": (fourth_moments, lambda: drawn(5, 5)),
}


@pytest.mark.parametrize("fact", FACTS)
def test_the_matrices_have_the_law_of_haar(fact):
    """Exact facts about the law; each fails a true Haar sample once in a million."""
    excess, sample = FACTS[fact]
    assert excess(sample()) <= 0


def lapack_qr(size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Q of LAPACK's QR without a rule for the signs: what nearly everybody's first try is."""
    return torch.linalg.qr(normals(size, size, dtype)).Q


def lapack_qr_with_signs(size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Mezzadri (2007): the same with the diagonal of R made positive is Haar."""
    q, r = torch.linalg.qr(normals(size, size, dtype))
    return q * r.diagonal(dim1=1, dim2=2).sgn().unsqueeze(1)


def rotations(size: int) -> Tensor:
    """Haar on the rotations alone: the last row is turned to make the determinant +1."""
    q = lapack_qr_with_signs(size)
    q[:, -1] *= torch.linalg.det(q).unsqueeze(1)
    return q


def uniform_qr(size: int) -> Tensor:
    """QR with signs, of uniform instead of normal numbers: not invariant under rotation."""
    q, r = torch.linalg.qr(torch.special.erf(normals(size, size) / sqrt(2)))
    return q * r.diagonal(dim1=1, dim2=2).sgn().unsqueeze(1)


def quaternions() -> Tensor:
    """Uniform unit quaternions as 4 x 4 matrices: rows and entries of Haar's law, not jointly."""
    w, x, y, z = torch.nn.functional.normalize(normals(1, 4)[:, 0]).T
    rows = ((w, -x, -y, -z), (x, w, -z, y), (y, z, w, -x), (z, -y, x, w))
    return torch.stack([torch.stack(row, -1) for row in rows], 1)


def real_reflections(size: int) -> Tensor:
    """Haar of O(n) taken for Haar of U(n)."""
    return lapack_qr_with_signs(size).to(torch.complex128)


RIVALS = {
    "entries": (entries, lambda: lapack_qr(5)),
    "complex entries": (complex_entries, lambda: lapack_qr(4, torch.complex128)),
    "complex entries of real matrices": (complex_entries, lambda: real_reflections(4)),
    "sphere": (sphere, lambda: uniform_qr(3)),
    "sphere without signs": (sphere, lambda: lapack_qr(3)),
    "traces": (traces, lambda: lapack_qr(5)),
    "complex traces": (complex_traces, lambda: lapack_qr(4, torch.complex128)),
    "determinants": (determinants, lambda: lapack_qr(5)),
    "determinants of rotations": (determinants, lambda: rotations(4)),
    "complex determinants": (complex_determinants, lambda: real_reflections(4)),
    "fourth moments": (fourth_moments, quaternions),
}


@pytest.mark.parametrize("rival", RIVALS)
def test_a_matrix_that_is_not_haar_is_found_out(rival):
    """The same facts, with the same thresholds, reject laws that are nearly Haar."""
    excess, sample = RIVALS[rival]
    assert excess(sample()) > 0


@pytest.mark.parametrize("fact", [entries, traces, determinants, fourth_moments])
def test_the_textbooks_haar_matrix_passes(fact):
    """QR with signs is Haar by another way: the facts themselves are right."""
    assert fact(lapack_qr_with_signs(5)) <= 0


@pytest.mark.parametrize("fact", [complex_entries, complex_traces, complex_determinants])
def test_the_textbooks_complex_haar_matrix_passes(fact):
    """The same for the unitary group."""
    assert fact(lapack_qr_with_signs(4, torch.complex128)) <= 0
