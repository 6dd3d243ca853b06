"""The tensors among the arguments of an operation, or in what it gave."""

from collections.abc import Iterator

from torch import Tensor

__all__ = ["tensors_in"]


def tensors_in(found: object) -> Iterator[Tensor]:
    """The tensor itself, or those in a list or tuple, at any depth, in order.

    >>> import torch
    >>> [one.ndim for one in tensors_in([torch.zeros(2), (None, [torch.zeros(1, 1)])])]
    [1, 2]
    """
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, (list, tuple)):
        for entry in found:
            yield from tensors_in(entry)
