"""The layout of a torch layer's parameter, read from the layer, never from the shape alone."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import TypeAlias

from torch import nn

from fanin._errors import FaninError
from fanin._layout._axes import Layout
from fanin._layout._block import Block
from fanin._layout._parameters import owner_of, shape_of
from fanin._layout._taps import convolution_taps, transposed_taps
from fanin._layout._words import Role
from fanin._numbers import is_number

__all__ = ["known_layout", "layout"]

Size: TypeAlias = tuple[int, ...] | None

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (
    nn.modules.batchnorm._NormBase,  # noqa: SLF001 - batch and instance norms share no public base
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)
_GATES: dict[str, tuple[str, ...]] = {
    "LSTM": ("input", "forget", "cell", "output"),
    "GRU": ("reset", "update", "new"),
    "RNN": (),
}


def layout(
    module: nn.Module,
    name: str = "weight",
    *,
    input_size: tuple[int, ...] | None = None,
    bag_size: float | None = None,
    blocks: Sequence[Block] = (),
) -> Layout:
    """The axes of ``module``'s parameter ``name``, as this layer uses them.

    Known: every layer of torch.nn that owns a weight, and Hugging Face's ``Conv1D`` (``in out``);
    names may be dotted (``"out_proj.weight"``). In a module of another kind a parameter of one axis
    is ``channel``, one of two axes is taken as ``out in``, and one of more is an error.

    ``input_size``: the spatial sizes of a convolution's input; zero padding is then counted.
    ``bag_size``: the mean number of rows in a bag of an ``EmbeddingBag`` (with ``mode="mean"`` and
    bags of different sizes, the harmonic mean); without it the fans are those of one row.
    ``blocks``: parts along the out axis that are matrices of their own: halves of a packed GLU,
    heads, a fused query/key/value.

    Raises:
        FaninError: for a parameter that is missing, not yet shaped (lazy), or of unknown axes, and
            for an ``input_size`` or ``bag_size`` that the layer does not have.

    >>> import torch
    >>> print(layout(torch.nn.LSTM(8, 16), "weight_hh_l0"))
    recurrent product [out=64, in=16, blocks input/forget/cell/output]
    >>> print(layout(torch.nn.Linear(8, 32), blocks=[Block("gate", 16), Block("up", 16)]))
    matrix product [out=32, in=8, blocks gate/up]
    """
    owner, local = owner_of(module, name)
    shape = shape_of(owner, local)
    _check_uses(owner, input_size, bag_size)
    found = _axes_of(owner, local, shape, input_size, bag_size)
    return replace(found, blocks=tuple(blocks)) if blocks else found


def _check_uses(module: nn.Module, input_size: Size, bag_size: float | None) -> None:
    if input_size is not None and not isinstance(module, (*_CONVOLUTIONS, *_TRANSPOSED)):
        raise FaninError(
            "only a convolution has an input size",
            where=type(module).__name__,
            found=f"input_size={input_size}",
            fix="leave input_size out: these fans do not depend on it",
        )
    if bag_size is not None and not isinstance(module, nn.EmbeddingBag):
        raise FaninError(
            "only an EmbeddingBag has a bag size",
            where=type(module).__name__,
            found=f"bag_size={bag_size}",
            fix="leave bag_size out",
        )


def known_layout(module: nn.Module, name: str) -> Layout | None:
    """The layout of a torch layer's own parameter ``name``; None for a layer that is not torch's.

    >>> print(known_layout(nn.Linear(3, 4), "weight"))
    matrix product [out=4, in=3]
    """
    known = any(
        isinstance(module, kind) and re.fullmatch(names, name) for kind, names, _ in _READERS
    )
    if not known and not (_is_hugging_face_conv1d(module) and name == "weight"):
        return None
    return _axes_of(module, name, shape_of(module, name), None, None)


def _axes_of(
    module: nn.Module, name: str, shape: tuple[int, ...], input_size: Size, bag_size: float | None
) -> Layout:
    for kind, names, read in _READERS:
        # A subclass may own parameters that its torch class does not know.
        if isinstance(module, kind) and re.fullmatch(names, name):
            return read(module, name, shape, input_size, bag_size)
    if _is_hugging_face_conv1d(module) and name == "weight":
        return Layout(shape, "in out")
    return _unknown(module, name, shape)


def _is_hugging_face_conv1d(module: nn.Module) -> bool:
    # GPT-2's linear layer, used as x @ w; known by name, so that transformers is not imported.
    return any(
        kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers.")
        for kind in type(module).__mro__
    )


def _dense(module: nn.Module, name: str, shape: tuple[int, ...], *_: object) -> Layout:
    if name == "bias":
        return Layout(shape, "out", role="bias", operation="sum")
    if isinstance(module, nn.Bilinear):
        return Layout(shape, "out in in", operation="bilinear product")
    return Layout(shape, "out in")


def _convolution(
    module: nn.Module, name: str, shape: tuple[int, ...], input_size: Size, _: object
) -> Layout:
    if name == "bias":
        return Layout(shape, "out", role="bias", operation="sum")
    kernel = ("kernel",) * (len(shape) - 2)
    if isinstance(module, _CONVOLUTIONS):
        taps, axes, operation = convolution_taps(module, input_size), "out in", "convolution"
    else:
        assert isinstance(module, _TRANSPOSED)  # noqa: S101 - from the table of readers
        taps, axes = transposed_taps(module, input_size), "in out"
        operation = "transposed convolution"
    return Layout(
        shape,
        " ".join((axes, *kernel)),
        groups=module.groups,
        taps_per_output=taps[0],
        taps_per_input=taps[1],
        operation=operation,
    )


def _embedding(
    module: nn.Module, name: str, shape: tuple[int, ...], _: object, bag_size: float | None
) -> Layout:
    if not isinstance(module, nn.EmbeddingBag) or bag_size is None:
        return Layout(shape, "lookup out", role="embedding", operation="lookup")
    if module.mode == "max":
        raise FaninError(
            "a bag's maximum is not a sum, so it has no fan_in",
            where=f"{type(module).__name__}.{name}",
            found="mode='max'",
            fix="leave bag_size out: each row alone has fan_in 1",
        )
    if not is_number(bag_size) or not 1 <= bag_size < inf:
        raise FaninError(
            "a bag holds at least one row",
            where=f"{type(module).__name__}.{name}",
            found=f"bag_size={bag_size}",
            fix="give the mean number of rows in a bag",
        )
    # Each of the n rows of a mean counts 1/n, so 1/n² of a connection.
    each = 1.0 if module.mode == "sum" else bag_size**-2
    return Layout(
        shape,
        "lookup out",
        taps_per_output=bag_size * each,
        taps_per_input=each,
        role="embedding",
        operation=f"{module.mode} of bags",
    )


def _recurrent(module: nn.Module, name: str, shape: tuple[int, ...], *_: object) -> Layout:
    if name.startswith("weight_hr"):
        return Layout(shape, "out in", role="projection")
    gates = next(gates for kind, gates in _GATES.items() if kind in _mode(module))
    blocks = tuple(Block(gate, shape[0] // len(gates)) for gate in gates)
    if name.startswith("bias"):
        return Layout(shape, "out", blocks=blocks, role="bias", operation="sum")
    if name.startswith("weight_hh"):
        return Layout(
            shape, "out in", blocks=blocks, role="recurrent", operation="recurrent product"
        )
    return Layout(shape, "out in", blocks=blocks)


def _mode(module: nn.Module) -> str:
    if isinstance(module, nn.RNNBase):
        return module.mode
    kinds = {nn.LSTMCell: "LSTM", nn.GRUCell: "GRU", nn.RNNCell: "RNN"}
    return next(mode for kind, mode in kinds.items() if isinstance(module, kind))


def _attention(_module: nn.Module, name: str, shape: tuple[int, ...], *_: object) -> Layout:
    if name in ("bias_k", "bias_v"):
        return _channels(shape, "bias", "an extra token")
    packed = name in ("in_proj_weight", "in_proj_bias")
    size = shape[0] // 3 if packed else 0
    blocks = tuple(Block(part, size) for part in ("query", "key", "value")) if packed else ()
    if name == "in_proj_bias":
        return Layout(shape, "out", blocks=blocks, role="bias", operation="sum")
    return Layout(shape, "out in", blocks=blocks)


def _slope(_module: nn.Module, _name: str, shape: tuple[int, ...], *_: object) -> Layout:
    return _channels(shape, "slope", "activation")


def _norm(_module: nn.Module, name: str, shape: tuple[int, ...], *_: object) -> Layout:
    return _channels(shape, "norm_scale" if name == "weight" else "norm_shift", "normalization")


def _channels(shape: tuple[int, ...], role: Role, operation: str) -> Layout:
    return Layout(shape, " ".join(["channel"] * len(shape)), role=role, operation=operation)


def _unknown(module: nn.Module, name: str, shape: tuple[int, ...]) -> Layout:
    if len(shape) <= 1:
        return _channels(shape, "bias" if name == "bias" else "weight", "a parameter")
    if len(shape) == 2:
        return Layout(shape, "out in")
    raise FaninError(
        "the axes of this parameter are not known",
        where=f"{type(module).__name__}.{name}",
        found=f"shape {shape} in a module that is not one of torch.nn's layers",
        fix="name them: Layout(shape, 'batch out in'), or 'out in kernel', or as it is used",
    )


_Reader: TypeAlias = Callable[
    [nn.Module, str, tuple[int, ...], Size, float | None],
    Layout,
]
_WEIGHT_AND_BIAS = r"weight|bias"
_READERS: tuple[tuple[type | tuple[type, ...], str, _Reader], ...] = (
    (_NORMS, _WEIGHT_AND_BIAS, _norm),
    ((nn.Linear, nn.Bilinear), _WEIGHT_AND_BIAS, _dense),
    ((*_CONVOLUTIONS, *_TRANSPOSED), _WEIGHT_AND_BIAS, _convolution),
    ((nn.Embedding, nn.EmbeddingBag), r"weight", _embedding),
    ((nn.RNNBase, nn.RNNCellBase), r"(weight|bias)_(ih|hh|hr)(_l\d+(_reverse)?)?", _recurrent),
    (nn.MultiheadAttention, r"(in|[qkv])_proj_(weight|bias)|bias_[kv]", _attention),
    (nn.PReLU, r"weight", _slope),
)
