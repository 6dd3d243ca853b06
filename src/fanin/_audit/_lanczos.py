"""Singular values of a matrix that is known by its products alone, by random vectors."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Final, TypeAlias, final

import torch
from torch import Generator, Tensor

__all__ = ["Operator", "Product", "extremes", "mean_square"]

Product: TypeAlias = Callable[[Tensor], Tensor]

_CONVERGED: Final = 0.01
"""A value is given where its error bound is at most this share of it."""
_ROUNDING: Final = 10
"""How many units of rounding, of the largest value, a product may be off."""


@final
@dataclass(frozen=True, slots=True)
class Operator:
    """``rows`` matrices side by side, each [outputs, inputs], one for each input of a batch.

    ``times`` maps [rows, inputs] to [rows, outputs], row by row, and ``transposed`` back.
    ``precision`` is the relative rounding error of the arithmetic that they are done in.
    """

    rows: int
    inputs: int
    outputs: int
    times: Product
    transposed: Product
    precision: float

    @property
    def rank(self) -> int:
        """How many singular values each matrix has."""
        return min(self.inputs, self.outputs)


def mean_square(operator: Operator, generator: Generator, *, probes: int) -> tuple[float, float]:
    """|J|² / min(outputs, inputs), the mean of the squared singular values, and its standard error.

    E |Jᵀu|² = |J|² for entries of u that are independently 1 or -1 (Hutchinson 1990).

    >>> twice = Operator(2, 3, 3, lambda v: 2 * v, lambda u: 2 * u, 1e-7)
    >>> mean_square(twice, torch.Generator().manual_seed(0), probes=4)
    (4.0, 0.0)
    """
    shape = (operator.rows, operator.outputs)
    found = []
    for _ in range(probes):
        signs = torch.randint(2, shape, generator=generator, device="cpu").double() * 2 - 1
        found.append(operator.transposed(signs).double().square().sum(1))
    squares = torch.stack(found) / operator.rank
    # The inputs are those that they are: only the probes are random.
    error = squares.var(0).sum().item() / probes
    return float(squares.mean()), sqrt(error) / operator.rows


def extremes(operator: Operator, generator: Generator, *, steps: int) -> Tensor:
    """Singular values whose error bound is at most 1 %, of all rows together, largest first.

    Bidiagonalization with full reorthogonalization (Golub & Kahan 1965; Golub & Van Loan 2013,
    10.4): A V = U B and Aᵀ U = V Bᵀ + β v eᵀ, so that for each σ of B, with the left singular
    vector p, a singular value of A is within β |p_last|. Extreme values come first.

    >>> matrix = torch.diag(torch.tensor([5.0, 2.0, 1.0, 1.0]))
    >>> times, back = (lambda v: v @ matrix.T), (lambda u: u @ matrix)
    >>> one = Operator(1, 4, 4, times, back, 1e-7)
    >>> extremes(one, torch.Generator().manual_seed(0), steps=4).round(decimals=4)
    tensor([5., 2., 1., 1.], dtype=torch.float64)
    """
    # From the smaller side: seen from the larger one, zeros that are no singular values appear.
    forward, back = operator.times, operator.transposed
    if operator.inputs > operator.outputs:
        forward, back = back, forward
    random = torch.randn(operator.rows, operator.rank, generator=generator, device="cpu")
    _, vector = _added(random, [], generator)
    right: list[Tensor] = []
    left: list[Tensor] = []
    alphas, betas = [], []
    for _ in range(min(steps, operator.rank)):
        right.append(vector)
        alpha, vector = _added(forward(vector), left, generator)
        left.append(vector)
        beta, vector = _added(back(vector), right, generator)
        alphas.append(alpha)
        betas.append(beta)
    return _converged(torch.stack(alphas, 1), torch.stack(betas, 1), operator.precision)


def _added(vector: Tensor, basis: list[Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
    """What is left of each row beside the basis: its length, and the unit vector."""
    rest = _beside(vector, basis)
    length = rest.norm(dim=1)
    empty = length == 0
    if bool(empty.any()):
        # The rows' subspace is complete: go on in any other direction.
        other = torch.randn(rest.shape, generator=generator, device="cpu").to(rest)
        rest = torch.where(empty[:, None], other, rest)
    # What is small beside the basis is of the size of its rounding errors: again, at length 1.
    rest = _beside(torch.nn.functional.normalize(rest, dim=1, eps=0), basis)
    return length.double().cpu(), torch.nn.functional.normalize(rest, dim=1, eps=0)


def _beside(vector: Tensor, basis: list[Tensor]) -> Tensor:
    for _ in range(2):
        for known in basis:
            vector = vector - (known * vector).sum(1, keepdim=True) * known
    return vector


def _converged(alphas: Tensor, betas: Tensor, precision: float) -> Tensor:
    """The singular values of the bidiagonal matrices that are near those of the operator's."""
    bidiagonal = torch.diag_embed(alphas) + torch.diag_embed(betas[:, :-1], 1)
    vectors, values, _ = torch.linalg.svd(bidiagonal)
    bound = betas[:, -1:] * vectors[:, -1, :].abs() + _ROUNDING * precision * values[:, :1]
    found: Tensor = values[bound <= _CONVERGED * values]
    return found.sort(descending=True).values
