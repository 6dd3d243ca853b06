"""Which axis of a parameter is which, learned from the operation that consumed it."""

import pytest
import torch
from tests.oracles.trace_models import Model, parameter, rows, sites
from torch import nn
from torch.nn import functional

from fanin import layout

F = functional


def layout_of(run, shape, *batch):
    found = sites(Model(run, w=parameter(*shape)), batch)["w"]
    assert found.uses == 1
    return str(found.layout)


PRODUCTS = {
    "linear": (lambda m, x: F.linear(x, m.w), (16, 8), (4, 8), "out=16, in=8"),
    "linear, tokens": (lambda m, x: F.linear(x, m.w), (16, 8), (4, 3, 8), "out=16, in=8"),
    "x @ w": (lambda m, x: x @ m.w, (8, 16), (4, 8), "in=8, out=16"),
    "tokens @ w": (lambda m, x: x @ m.w, (8, 16), (4, 3, 8), "in=8, out=16"),
    "w @ x": (lambda m, x: m.w @ x, (16, 8), (8, 4), "out=16, in=8"),
    "w @ tokens": (lambda m, x: m.w @ x, (16, 8), (2, 8, 4), "out=16, in=8"),
    "square x @ w": (lambda m, x: x @ m.w, (8, 8), (4, 8), "in=8, out=8"),
    "x @ w.T": (lambda m, x: x @ m.w.T, (16, 8), (4, 8), "out=16, in=8"),
    "mm": (lambda m, x: torch.mm(x, m.w), (8, 16), (4, 8), "in=8, out=16"),
    "addmm": (
        lambda m, x: torch.addmm(x.new_zeros(16), x, m.w), (8, 16), (4, 8), "in=8, out=16",
    ),
    "mv": (lambda m, x: torch.mv(m.w, x), (16, 8), (8,), "out=16, in=8"),
    "vector @ w": (lambda m, x: x @ m.w, (8, 16), (8,), "in=8, out=16"),
    "tensordot": (
        lambda m, x: torch.tensordot(x, m.w, dims=([1], [1])), (16, 8), (4, 8), "out=16, in=8",
    ),
    "inner": (lambda m, x: torch.inner(x, m.w), (16, 8), (4, 8), "out=16, in=8"),
    "einsum bi,oi": (
        lambda m, x: torch.einsum("bi,oi->bo", x, m.w), (16, 8), (4, 8), "out=16, in=8",
    ),
    "einsum bi,io": (
        lambda m, x: torch.einsum("bi,io->bo", x, m.w), (8, 16), (4, 8), "in=8, out=16",
    ),
    "einsum oi,bi": (
        lambda m, x: torch.einsum("oi,bi->bo", m.w, x), (16, 8), (4, 8), "out=16, in=8",
    ),
    "einsum bti,io": (
        lambda m, x: torch.einsum("bti,io->bto", x, m.w), (8, 16), (4, 3, 8), "in=8, out=16",
    ),
    "einsum channels first": (
        lambda m, x: torch.einsum("bit,oi->bot", x, m.w), (16, 8), (4, 8, 3), "out=16, in=8",
    ),
    "einsum to heads, bti,ihd": (
        lambda m, x: torch.einsum("bti,ihd->bthd", x, m.w), (8, 2, 5), (4, 3, 8),
        "in=8, out=2, out=5",
    ),
    "einsum to heads, bti,hid": (
        lambda m, x: torch.einsum("bti,hid->bhtd", x, m.w), (2, 8, 5), (4, 3, 8),
        "out=2, in=8, out=5",
    ),
    "einsum from heads, bthd,hdo": (
        lambda m, x: torch.einsum("bthd,hdo->bto", x, m.w), (2, 5, 7), (4, 3, 2, 5),
        "in=2, in=5, out=7",
    ),
    "einsum head by head, bthd,hde": (
        lambda m, x: torch.einsum("bthd,hde->bthe", x, m.w), (2, 5, 7), (4, 3, 2, 5),
        "batch=2, in=5, out=7",
    ),
    "einsum experts, bei,eoi": (
        lambda m, x: torch.einsum("bei,eoi->beo", x, m.w), (3, 7, 5), (4, 3, 5),
        "batch=3, out=7, in=5",
    ),
    "einsum every expert on every token, bi,eio": (
        lambda m, x: torch.einsum("bi,eio->ebo", x, m.w), (3, 5, 7), (4, 5),
        "out=3, in=5, out=7",
    ),
    "bmm": (lambda m, x: torch.bmm(x, m.w), (3, 5, 7), (3, 4, 5), "batch=3, in=5, out=7"),
    "bmm, w first": (lambda m, x: torch.bmm(m.w, x), (3, 7, 5), (3, 5, 4), "batch=3, out=7, in=5"),
    "x @ w, experts": (lambda m, x: x @ m.w, (3, 5, 7), (3, 4, 5), "batch=3, in=5, out=7"),
    "x @ w.mT, experts": (
        lambda m, x: x @ m.w.transpose(1, 2), (3, 7, 5), (3, 4, 5), "batch=3, out=7, in=5",
    ),
    "x @ w, the same for the whole batch": (
        lambda m, x: x.unsqueeze(1) @ m.w, (3, 5, 7), (2, 4, 5), "batch=3, in=5, out=7",
    ),
    "baddbmm": (
        lambda m, x: torch.baddbmm(x.new_zeros(3, 1, 7), x, m.w), (3, 5, 7), (3, 4, 5),
        "batch=3, in=5, out=7",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("run", "shape", "batch", "axes"), PRODUCTS.values(), ids=PRODUCTS)
def test_a_product_tells_which_axes_it_sums_over_and_which_it_keeps(run, shape, batch, axes):
    """A shape does not say it, and a bare parameter has no layer that could."""
    assert layout_of(run, shape, rows(*batch)) == f"matrix product [{axes}]"


def test_a_bilinear_call_is_told_from_a_product():
    """Two inputs are multiplied: the fan_in is the product of both axes."""
    model = Model(lambda m, x, y: F.bilinear(x, y, m.w), w=parameter(7, 5, 4))
    found = sites(model, (rows(3, 5), rows(3, 4)))["w"]
    assert found.layout == layout(nn.Bilinear(5, 4, 7))


VIEWS = {
    "transposed": (lambda m, x: F.linear(x, m.w.t()), (8, 16), "in=8, out=16"),
    "transposed twice": (lambda m, x: F.linear(x, m.w.t().t()), (16, 8), "out=16, in=8"),
    "transposed and copied": (
        lambda m, x: F.linear(x, m.w.t().contiguous()), (8, 16), "in=8, out=16",
    ),
    "a slice of the outputs": (lambda m, x: F.linear(x, m.w[4:12]), (16, 8), "out=16, in=8"),
    "a slice of the inputs": (lambda m, x: F.linear(x, m.w[:, 4:12]), (16, 20), "out=16, in=20"),
    "every second output": (lambda m, x: F.linear(x, m.w[::2]), (16, 8), "out=16, in=8"),
    "the first half by chunk": (lambda m, x: F.linear(x, m.w.chunk(2)[0]), (16, 8), "out=16, in=8"),
    "heads viewed as one axis": (
        lambda m, x: F.linear(x, m.w.view(16, 8)), (4, 4, 8), "out=4, out=4, in=8",
    ),
    "a flat matrix": (lambda m, x: F.linear(x, m.w.view(16, 8)), (16, 2, 4), "out=16, in=2, in=4"),
    "heads moved behind": (
        lambda m, x: x @ m.w.permute(2, 0, 1).reshape(8, 6), (2, 3, 8), "out=2, out=3, in=8",
    ),
    "one of several": (lambda m, x: x @ m.w[1], (3, 8, 16), "batch=3, in=8, out=16"),
    "one of several, behind": (lambda m, x: x @ m.w[..., 1], (8, 16, 3), "in=8, out=16, batch=3"),
    "unbound": (lambda m, x: x @ m.w.unbind(0)[1], (3, 8, 16), "batch=3, in=8, out=16"),
    "with an axis of one": (
        lambda m, x: F.linear(x, m.w.squeeze(-1)), (16, 8, 1), "out=16, in=8, batch=1",
    ),
    "unsqueezed": (lambda m, x: x.unsqueeze(0) @ m.w.unsqueeze(0), (8, 16), "in=8, out=16"),
    "expanded over the batch": (
        lambda m, x: torch.bmm(x.expand(3, 4, 8), m.w.expand(3, 8, 16)), (8, 16), "in=8, out=16",
    ),
    "repeated by stack": (
        lambda m, x: torch.bmm(x.expand(3, 4, 8), m.w[None].expand(3, -1, -1)), (8, 16),
        "in=8, out=16",
    ),
    "cast to double": (lambda m, x: F.linear(x.double(), m.w.double()), (16, 8), "out=16, in=8"),
    "cast to bfloat16": (
        lambda m, x: F.linear(x.bfloat16(), m.w.to(torch.bfloat16)), (16, 8), "out=16, in=8",
    ),
    "cast and transposed": (
        lambda m, x: x.double() @ m.w.double().t(), (16, 8), "out=16, in=8",
    ),
    "detached": (lambda m, x: F.linear(x, m.w.detach()), (16, 8), "out=16, in=8"),
    "scaled": (lambda m, x: F.linear(x, m.w * 0.5), (16, 8), "out=16, in=8"),
    "scaled by a tensor": (
        lambda m, x: F.linear(x, m.w * torch.tensor(0.5)), (16, 8), "out=16, in=8",
    ),
    "masked": (
        lambda m, x: F.linear(x, m.w * torch.ones(16, 8).tril()), (16, 8), "out=16, in=8",
    ),
    "masked by tril": (lambda m, x: F.linear(x, m.w.tril()), (16, 8), "out=16, in=8"),
    "exponentiated": (lambda m, x: F.linear(x, m.w.exp()), (16, 8), "out=16, in=8"),
    "standardized": (
        lambda m, x: F.linear(
            x, (m.w - m.w.mean(1, keepdim=True)) / (m.w.std(1, keepdim=True) + 1e-5)
        ),
        (16, 8), "out=16, in=8",
    ),
    "normalized": (lambda m, x: F.linear(x, F.normalize(m.w, dim=1)), (16, 8), "out=16, in=8"),
    "quantized by straight-through": (
        lambda m, x: F.linear(x, m.w + (m.w.round() - m.w).detach()), (16, 8), "out=16, in=8",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("run", "shape", "axes"), VIEWS.values(), ids=VIEWS)
def test_a_weight_is_recognised_through_what_is_done_to_it_first(run, shape, axes):
    """Views, copies, casts and factors: the axes are those of the parameter that is stored."""
    found = sites(Model(run, w=parameter(*shape)), rows(4, 8))["w"]
    assert str(found.layout) == f"matrix product [{axes}]"
    assert (found.role, found.uses) == ("readout", 1)


CONVOLUTIONS = {
    "conv1d": (
        lambda w, x: F.conv1d(x, w), (6, 4, 3), (2, 4, 9), lambda: nn.Conv1d(4, 6, 3),
    ),
    "conv2d": (
        lambda w, x: F.conv2d(x, w, padding=1), (6, 4, 3, 3), (2, 4, 9, 9),
        lambda: nn.Conv2d(4, 6, 3),
    ),
    "conv2d, no batch axis": (
        lambda w, x: F.conv2d(x, w), (6, 4, 3, 3), (4, 9, 9), lambda: nn.Conv2d(4, 6, 3),
    ),
    "conv2d, strided": (
        lambda w, x: F.conv2d(x, w, stride=(2, 1)), (6, 4, 3, 3), (2, 4, 9, 9),
        lambda: nn.Conv2d(4, 6, 3, stride=(2, 1)),
    ),
    "conv2d, grouped": (
        lambda w, x: F.conv2d(x, w, groups=2), (6, 2, 3, 3), (2, 4, 9, 9),
        lambda: nn.Conv2d(4, 6, 3, groups=2),
    ),
    "conv2d, depthwise": (
        lambda w, x: F.conv2d(x, w, groups=4), (4, 1, 3, 3), (2, 4, 9, 9),
        lambda: nn.Conv2d(4, 4, 3, groups=4),
    ),
    "conv3d": (
        lambda w, x: F.conv3d(x, w), (6, 4, 3, 3, 3), (2, 4, 5, 5, 5), lambda: nn.Conv3d(4, 6, 3),
    ),
    "conv_transpose1d": (
        lambda w, x: F.conv_transpose1d(x, w, stride=2), (4, 6, 4), (2, 4, 9),
        lambda: nn.ConvTranspose1d(4, 6, 4, stride=2),
    ),
    "conv_transpose2d": (
        lambda w, x: F.conv_transpose2d(x, w, stride=2), (4, 6, 4, 4), (2, 4, 5, 5),
        lambda: nn.ConvTranspose2d(4, 6, 4, stride=2),
    ),
    "conv_transpose2d, grouped": (
        lambda w, x: F.conv_transpose2d(x, w, stride=2, groups=2), (4, 3, 4, 4), (2, 4, 5, 5),
        lambda: nn.ConvTranspose2d(4, 6, 4, stride=2, groups=2),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("run", "shape", "batch", "layer"), CONVOLUTIONS.values(), ids=CONVOLUTIONS
)
def test_a_functional_convolution_has_the_layout_of_its_layer(run, shape, batch, layer):
    """Groups, stride and direction are arguments of the call, not of a module."""
    model = Model(lambda m, x: run(m.w, x), w=parameter(*shape))
    assert sites(model, rows(*batch))["w"].layout == layout(layer())


FORMS = {
    "kernel first": (
        lambda w: w.permute(3, 2, 0, 1), (3, 3, 4, 6), "kernel=3, kernel=3, in=4, out=6",
    ),
    "a matrix as a 1x1": (lambda w: w[:, :, None, None], (6, 4), "out=6, in=4"),
    "a matrix, transposed, as a 1x1": (lambda w: w.t()[:, :, None, None], (4, 6), "in=4, out=6"),
    "a flat kernel": (lambda w: w.view(6, 4, 3, 3), (6, 4, 9), "out=6, in=4, kernel=9"),
    "standardized": (
        lambda w: (w - w.mean((1, 2, 3), keepdim=True)) / (w.var((1, 2, 3), keepdim=True) + 1e-5),
        (6, 4, 3, 3), "out=6, in=4, kernel=3, kernel=3",
    ),
    "standardized by batch_norm": (
        lambda w: F.batch_norm(w.reshape(1, 6, -1), None, None, training=True).reshape_as(w),
        (6, 4, 3, 3), "out=6, in=4, kernel=3, kernel=3",
    ),
    "demodulated": (
        lambda w: w * torch.rsqrt(w.square().sum((1, 2, 3), keepdim=True) + 1e-8),
        (6, 4, 3, 3), "out=6, in=4, kernel=3, kernel=3",
    ),
    "masked (causal)": (
        lambda w: w * torch.ones(6, 4, 3, 3).tril(),
        (6, 4, 3, 3), "out=6, in=4, kernel=3, kernel=3",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("form", "shape", "axes"), FORMS.values(), ids=FORMS)
def test_a_kernel_is_recognised_through_what_is_done_to_it_first(form, shape, axes):
    """Weights stored kernel first, standardized, modulated or masked."""
    model = Model(lambda m, x: F.conv2d(x, form(m.w)), w=parameter(*shape))
    found = sites(model, rows(2, 4, 9, 9))["w"]
    assert str(found.layout) == f"convolution [{axes}]"
    assert (found.role, found.uses) == ("readout", 1)


LAYERS = {
    "Linear": (lambda: nn.Linear(8, 5), (4, 8)),
    "Bilinear": (lambda: nn.Bilinear(8, 8, 5), (4, 8)),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1, stride=2, groups=2), (2, 4, 9)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, padding="same", padding_mode="circular"), (2, 4, 9, 9)),
    "Conv3d": (lambda: nn.Conv3d(4, 6, 3), (2, 4, 5, 5, 5)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 4, stride=2), (2, 4, 5, 5)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), (2, 4, 5, 5)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (2, 4, 5)),
    "LayerNorm": (lambda: nn.LayerNorm((4, 5)), (2, 4, 5)),
    "RMSNorm": (lambda: nn.RMSNorm(5), (2, 4, 5)),
    "PReLU": (lambda: nn.PReLU(4), (2, 4, 5)),
}


@pytest.mark.parametrize(("make", "batch"), LAYERS.values(), ids=LAYERS)
def test_a_torch_layer_has_the_layout_it_tells_itself(make, batch):
    """The layer knows more than one run shows: names of gates, padding."""
    layer = make()
    given = (rows(*batch),) * (2 if isinstance(layer, nn.Bilinear) else 1)
    found = sites(layer, given)
    names = [name for name, _ in layer.named_parameters()]
    assert {name: found[name].layout for name in names} == {
        name: layout(layer, name) for name in names
    }
    assert all(found[name].uses == 1 for name in names)


def test_what_an_operation_does_not_tell_is_not_guessed():
    """A vector that is summed over has no output axis of its own."""
    found = sites(Model(lambda m, x: x @ m.w, w=parameter(8)), rows(4, 8))["w"]
    assert (found.layout, found.role) == (None, "readout")


def test_an_expert_tensor_in_a_loop_counts_each_expert():
    """``w[e]`` picks one matrix; the axis that picks is no input and no output."""
    model = Model(
        lambda m, x: torch.stack([x[:, e] @ m.w[e] for e in range(3)], 1), w=parameter(3, 5, 7)
    )
    found = sites(model, rows(4, 3, 5))["w"]
    assert (str(found.layout), found.uses) == ("matrix product [batch=3, in=5, out=7]", 3)


def test_the_bias_of_a_functional_call_is_a_bias():
    """Whether the call adds it or the model does."""
    runs = {
        "linear": (lambda m, x: F.linear(x, m.w, m.b), (7, 5), (7,), (4, 5)),
        "sum": (lambda m, x: x @ m.w + m.b, (5, 7), (7,), (4, 5)),
        "sum in place": (lambda m, x: (x @ m.w).add_(m.b), (5, 7), (7,), (4, 5)),
        "sum the other way": (lambda m, x: m.b + F.linear(x, m.w), (7, 5), (7,), (4, 5)),
        "addmm": (lambda m, x: torch.addmm(m.b, x, m.w), (5, 7), (7,), (4, 5)),
        "convolution": (lambda m, x: F.conv1d(x, m.w, m.b), (7, 5, 3), (7,), (4, 5, 9)),
        "convolution, by hand": (
            lambda m, x: F.conv1d(x, m.w) + m.b[:, None], (7, 5, 3), (7,), (4, 5, 9),
        ),
        "experts": (lambda m, x: x @ m.w + m.b[:, None], (3, 5, 7), (3, 7), (3, 4, 5)),
        "baddbmm": (lambda m, x: torch.baddbmm(m.b, x, m.w), (3, 5, 7), (3, 1, 7), (3, 4, 5)),
        "heads": (
            lambda m, x: torch.einsum("bti,ihd->bthd", x, m.w) + m.b, (8, 2, 5), (2, 5), (4, 3, 8),
        ),
    }  # fmt: skip
    for name, (run, weight, bias, batch) in runs.items():
        model = Model(run, w=parameter(*weight), b=parameter(*bias))
        found = sites(model, rows(*batch))
        assert (name, found["b"].role) == (name, "bias")
        assert (name, found["w"].role) == (name, "readout")
