"""An input to run a model on: as written on the command line, or as the model declares it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor, nn

from fanin._errors import FaninError, nearest
from fanin._target import _hugging_face, _timm
from fanin._target._draw import float_type, floats

__all__ = ["EXAMPLE", "Shape", "batch_of", "default_batch", "parse_inputs"]

TYPES: Final = {
    "int": torch.int64,  # as torch reads Python's own types
    "bool": torch.bool,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
    "complex64": torch.complex64,
    "uint8": torch.uint8,
    "int32": torch.int32,
    "int64": torch.int64,
}
EXAMPLE: Final = "64x784, int:2x16 or mask=bool:2x16"


@final
@dataclass(frozen=True, slots=True)
class Shape:
    """One input as it was written: ``mask=bool:2x16``; a dtype of None is the model's own."""

    name: str
    dtype: torch.dtype | None
    sizes: tuple[int, ...]

    def numbers(self, model: nn.Module) -> Tensor:
        """Standard normal numbers; whole ones are 0 and 1 in turn, truth values true."""
        dtype = self.dtype or float_type(model)
        if dtype is torch.bool:
            return torch.ones(self.sizes, dtype=dtype)
        if dtype.is_floating_point or dtype.is_complex:
            return floats(self.name or "input", self.sizes, dtype)
        count = torch.Size(self.sizes).numel()
        return (torch.arange(count) % 2).to(dtype).reshape(self.sizes)


def parse_inputs(texts: Sequence[str]) -> list[Shape]:
    """The inputs that ``["64x784"]`` or ``["ids=int:2x16", "mask=bool:2x16"]`` describe.

    Raises:
        FaninError: for a text that is no shape, and for inputs of which only some have a name.

    >>> parse_inputs(["int:2x3"])
    [Shape(name='', dtype=torch.int64, sizes=(2, 3))]
    """
    shapes = [_parse(text) for text in texts]
    names = [shape.name for shape in shapes if shape.name]
    if names and len(set(names)) < len(shapes):
        raise FaninError(
            "give every input a name of its own, or none a name",
            where="--input",
            found=" ".join(texts),
            fix="write for example --input input_ids=int:2x16 --input attention_mask=bool:2x16",
        )
    return shapes


def batch_of(shapes: Sequence[Shape], model: nn.Module) -> object:
    """A tensor, several of them as positional, or named ones as keyword arguments.

    >>> batch_of(parse_inputs(["int:2x3"]), nn.Identity())
    tensor([[0, 1, 0],
            [1, 0, 1]])
    """
    if shapes[0].name:
        return {shape.name: shape.numbers(model) for shape in shapes}
    tensors = tuple(shape.numbers(model) for shape in shapes)
    return tensors[0] if len(tensors) == 1 else tensors


def default_batch(model: nn.Module) -> tuple[object, str]:
    """The input that the model declares, and where it does.

    Raises:
        FaninError: where it declares none.
    """
    declared = getattr(model, "example_input_array", None)
    if declared is not None:
        return declared, "its example_input_array"
    if _hugging_face.is_hugging_face(model):
        named = _hugging_face.batch_for(model)
        if named is not None:
            return named, "an input that its config tells"
    shape = _timm.input_shape(model)
    if shape is not None:
        return floats(
            "input", (2, *shape), float_type(model)
        ), "an input that its default_cfg tells"
    raise FaninError(
        "the model does not say what it runs on",
        where=type(model).__name__,
        found="no example_input_array, and no shape in its configuration",
        fix=f"give its shape, --input {EXAMPLE}, or --batch file.py:function",
    )


def _parse(text: str) -> Shape:
    name, _, rest = text.rpartition("=")
    kind, _, sizes = rest.rpartition(":")
    if kind and kind not in TYPES:
        raise FaninError(
            "there is no such dtype",
            where=f"--input {text}",
            found=kind,
            fix=f"use one of: {nearest(kind, TYPES)}",
        )
    parts = sizes.split("x")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise FaninError(
            "this is no shape",
            where=f"--input {text}",
            found=sizes or "nothing",
            fix=f"write sizes with x between them: {EXAMPLE}",
        )
    return Shape(name, TYPES.get(kind), tuple(int(part) for part in parts))
