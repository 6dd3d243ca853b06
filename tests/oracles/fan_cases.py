"""Every kind of weight as a product of weight and input, through the real layer if it has one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import linear

from fanin import Block, Layout, layout

__all__ = ["CASES", "FUSED", "HALVES", "Case", "of_convolution", "of_layer", "signs"]

TINY = 1e-6

Product = Callable[[Tensor, Tensor], Tensor]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """``product(weight, x)``, for x of ``shape``; its layout is to be proved.

    ``torch_shape`` is that of the tensor torch would take the fans of, where it holds more than
    this weight; ``torch_is_wrong_about`` says which.
    """

    where: Layout
    product: Product
    shape: Shape
    torch_is_wrong_about: tuple[str, ...] = ()
    torch_shape: Shape = ()

    def forward(self, weight: Tensor) -> Tensor:
        """The outputs for inputs of random signs."""
        return self.product(weight, signs(self.shape, seed=1)).flatten()

    def backward(self, weight: Tensor) -> Tensor:
        """The gradients of these inputs for arriving gradients of random signs."""
        x = signs(self.shape, seed=1).requires_grad_()
        y = self.product(weight, x)
        return torch.autograd.grad(y, x, signs(y.shape, seed=2))[0].flatten()

    def torch_fans(self) -> dict[str, int]:
        """The fans of torch.nn.init for this weight."""
        tensor = torch.empty(self.torch_shape or self.where.shape)
        return dict(zip(("in", "out"), nn.init._calculate_fan_in_and_fan_out(tensor), strict=True))


def signs(shape: Shape, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).choice((-1.0, 1.0), tuple(shape)))


def of_layer(
    layer: nn.Module, *shape: int, wrong: tuple[str, ...] = (), blocks: tuple[Block, ...] = ()
) -> Case:
    """A layer whose only parameter is its weight."""
    layer = layer.double()
    product = lambda w, x: functional_call(layer, {"weight": w}, (x,))
    return Case(layout(layer, blocks=blocks), product, shape, wrong)


def of_convolution(layer: nn.Module, *size: int, wrong: tuple[str, ...] = ()) -> Case:
    """A convolution that sees inputs of this size, so that zero padding is counted."""
    case = of_layer(layer, 1, layer.in_channels, *size, wrong=wrong)
    return Case(layout(layer, input_size=size), case.product, case.shape, wrong)


def of_block(whole: Case, name: str) -> Case:
    """One block of a packed weight: the gradient arrives through this block only."""
    part = next(part for part in whole.where.parts() if part.name == name)
    rows = part.index[0]
    return Case(
        part.layout,
        lambda w, x: whole.product(embedded(w, whole.where, rows), x)[..., rows],
        whole.shape,
        ("out",),
        whole.where.shape,
    )


def embedded(w: Tensor, whole: Layout, rows: slice) -> Tensor:
    """The whole weight [out, in], zero but for ``w`` at ``rows``."""
    before, after = rows.start, whole.shape[0] - rows.stop
    return torch.cat([w.new_zeros(before, w.size(1)), w, w.new_zeros(after, w.size(1))])


def of_bilinear(first: int, second: int, outputs: int) -> Case:
    """The fans of the first input; the second has mean square 1 too."""
    layer = nn.Bilinear(first, second, outputs, bias=False).double()
    other = signs((4, second), seed=4)
    product = lambda w, x: functional_call(layer, {"weight": w}, (x, other))
    return Case(layout(layer), product, (4, first))


def of_embedding(words: int, width: int) -> Case:
    """The picked rows are inputs of size 1; here their sign is random."""
    layer = nn.Embedding(words, width).double()
    rows = torch.arange(words).view(2, -1)
    product = lambda w, x: functional_call(layer, {"weight": w}, (rows,)) * x[..., None]
    return Case(layout(layer), product, tuple(rows.shape), ("in", "out"))


def of_bags(bag: int, width: int, mode: str) -> Case:
    """The sum or mean that the layer takes, checked against the layer, with signs as inputs."""
    layer = nn.EmbeddingBag(4 * bag, width, mode=mode).double()
    rows = torch.arange(4 * bag).view(4, bag)
    share = 1 if mode == "sum" else 1 / bag
    product = lambda w, x: torch.einsum("nb,nbd->nd", x * share, w[rows])
    inputs = torch.ones(4, bag, dtype=torch.float64)
    torch.testing.assert_close(product(layer.weight, inputs), layer(rows))
    return Case(layout(layer, bag_size=bag), product, (4, bag), ("in", "out"))


def of_attention(width: int) -> Case:
    """in_proj_weight through F.linear, as the module uses it before its softmax."""
    layer = nn.MultiheadAttention(width, 2, bias=False)
    return Case(layout(layer, "in_proj_weight"), lambda w, x: linear(x, w), (3, width))


def of_attention_value(width: int) -> Case:
    """The value block through the module: a token that attends to itself only."""
    layer = nn.MultiheadAttention(width, 2, bias=False, batch_first=True).double()
    whole = layout(layer, "in_proj_weight")
    value = whole.parts()[2]
    output = {"out_proj.weight": torch.eye(width, dtype=torch.float64)}

    def product(w: Tensor, x: Tensor) -> Tensor:
        weights = output | {"in_proj_weight": embedded(w, whole, value.index[0])}
        return functional_call(layer, weights, (x, x, x), {"need_weights": False})[0]

    return Case(value.layout, product, (4, 1, width), ("out",), whole.shape)


def of_gate(cell: nn.Module, side: str, gate: int = 0) -> Case:
    """A gate through its cell, by its first-order effect on the output.

    Tiny weights move the output by (d output / d gate) w x, up to TINY²; the gate's own bias tells
    the derivative, which is the same for all units.
    """
    cell = cell.double()
    whole = layout(cell, f"weight_{side}")
    part = whole.parts()[gate]
    rest = {n: torch.full_like(p, 0.3 * ("bias" in n)) for n, p in cell.named_parameters()}
    shapes = {"ih": (4, cell.input_size), "hh": (4, cell.hidden_size)}
    zeros = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def step(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        source = zeros | {side: x}
        if isinstance(cell, nn.LSTMCell):
            state = (source["hh"], torch.ones_like(zeros["hh"]))
            return functional_call(cell, rest | parameters, (source["ih"], state))[0]
        return functional_call(cell, rest | parameters, (source["ih"], source["hh"]))

    def moved(name: str, change: Tensor, x: Tensor) -> Tensor:
        return step({name: rest[name] + TINY * change}, x) - step({}, x)

    bias = torch.zeros_like(rest[f"bias_{side}"])
    bias[part.index[0]] = 1
    derivative = moved(f"bias_{side}", bias, zeros[side]).detach()
    product = lambda w, x: (
        moved(f"weight_{side}", embedded(w, whole, part.index[0]), x) / derivative
    )
    wrong = ("out",) if whole.blocks else ()
    return Case(part.layout, product, shapes[side], wrong, whole.shape)


def of_experts(experts: int, inputs: int, outputs: int) -> Case:
    """(experts, out, in), as mixture-of-experts layers use it."""
    where = Layout((experts, outputs, inputs), "batch out in")
    product = lambda w, x: torch.bmm(x, w.mT)
    return Case(where, product, (experts, 3, inputs), ("in", "out"))


def of_right_product(inputs: int, outputs: int) -> Case:
    """x @ w, as GPT-2 stores its weights."""
    where = Layout((inputs, outputs), "in out")
    return Case(where, lambda w, x: x @ w, (3, inputs), ("in", "out"))


HALVES = (Block("gate", 12), Block("up", 12))
FUSED = (Block("query", 12), Block("key", 4), Block("value", 4))


def _conv(axes: int, *channels: int, **given: object) -> nn.Module:
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    return kind(*channels, bias=False, padding_mode="circular", **given)


def _transposed(axes: int, *channels: int, **given: object) -> nn.Module:
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
    return kind(*channels, bias=False, **given)


def _linear(blocks: tuple[Block, ...]) -> Case:
    layer = nn.Linear(7, sum(block.size for block in blocks), bias=False)
    return of_layer(layer, 3, 7, blocks=blocks)


CASES: dict[str, Callable[[], Case]] = {
    "linear": lambda: of_layer(nn.Linear(12, 30, bias=False), 3, 12),
    "wide linear": lambda: of_layer(nn.Linear(40, 5, bias=False), 2, 40),
    "bilinear": lambda: of_bilinear(4, 6, 10),
    "conv1d": lambda: of_convolution(_conv(1, 4, 6, 5, padding=2), 10),
    "conv2d": lambda: of_convolution(_conv(2, 3, 8, 3, padding="same"), 5, 4),
    "conv3d": lambda: of_convolution(_conv(3, 2, 4, 3, padding=1), 4, 3, 3),
    "dilated": lambda: of_convolution(_conv(2, 3, 5, 3, padding=2, dilation=2), 6, 6),
    "grouped": lambda: of_convolution(
        _conv(2, 8, 12, 3, padding=1, groups=4), 4, 4, wrong=("out",)
    ),
    "depthwise": lambda: of_convolution(_conv(1, 9, 18, 3, padding=1, groups=9), 6, wrong=("out",)),
    "strided": lambda: of_convolution(_conv(2, 3, 8, 3, padding=1, stride=2), 6, 6, wrong=("out",)),
    "zero-padded": lambda: of_convolution(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), 4, 4, wrong=("in", "out")
    ),
    "patches": lambda: of_convolution(_conv(2, 3, 10, 2, stride=2), 6, 4, wrong=("out",)),
    "transposed": lambda: of_convolution(_transposed(2, 6, 3, 3), 4, 4, wrong=("in", "out")),
    "transposed strided": lambda: of_convolution(
        _transposed(1, 8, 6, 4, stride=2, padding=1), 8, wrong=("in", "out")
    ),
    "transposed grouped": lambda: of_convolution(
        _transposed(1, 9, 15, 3, stride=3, groups=3), 6, wrong=("in", "out")
    ),
    "transposed 3d": lambda: of_convolution(
        _transposed(3, 4, 3, 2, stride=2), 2, 2, 2, wrong=("in", "out")
    ),
    "embedding": lambda: of_embedding(8, 20),
    "bags summed": lambda: of_bags(4, 10, "sum"),
    "bags averaged": lambda: of_bags(4, 10, "mean"),
    "half of a gated layer": lambda: of_block(_linear(HALVES), "up"),
    "fused query": lambda: of_block(_linear(FUSED), "query"),
    "fused value": lambda: of_block(_linear(FUSED), "value"),
    "attention query": lambda: of_block(of_attention(8), "query"),
    "attention value": lambda: of_attention_value(8),
    "rnn input": lambda: of_gate(nn.RNNCell(6, 9), "ih"),
    "rnn recurrent": lambda: of_gate(nn.RNNCell(6, 9), "hh"),
    "lstm input gate": lambda: of_gate(nn.LSTMCell(6, 9), "ih", 0),
    "lstm forget gate": lambda: of_gate(nn.LSTMCell(6, 9), "hh", 1),
    "lstm cell": lambda: of_gate(nn.LSTMCell(6, 9), "ih", 2),
    "lstm output gate": lambda: of_gate(nn.LSTMCell(6, 9), "hh", 3),
    "gru reset gate": lambda: of_gate(nn.GRUCell(6, 9), "hh", 0),
    "gru update gate": lambda: of_gate(nn.GRUCell(6, 9), "ih", 1),
    "gru new state": lambda: of_gate(nn.GRUCell(6, 9), "hh", 2),
    "experts": lambda: of_experts(5, 4, 12),
    "right product": lambda: of_right_product(5, 14),
}
