"""What an activation that writes over its input was given."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from fanin._audit._measure import flat_side
from fanin._trace._record import Recorder

__all__ = ["Overwritten"]

_AFTER: Final = {
    torch.ops.aten.silu_.default: "silu",
    torch.ops.aten.mish_.default: "mish",
}
"""Neither grows from left to right: what they give does not tell what they were given."""


@final
class Overwritten(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Entered last, so that it sees an activation before that has written over its input."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder
        self._flat: Tensor | None = None

    def taken(self) -> Tensor | None:
        """Where the activation that has just run is flat; None for all others."""
        flat, self._flat = self._flat, None
        return flat

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        name = _AFTER.get(func)
        if name is not None and not self._recorder.is_hidden:
            self._recorder.is_hidden = True
            try:
                self._flat = flat_side(name, args)
            finally:
                self._recorder.is_hidden = False
        return func(*args, **(kwargs or {}))
