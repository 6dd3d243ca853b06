"""Orthogonal matrices: fanin's Haar matrices against torch.nn.init.orthogonal_."""

import torch
from torch import Tensor, nn

from fanin._orthogonal import orthonormal
from fanin._stream import Stream
from timing import Row, interleaved, table

__all__ = ["rows"]

# Each shape with the number of repeats that a median needs.
SHAPES = {
    (16, 16): 301,
    (64, 64): 301,
    (128, 128): 101,
    (256, 256): 31,
    (1024, 1024): 11,
    (2048, 2048): 5,
    (4096, 4096): 3,
    (4096, 1024): 7,
    (512, 4608): 9,
}
# The shapes that take less than a second.
QUICK = 1 << 21


def rows(*, quick: bool) -> list[Row]:
    """Float32 matrices (up to 2M elements when quick), the normals drawn, all threads and one."""
    default = torch.get_num_threads()
    shapes = [shape for shape in SHAPES if not quick or shape[0] * shape[1] <= QUICK]
    try:
        return [
            row(shape, threads)
            for threads in sorted({default, 1}, reverse=True)
            for shape in shapes
        ]
    finally:
        torch.set_num_threads(default)


def row(shape: tuple[int, int], threads: int) -> Row:
    """One shape with one number of threads."""
    torch.set_num_threads(threads)
    weight = torch.zeros(shape)
    ours, theirs, faster = interleaved(
        lambda: orthonormal(*shape, Stream(0, "weight")),
        lambda: nn.init.orthogonal_(weight),
        SHAPES[shape],
    )
    return {
        "shape": f"{shape[0]} x {shape[1]}",
        "threads": threads,
        "fanin, ms": 1e3 * ours,
        "torch, ms": 1e3 * theirs,
        "fanin / torch": 1 / faster,
        "largest error, fanin": residual(orthonormal(*shape, Stream(0, "weight"))),
        "largest error, torch": residual(weight),
    }


def residual(matrix: Tensor) -> float:
    """max |QᵀQ - 1| where rows >= cols and max |QQᵀ - 1| where rows <= cols: the worse of both."""
    exact = matrix.double()
    sides = [exact.T @ exact] if matrix.size(0) >= matrix.size(1) else []
    sides += [exact @ exact.T] if matrix.size(0) <= matrix.size(1) else []
    return max(float((gram - torch.eye(len(gram), dtype=gram.dtype)).abs().max()) for gram in sides)


if __name__ == "__main__":
    print(table("Orthogonal matrices", rows(quick=False)))
