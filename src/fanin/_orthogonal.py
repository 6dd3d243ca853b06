"""Haar orthonormal matrices from a stream, as a product of Householder reflections.

The definition, from which the same matrix can be built again (Stewart 1980):

Let z be the standard normals of the stream. A matrix of orthonormal rows [k, n], k <= n, has k row
vectors x_j, j = 0 ... k - 1, with x_j[i] = 0 for i < j and, for j <= i < n,

    x_j[i] = z[j n + i]                                   where the numbers are real,
    x_j[i] = z[2 (j n + i)] + 1i z[2 (j n + i) + 1]       where they are complex.

(The elements in between are skipped.) With the phase p_j = x_j[j] / |x_j[j]|, a sign where the
numbers are real, and v_j = x_j + p_j |x_j| e_j, the reflection H_j = 1 - 2 v_j* v_j / |v_j|^2 acts
on row vectors from the right and sends x_j to -p_j |x_j| e_j. Row j of the matrix is

    (x_j / |x_j|) H_(j-1) ... H_1 H_0     =     -p_j e_j H_j ... H_1 H_0.

The matrix of orthonormal columns [n, k], n > k, is the adjoint (conjugate transpose) of this one.

Why it is Haar: let X have rows that are independent standard normals in n dimensions. The law of
a normal vector does not change under the reflections before it, so X = L Q where Q is the matrix
above and L is lower triangular with the positive diagonal |x_j|. Such a Q is a function of X that
obeys Q(X U) = Q(X) U for every unitary U, and X U has the law of X; hence Q U has the law of Q.
The factor -p_j is what makes it so: the product of the reflections alone is not Haar. For k = n
the last reflection is the sign (phase) p of the last number, so that both determinants occur.

How it is computed: with the rows v_j stacked to V, H_(k-1) ... H_0 = 1 - V* T* V, where T is upper
triangular and the inverse of T is the upper triangle of V V* with its diagonal halved (Puglisi
1992; Joffrain et al. 2006). So the columns are V* (T V_k P) - P, with V_k the first k columns of V
and P the diagonal of conjugate phases: matrix products only, about 2 n k^2 - 2 k^3 / 3 flops, half
of what a QR decomposition and its Q need.
Large matrices are cut into panels, so that triangles are not multiplied by their zeros; for small
ones LAPACK's orgqr applies the same reflections. The way and the sizes of panels change the last
bits only, and are no part of the definition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, cast, final

import torch
from torch import Tensor

from fanin._errors import FaninError
from fanin._stream import Region, Stream, fill_normal

__all__ = ["hadamard", "orthonormal"]

# Each dtype with the double precision in which the norms of its panels add up.
DOUBLE: Final = {
    torch.float32: torch.float64,
    torch.float64: torch.float64,
    torch.complex64: torch.complex128,
    torch.complex128: torch.complex128,
}
# Elements of a matrix up to which LAPACK is faster than panels.
LAPACK_UP_TO: Final = 1 << 17
# Columns of a panel: wide enough for fast products, narrow against the triangle of zeros; and the
# same from so many rows on.
PANEL: Final = 192
WIDE_PANEL: Final = 256
WIDE_FROM: Final = 1000
# Elements of a panel where there is no triangle: enough to draw them with several threads.
TAIL_ELEMENTS: Final = 1 << 21
# Multiplications of a product from which the call of oneDNN is repaid.
ONEDNN_FROM: Final = 1 << 21


def orthonormal(
    rows: int, cols: int, stream: Stream, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """QᵀQ = 1 [rows, cols] where rows >= cols, else QQᵀ = 1: exactly Haar, from one stream.

    That is, Q has the law of UQ for every orthogonal (complex: unitary) U. The normals are float32
    whatever the dtype, so that float32 is float64 rounded, to 2e-6; results agree to 1e-6 across
    machines and numbers of threads. In float32 max |QᵀQ - 1| is below 2e-6.
    Returns a new contiguous CPU tensor; memory is at most about four times its size.
    Raises FaninError for a negative size, a size that is no integer, and any dtype but float32,
    float64, complex64 and complex128.

    Stewart 1980, "The efficient generation of random orthogonal matrices with an application to
    condition estimators", section 3; the module's docstring is the full definition.

    >>> q = orthonormal(300, 200, Stream(0, "weight"))
    >>> bool((q.T @ q - torch.eye(200)).abs().max() < 2e-6)
    True
    """
    _require(rows, cols, dtype)
    if rows * cols <= LAPACK_UP_TO:
        return _by_lapack(rows, cols, stream, dtype).resolve_conj().contiguous()
    width = WIDE_PANEL if min(rows, cols) >= WIDE_FROM else PANEL
    if dtype == torch.float32 and not _float32_products_are_float32():
        return _in_panels(rows, cols, stream, torch.float64, width).to(dtype)
    # Under autocast a float32 product would be one of bfloat16.
    with torch.autocast("cpu", enabled=False):
        return _in_panels(rows, cols, stream, dtype, width)


def hadamard(order: int) -> Tensor:
    """HᵀH = order · 1 with entries +1 and -1 [order, order]: Sylvester's matrix, float32.

    H[i, j] = (-1)^(number of ones that i and j share in binary). Raises FaninError where ``order``
    is not a power of two.

    >>> hadamard(4).int().tolist()
    [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]
    """
    if type(order) is not int or order < 1 or order & (order - 1):
        raise FaninError(
            "there is no Sylvester-Hadamard matrix of this order",
            where="hadamard",
            found=f"order={order!r}",
            fix="give a power of two: 1, 2, 4, 8, ...",
        )
    matrix = torch.ones(1, 1, dtype=torch.float32, device="cpu")
    while matrix.size(0) < order:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return matrix


def _require(rows: int, cols: int, dtype: torch.dtype) -> None:
    for name, size in (("rows", rows), ("cols", cols)):
        if type(size) is not int or size < 0:
            raise FaninError(
                "a matrix has no such size",
                where="orthonormal",
                found=f"{name}={size!r}",
                fix=f"give {name} as an int that is 0 or more",
            )
    if dtype not in DOUBLE:
        raise FaninError(
            "an orthonormal matrix is not computed in this dtype",
            where="orthonormal",
            found=str(dtype),
            fix=f"give one of {', '.join(map(str, DOUBLE))}, and round the result",
        )


def _float32_products_are_float32() -> bool:
    """Whether torch was not told to round the factors of a float32 product further."""
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    if matmul is None:  # torch before 2.9
        return torch.get_float32_matmul_precision() == "highest"
    return bool(matmul.fp32_precision in ("none", "ieee"))


def _draw(
    stream: Stream, shape: tuple[int, int], columns: tuple[int, int], dtype: torch.dtype
) -> Tensor:
    """The entries of x_0, x_1, ... in these columns, as far down as x has entries there."""
    count, length = shape
    start, stop = columns
    rows, parts = min(stop, count), 2 if dtype.is_complex else 1
    real = torch.empty(rows, parts * (stop - start), dtype=dtype.to_real(), device="cpu")
    region = None
    if stop - start < length:
        region = Region((count, parts * length), (0, parts * start), tuple(real.shape), (1, 1))
    fill_normal(real, stream, 0.0, 1.0, region)
    drawn = torch.view_as_complex(real.view(rows, stop - start, 2)) if dtype.is_complex else real
    return drawn.triu_(-start) if start < count else drawn


def _by_lapack(rows: int, cols: int, stream: Stream, dtype: torch.dtype) -> Tensor:
    """The definition by LAPACK's orgqr, whose reflections are 1 - t u* u with u = v / v[j]."""
    count, length = (rows, cols) if rows <= cols else (cols, rows)
    vectors = _draw(stream, (count, length), (0, length), dtype)
    diagonal = vectors.diagonal()
    phases = diagonal.sgn()
    moved = phases * torch.linalg.vector_norm(vectors, dim=1)
    first = diagonal + moved
    factors = first / moved
    vectors /= first.unsqueeze(1)
    tall: Tensor = torch.linalg.householder_product(vectors.mH, factors)
    tall *= phases.conj().neg_()
    return tall.mH if rows <= cols else tall


@final
@dataclass(frozen=True, slots=True)
class _Panel:
    """The columns start ... stop of V: ``entries`` [rows, stop - start], the rest are zeros."""

    start: int
    stop: int
    entries: Tensor

    @property
    def rows(self) -> int:
        return self.entries.size(0)


def _in_panels(rows: int, cols: int, stream: Stream, dtype: torch.dtype, width: int) -> Tensor:
    """The definition with V cut into panels of ``width`` columns, the last at column k."""
    result = torch.empty(rows, cols, dtype=dtype, device="cpu")
    wide = result if rows <= cols else result.mH
    count, length = wide.shape
    # Never a power of two: columns of a panel would share few lines of the cache.
    tail_width = TAIL_ELEMENTS // count + 16
    cuts = [*range(0, count, width), *range(count, length, tail_width), length]
    panels = [
        _Panel(start, stop, _draw(stream, (count, length), (start, stop), dtype))
        for start, stop in pairwise(cuts)
    ]
    head = [panel for panel in panels if panel.start < count]
    phases, halves = _reflect(panels, head, count)
    couplings = [_coupling(panel, panels, halves) for panel in head]
    for solved, panel in enumerate(head, 1):
        span = slice(panel.start, panel.stop)
        weights = _weights(panel.entries * phases[span].conj(), head[:solved], couplings[:solved])
        adjoint = weights.mH.contiguous()
        for other in panels:
            shared = min(panel.rows, other.rows)
            tile = _product(adjoint[:, :shared], other.entries[:shared])
            wide[span, other.start : other.stop] = tile
        wide[span, span].diagonal().sub_(phases[span])
    return result


def _reflect(panels: Sequence[_Panel], head: Sequence[_Panel], count: int) -> tuple[Tensor, Tensor]:
    """Turns every x into v, in place; returns the phases and |v|^2 / 2 = |x| (|x| + |x[j]|).

    An error of |v| is one of the whole reflection, so it is not read off the diagonal of V V*,
    whose sums are the product's; panels add up in double precision.
    """
    squares = torch.zeros(count, dtype=torch.float64, device="cpu")
    for panel in panels:
        entries = panel.entries
        real = torch.view_as_real(entries).flatten(1) if entries.is_complex() else entries
        squares[: panel.rows] += torch.linalg.vector_norm(real, dim=1).double() ** 2
    norms = squares.sqrt()
    x = torch.cat([panel.entries[panel.start :].diagonal() for panel in head])
    exact = x.to(DOUBLE[x.dtype])
    phases = exact.sgn()
    v = (exact + phases * norms).to(x.dtype)
    for panel in head:
        panel.entries[panel.start :].diagonal().copy_(v[panel.start : panel.stop])
    return phases.to(x.dtype), (norms * (norms + exact.abs())).to(x.dtype)


def _coupling(panel: _Panel, panels: Sequence[_Panel], halves: Tensor) -> Tensor:
    """The columns of a panel of the inverse of T, with its own square block inverted."""
    span = slice(panel.start, panel.stop)
    coupling = _product(panel.entries, panel.entries[panel.start :].mH)
    for other in panels:
        if other.start > panel.start:
            coupling += _product(other.entries[: panel.stop], other.entries[span].mH)
    block = coupling[panel.start :]
    block.diagonal().copy_(halves[span])
    unit = torch.eye(block.size(0), dtype=block.dtype, device="cpu")
    block.copy_(torch.linalg.solve_triangular(block, unit, upper=True, left=False))
    return coupling


def _weights(right: Tensor, head: Sequence[_Panel], couplings: Sequence[Tensor]) -> Tensor:
    """T times ``right``, by substitution from the last panel of ``head`` to the first."""
    for panel, coupling in reversed(list(zip(head, couplings, strict=True))):
        solved = right[panel.start : panel.stop]
        solved.copy_(_product(coupling[panel.start :], solved))
        if panel.start:
            right[: panel.start] -= _product(coupling[: panel.start], solved)
    return right


def _product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right, by oneDNN where that is likely to be faster.

    torch hands float32 products to MKL, which on an AMD processor with AVX-512 took twice the time
    of oneDNN. oneDNN in turn takes a right factor with gaps between its rows a thousand times
    slower. The way to it is a private operation of torch, which may go or change: torch's own
    product then gives the same numbers, to rounding.
    """
    work = left.size(0) * left.size(1) * right.size(1)
    if left.dtype != torch.float32 or work < ONEDNN_FROM:
        return left @ right
    if not (right.is_contiguous() or right.mT.is_contiguous()):
        return left @ right
    try:
        product = torch.ops.mkldnn._linear_pointwise(left, right.mT, None, "none", [], "")  # noqa: SLF001
    except (AttributeError, TypeError, RuntimeError):
        return left @ right
    return cast("Tensor", product)
