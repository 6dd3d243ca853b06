"""The caller's modes of torch, of which what is made here is to know nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fanin._errors import FaninError

__all__ = ["without_modes"]


@contextmanager
def without_modes() -> Iterator[None]:
    """Inside, no inference mode, whose tensors cannot be trained, and memory is on the CPU.

    Raises:
        FaninError: in FakeTensorMode, where there are no numbers.

    >>> with torch.inference_mode(), torch.device("meta"), without_modes():
    ...     print(torch.zeros(1).is_inference(), torch.zeros(1).device)
    False cpu
    """
    with torch.inference_mode(mode=False), torch.device("cpu"):
        if type(torch.empty(0)).__name__ == "FakeTensor":
            raise FaninError(
                "there are no numbers in FakeTensorMode",
                where="torch's modes",
                found="FakeTensorMode",
                fix="call this outside of it; a model for it is made on the meta device",
            )
        yield
