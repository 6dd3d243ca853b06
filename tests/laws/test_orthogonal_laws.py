"""What holds for every orthonormal matrix: its definition, its shape, and what it must not feel."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fanin import FaninError, _orthogonal
from fanin._orthogonal import hadamard, orthonormal
from fanin._stream import Region, Stream, fill_normal

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
DOUBLE = {torch.float32: torch.float64, torch.complex64: torch.complex128}
# Promised in float32; in float64, 2e-6 times the ratio of the two roundings.
CLOSE = {dtype: 2e-6 * torch.finfo(dtype).eps / torch.finfo(torch.float32).eps for dtype in DTYPES}
STREAM = Stream(7, "weight")
SIZES = st.integers(0, 40)
SEEDS = st.integers(0, 2**64 - 1)
# On both sides of the size from which panels are used, with one panel, several, and a tail.
MIDDLING = ((362, 362), (363, 363), (600, 500), (200, 900), (1500, 130))


def wide_by_definition(count: int, length: int, stream: Stream, *, complex_: bool) -> Tensor:
    """The rows x_j / |x_j| H_(j-1) ... H_0, one reflection after the other, in double precision."""
    normals = torch.empty(count * length * (2 if complex_ else 1), dtype=torch.float64)
    fill_normal(normals, stream, 0.0, 1.0)
    if complex_:
        normals = torch.view_as_complex(normals.view(-1, 2))
    product = torch.eye(length, dtype=normals.dtype)
    wide = torch.empty(count, length, dtype=normals.dtype)
    for j, x in enumerate(normals.view(count, length).triu()):
        wide[j] = x / x.norm() @ product
        v = x.clone()
        v[j] += x[j] / x[j].abs() * x.norm()
        reflection = torch.eye(length) - 2 * torch.outer(v.conj(), v) / v.norm() ** 2
        product = reflection @ product
    return wide


def by_definition(rows: int, cols: int, dtype: torch.dtype) -> Tensor:
    if rows <= cols:
        return wide_by_definition(rows, cols, STREAM, complex_=dtype.is_complex)
    return wide_by_definition(cols, rows, STREAM, complex_=dtype.is_complex).mH


def residual(matrix: Tensor) -> float:
    """max |QᵀQ - 1| where rows >= cols, max |QQᵀ - 1| where rows <= cols; in double precision."""
    matrix = matrix.to(DOUBLE.get(matrix.dtype, matrix.dtype))
    rows, cols = matrix.shape
    return max(
        distance(matrix.mH @ matrix, torch.eye(cols, dtype=matrix.dtype)) if rows >= cols else 0.0,
        distance(matrix @ matrix.mH, torch.eye(rows, dtype=matrix.dtype)) if rows <= cols else 0.0,
    )


def distance(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return float((one - other).abs().max()) if one.numel() else 0.0


@settings(deadline=None)
@given(SIZES, SIZES, SEEDS, st.sampled_from(DTYPES))
def test_the_shorter_side_is_orthonormal(rows, cols, seed, dtype):
    """The promise, for shapes that no one would think of, those without elements included."""
    matrix = orthonormal(rows, cols, Stream(seed, "weight"), dtype=dtype)
    assert (matrix.shape, matrix.dtype) == ((rows, cols), dtype)
    assert matrix.is_contiguous()
    assert not matrix.is_conj()
    assert residual(matrix) < CLOSE[dtype]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.sampled_from(DTYPES))
def test_the_matrix_is_that_of_the_definition(rows, cols, dtype):
    """Whoever has only the page must get the same numbers."""
    matrix = orthonormal(rows, cols, STREAM, dtype=dtype)
    assert distance(matrix, by_definition(rows, cols, dtype)) < CLOSE[dtype]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from((1, 3, 16)), st.sampled_from(DTYPES))
def test_panels_of_any_width_give_the_matrix_of_the_definition(rows, cols, width, dtype):
    """How the large matrices are cut is no part of the contract."""
    matrix = _orthogonal._in_panels(rows, cols, STREAM, dtype, width)
    assert distance(matrix, by_definition(rows, cols, dtype)) < CLOSE[dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", MIDDLING, ids=str)
def test_the_small_way_and_the_large_way_give_one_matrix(shape, dtype):
    """The size at which LAPACK gives way to panels may move without moving a weight."""
    small = _orthogonal._by_lapack(*shape, STREAM, dtype)
    large = _orthogonal._in_panels(*shape, STREAM, dtype, _orthogonal.PANEL)
    assert distance(small, large) < CLOSE[dtype]


@pytest.mark.parametrize("shape", MIDDLING, ids=str)
def test_single_precision_is_the_rounding_of_double_precision(shape):
    """A model in float64 starts as the same model in float32 does, to rounding."""
    single, double = (
        orthonormal(*shape, STREAM, dtype=dtype) for dtype in (torch.float32, torch.float64)
    )
    assert distance(single, double) < 2e-6
    single, double = (
        orthonormal(*shape, STREAM, dtype=dtype) for dtype in (torch.complex64, torch.complex128)
    )
    assert distance(single, double) < 2e-6


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", MIDDLING[1:], ids=str)
def test_a_large_matrix_is_orthonormal(shape, dtype):
    """The promise where panels do the work."""
    assert residual(orthonormal(*shape, STREAM, dtype=dtype)) < CLOSE[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(1024, 1024), (2048, 2048), (4096, 1024), (512, 4608)], ids=str)
def test_a_layer_of_a_large_model_is_orthonormal(shape, seed):
    """Errors grow with the number of reflections; 2e-6 must hold at the sizes that are used."""
    assert residual(orthonormal(*shape, Stream(seed, "weight"))) < 2e-6


@pytest.mark.slow
def test_four_thousand_reflections_keep_single_precision():
    """The largest square of the promise, apart since it takes seconds."""
    assert residual(orthonormal(4096, 4096, STREAM)) < 2e-6


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(5, 9), (300, 700)], ids=str)
def test_a_wide_matrix_is_the_adjoint_of_the_tall_one(shape, dtype):
    """One definition serves both shapes."""
    wide = orthonormal(*shape, STREAM, dtype=dtype)
    tall = orthonormal(*reversed(shape), STREAM, dtype=dtype)
    assert distance(wide, tall.mH) < CLOSE[dtype]


def test_the_first_row_is_the_normalized_start_of_the_stream():
    """The simplest consequence of the definition, in numbers that anyone can check by hand."""
    normals = torch.empty(900, dtype=torch.float64)
    fill_normal(normals, STREAM, 0.0, 1.0)
    matrix = orthonormal(700, 900, STREAM, dtype=torch.float64)
    assert distance(matrix[0], normals / normals.norm()) < 1e-14


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(48, 48), (700, 700), (256, 1500)], ids=str)
def test_the_number_of_threads_does_not_matter(shape):
    """A start must be the same on a laptop and on a server, to 1e-6."""
    results = []
    for number in (1, 2, 3):
        with threads(number):
            results.append(orthonormal(*shape, STREAM))
    assert distance(results[0], results[1]) < 1e-6
    assert distance(results[0], results[2]) < 1e-6


def test_torchs_generator_is_neither_read_nor_moved():
    """Randomness has one owner."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = orthonormal(400, 400, STREAM)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(orthonormal(400, 400, STREAM), first)


@pytest.mark.parametrize("other", [Stream(8, "weight"), Stream(7, "bias"), Stream(7, "weight", 1)])
def test_another_stream_is_another_matrix(other):
    """Seed, name and substream all count."""
    assert distance(orthonormal(9, 9, STREAM), orthonormal(9, 9, other)) > 0.1


@pytest.mark.parametrize("shape", [(600, 600), (1024, 1024), (1024, 200), (200, 1024)], ids=str)
def test_little_more_is_drawn_than_the_triangle_that_is_needed(shape, monkeypatch):
    """Drawing the rest would cost as much as a tenth of the whole."""
    drawn = 0

    def counted(out: Tensor, stream: Stream, mean: float, std: float, region: Region | None):
        nonlocal drawn
        drawn += out.numel()
        fill_normal(out, stream, mean, std, region)

    monkeypatch.setattr(_orthogonal, "fill_normal", counted)
    orthonormal(*shape, STREAM)
    count, length = min(shape), max(shape)
    needed = count * length - count * (count - 1) // 2
    assert needed <= drawn <= needed + count * _orthogonal.WIDE_PANEL


@pytest.mark.parametrize("shape", [(30, 30), (500, 400)], ids=str)
def test_the_defaults_of_the_program_are_not_felt(shape):
    """Autocast, a default device and a default dtype are for the user's tensors, not for these."""
    expected = orthonormal(*shape, STREAM)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"), torch.no_grad():
        torch.set_default_dtype(torch.float64)
        try:
            found = orthonormal(*shape, STREAM)
        finally:
            torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_lowered_float32_products_are_avoided():
    """Where torch may round factors to bfloat16, 2e-6 needs products of float64."""
    exact = orthonormal(500, 400, STREAM, dtype=torch.float64)
    torch.set_float32_matmul_precision("medium")
    try:
        lowered = orthonormal(500, 400, STREAM)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(lowered, exact.float())


@pytest.mark.parametrize("right", ["rows", "transposed", "rows with gaps"])
def test_a_product_by_onednn_is_the_product(right):
    """The fast way must be the same product for each layout of its right factor."""
    work = torch.empty(3, 200, 200)
    fill_normal(work, STREAM, 0.0, 1.0)
    left = work[0]
    factor = {
        "rows": work[1],
        "transposed": work[2].mT,
        "rows with gaps": work[1:].permute(1, 2, 0).reshape(200, 400)[:, ::2],
    }[right]
    assert left.size(0) * left.size(1) * factor.size(1) >= _orthogonal.ONEDNN_FROM
    # Three hundred times the rounding of a sum of 200 unit products.
    assert distance(_orthogonal._product(left, factor), left.double() @ factor.double()) < 5e-4


def test_without_onednn_the_matrix_is_the_same(monkeypatch):
    """Not every build of torch has the operation."""
    expected = orthonormal(500, 400, STREAM)
    monkeypatch.setattr(_orthogonal, "ONEDNN_FROM", 1 << 62)
    assert distance(orthonormal(500, 400, STREAM), expected) < 1e-6


@pytest.mark.parametrize(
    "call",
    [
        lambda: orthonormal(-1, 3, STREAM),
        lambda: orthonormal(3, -1, STREAM),
        lambda: orthonormal(2.0, 3, STREAM),
        lambda: orthonormal(True, 3, STREAM),
        lambda: orthonormal(3, 3, STREAM, dtype=torch.bfloat16),
        lambda: orthonormal(3, 3, STREAM, dtype=torch.int64),
        lambda: hadamard(0),
        lambda: hadamard(-2),
        lambda: hadamard(12),
        lambda: hadamard(4.0),
        lambda: hadamard(True),
    ],
)
def test_what_is_no_matrix_is_refused(call):
    """A size, an order or a dtype that makes no sense is an error in words."""
    with pytest.raises(FaninError, match="fix:"):
        call()


@pytest.mark.parametrize("exponent", range(8))
def test_sylvesters_matrix_is_the_parity_of_shared_ones(exponent):
    """H[i, j] = (-1)^popcount(i & j), and HᵀH = order · 1, exactly."""
    order = 2**exponent
    expected = [[(-1.0) ** (i & j).bit_count() for j in range(order)] for i in range(order)]
    matrix = hadamard(order)
    assert matrix.dtype == torch.float32
    assert matrix.tolist() == expected
    assert torch.equal(matrix.T @ matrix, order * torch.eye(order))
