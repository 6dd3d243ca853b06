"""Whether a tensor may be written to, and how the numbers get there."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.parameter import Parameter, is_lazy

from fanin._engine import draws_on
from fanin._errors import FaninError

__all__ = ["WIDE", "fill_target", "has_no_data", "require_memory", "require_writable"]

_DIRECT = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


WIDE = (torch.float32, torch.float64, torch.bfloat16, torch.complex64, torch.complex128)
"""The dtypes that hold every number that float32 holds."""


def fill_target(
    tensor: Tensor, draw: Callable[[Tensor], None], *, on_any_device: bool = False
) -> None:
    """Draw into ``tensor``: at once where it is plain memory, else aside and then copied.

    ``on_any_device`` is whether ``draw`` takes tensors of other devices than the CPU.
    """
    if _is_plain(tensor):
        if tensor.device.type == "cpu":
            draw(tensor.detach())
            return
        if on_any_device and _is_drawn_there(tensor, draw):
            return
    staged = torch.empty(tensor.shape, dtype=_staging_dtype(tensor.dtype), device="cpu")
    draw(staged)
    with torch.no_grad():
        tensor.copy_(staged)


def _is_drawn_there(tensor: Tensor, draw: Callable[[Tensor], None]) -> bool:
    """Draw on another device than the CPU, where that is asked for and works."""
    if not draws_on(tensor.device, tensor.dtype):
        return False
    try:
        draw(tensor.detach())
    except torch.OutOfMemoryError:  # a draw takes some memory of the device; a copy takes none
        return False
    return True


def has_no_data(tensor: Tensor) -> bool:
    """Whether ``tensor`` is a shape without numbers: on the meta device, or a fake tensor."""
    # By its name: the class is private to torch.
    return tensor.is_meta or type(tensor).__name__ == "FakeTensor"


def _is_plain(tensor: Tensor) -> bool:
    return (
        type(tensor) in (Tensor, Parameter)
        and tensor.dtype in _DIRECT
        and tensor.is_contiguous()
        and not tensor.is_neg()
    )


def _staging_dtype(dtype: torch.dtype) -> torch.dtype:
    if dtype.is_complex:
        return torch.complex128 if dtype == torch.complex128 else torch.complex64
    return dtype if dtype in _DIRECT else torch.float32


def require_writable(tensor: Tensor) -> None:
    """Raise FaninError for a tensor that cannot hold a start, or whose start would be lost."""
    if not isinstance(tensor, Tensor):
        raise FaninError(
            "this is not a tensor",
            where="the tensor to fill",
            found=f"{type(tensor).__name__}: {tensor!r}"[:80],
            fix="give a torch.Tensor, such as layer.weight",
        )
    for what, fix in chain(_wrong_kind(tensor), _wrong_memory(tensor)):
        raise _refusal(tensor, what, fix)


def require_memory(tensor: Tensor) -> None:
    """Raise FaninError where what is written to a tensor of any dtype is lost or forbidden."""
    for what, fix in _wrong_memory(tensor):
        raise _refusal(tensor, what, fix)


def _wrong_kind(tensor: Tensor) -> Iterator[tuple[str, str]]:
    """What is wrong with the kind of tensor, and the way out."""
    if is_lazy(tensor):
        yield "a lazy parameter has no shape yet", "run the model once first"
    if not (tensor.dtype.is_floating_point or tensor.dtype.is_complex):
        yield "only float and complex tensors can be drawn", "convert it: tensor.float()"
    if tensor.dtype not in WIDE and torch.finfo(tensor.dtype).min >= 0:
        yield "this dtype has no negative numbers", "use another float dtype"
    if tensor.layout != torch.strided:
        yield "only dense tensors can be drawn", "use a dense tensor"


def _wrong_memory(tensor: Tensor) -> Iterator[tuple[str, str]]:
    """Why what is written to this tensor would be lost or must not be written, and the way out."""
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        yield (
            "a tensor made in inference mode is read-only",
            "make it outside torch.inference_mode()",
        )
    if tensor.grad_fn is not None and not _views_a_leaf(tensor):
        yield (
            "this tensor is the result of a computation: what is written to it is lost",
            "name the parameter itself; for a parametrized layer use fanin.fill(module, ...)",
        )
    if _is_write_protected(tensor):
        yield (
            "the memory of this tensor is read-only",
            "copy it: tensor.clone(); or map the file with mode='r+' or 'c'",
        )
    if _overlaps(tensor):
        yield (
            "several entries share one place in memory",
            "use tensor.contiguous(), or the tensor before expand()",
        )


def _views_a_leaf(tensor: Tensor) -> bool:
    base = tensor._base  # noqa: SLF001 - torch's documented name for the tensor a view looks at
    return base is not None and base.is_leaf


def _is_write_protected(tensor: Tensor) -> bool:
    """Whether the system forbids to write here: a file mapped for reading, where writing crashes.

    Told on Linux only. torch's own memory can be resized, and is not looked up.
    """
    if tensor.device.type != "cpu" or has_no_data(tensor):
        return False
    try:
        if tensor.untyped_storage().resizable():
            return False
    except NotImplementedError:
        raise _refusal(
            tensor,
            "inside vmap and other function transforms a tensor has no memory of its own",
            "draw before the transform",
        ) from None
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return False
    place = tensor.data_ptr()
    for line in lines:
        span, rights = line.split(maxsplit=2)[:2]
        start, stop = (int(end, 16) for end in span.split("-"))
        if start <= place < stop:
            return "w" not in rights
    return False


def _overlaps(tensor: Tensor) -> bool:
    if tensor.is_contiguous():
        return False
    reach = 0
    for size, stride in sorted(
        zip(tensor.shape, tensor.stride(), strict=True), key=lambda axis: axis[1]
    ):
        if size > 1:
            if stride <= reach:
                return True
            reach += (size - 1) * stride
    return False


def _refusal(tensor: Tensor, what: str, fix: str) -> FaninError:
    found = f"{type(tensor).__name__} of dtype {tensor.dtype}, device {tensor.device}"
    if not is_lazy(tensor):
        found += (
            f", shape {tuple(tensor.shape)}, strides {tensor.stride()}"
            if (tensor.layout == torch.strided)
            else f", layout {tensor.layout}"
        )
    return FaninError(what, where="the tensor to fill", found=found, fix=fix)
