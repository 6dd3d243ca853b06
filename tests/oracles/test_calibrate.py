"""Calibration against LSUV as published, and each output of each kind of product by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import fanin
from fanin import Block, Layout, recipes
from fanin._plan._calibrate._products import spread_of
from fanin._plan._calibrate._weights import units_of
from fanin.initializers import Ones, ScaledOutputs


def batch(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def keep(seen, module, _args, output):
    seen[module] = output


def lsuv(model, inputs):
    """Mishkin & Matas 2016, algorithm 1, one forward pass for each division, in float64."""
    for layer in model:
        if not isinstance(layer, (nn.Linear, nn.Conv2d)):
            continue
        seen = {}
        for _ in range(10):
            hook = layer.register_forward_hook(partial(keep, seen))
            with torch.no_grad():
                model(inputs)
            hook.remove()
            variance = seen[layer].numpy().var()
            if abs(variance - 1) < 1e-13:
                break
            layer.weight.data /= variance**0.5


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
def test_one_pass_gives_what_the_algorithm_gives_in_many(activation):
    """The output is linear in the weight, so one division is enough, and later layers wait."""
    layers = [
        one
        for _ in range(8)
        for one in (nn.Conv2d(6, 6, 3, padding=1), activation(), nn.AvgPool2d(1))
    ]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96, 10)).double()
    inputs = batch(16, 6, 4, 4).double()
    plan = fanin.plan(model, inputs, recipe=recipes.lsuv)
    plan.calibrate(model, inputs, seed=2).apply(model, seed=2)
    found = {name: value.clone() for name, value in model.state_dict().items()}
    recipe = recipes.orthogonal_matrices(gain=1.0)
    fanin.plan(model, inputs, recipe=recipe).apply(model, seed=2)
    lsuv(model, inputs)
    for name, value in model.state_dict().items():
        assert torch.allclose(found[name], value, rtol=1e-6, atol=1e-12), name


@dataclass(frozen=True)
class Kind:
    """A module with one weight, what it is called with, and which axis of its output counts."""

    make: Callable
    inputs: tuple
    axis: int = -1


class With(nn.Module):
    """A parameter and a function of it."""

    def __init__(self, shape, function):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))
        self.function = function

    def forward(self, *args):
        return self.function(self.weight, *args)


def channels_last(module):
    return module.to(memory_format=torch.channels_last)


IMAGES = batch(4, 8, 9, 9)
ROWS = batch(40, 12)
IDS = torch.randint(0, 20, (16, 5), generator=torch.Generator().manual_seed(0))

KINDS = {
    "linear": Kind(lambda: nn.Linear(12, 7), (ROWS,)),
    "linear on one more axis": Kind(lambda: nn.Linear(12, 7), (batch(5, 9, 12),)),
    "linear on strided rows": Kind(lambda: nn.Linear(12, 7), (batch(12, 9, 5).transpose(0, 2),)),
    "conv1d": Kind(lambda: nn.Conv1d(8, 6, 3), (batch(4, 8, 11),), 1),
    "conv2d": Kind(lambda: nn.Conv2d(8, 6, 3, stride=2), (IMAGES,), 1),
    "conv2d in groups": Kind(lambda: nn.Conv2d(8, 12, 3, groups=4), (IMAGES,), 1),
    "conv2d by depth": Kind(lambda: nn.Conv2d(8, 8, 3, groups=8), (IMAGES,), 1),
    "conv2d, channels last": Kind(lambda: channels_last(nn.Conv2d(8, 6, 3)), (IMAGES,), 1),
    "conv3d": Kind(lambda: nn.Conv3d(2, 6, 2), (batch(4, 2, 4, 4, 4),), 1),
    "transposed": Kind(lambda: nn.ConvTranspose2d(8, 6, 3, stride=2), (IMAGES,), 1),
    "transposed in groups": Kind(lambda: nn.ConvTranspose2d(8, 12, 3, groups=4), (IMAGES,), 1),
    "bilinear": Kind(lambda: nn.Bilinear(12, 3, 7), (ROWS, batch(40, 3, seed=1))),
    "x @ w": Kind(lambda: With((12, 7), lambda w, x: x @ w), (ROWS,)),
    "w @ x": Kind(lambda: With((7, 12), lambda w, x: w @ x), (ROWS.T,), 0),
    "w @ x in batches": Kind(lambda: With((7, 12), lambda w, x: w @ x), (batch(5, 12, 9),), 1),
    "addmm": Kind(lambda: With((12, 7), lambda w, x: torch.addmm(5 + x[:, :7], x, w)), (ROWS,)),
    "a product in place": Kind(
        lambda: With((12, 7), lambda w, x: (5 * x[:, :7]).addmm_(x, w, beta=0.5, alpha=3)), (ROWS,)
    ),
    "einsum over heads": Kind(
        lambda: With((12, 2, 3), lambda w, x: torch.einsum("nd,dhk->nhk", x, w).flatten(1)), (ROWS,)
    ),
    "einsum that copies": Kind(
        lambda: With((4, 12, 3), lambda w, x: torch.einsum("nd,edo->neo", x, w).flatten(1)), (ROWS,)
    ),
    "experts": Kind(
        lambda: With((5, 12, 7), lambda w, x: (x @ w).transpose(0, 1).flatten(1)),
        (batch(5, 9, 12),),
    ),
    "experts, out first": Kind(
        lambda: With((5, 7, 12), lambda w, x: torch.bmm(w, x).permute(2, 0, 1).flatten(1)),
        (batch(5, 12, 9),),
    ),
}
"""Each weight has outputs, in the order of `ScaledOutputs`, along one axis of what is returned."""
SUMMANDS = {"addmm": lambda x: 5 + x[:, :7], "a product in place": lambda x: 2.5 * x[:, :7]}


@pytest.mark.parametrize("name", KINDS)
def test_every_output_of_every_kind_of_product_gets_std_one(name):
    """A factor that went to another output, or a summand that was measured too, would show."""
    kind = KINDS[name]
    model = kind.make()
    plan = fanin.plan(model, kind.inputs, recipe=recipes.lsuv)
    plan.calibrate(model, kind.inputs, per="output").apply(model, seed=0)
    with torch.no_grad():
        output = model(*kind.inputs)
    if name in SUMMANDS:
        output = output - SUMMANDS[name](*kind.inputs)
    rows = output.movedim(kind.axis, 0).flatten(1).double()
    assert torch.allclose(rows.std(1, correction=0), torch.ones(()).double(), atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_factor_for_a_whole_weight(name):
    """Over all outputs, about their common mean; each expert by itself."""
    kind = KINDS[name]
    model = kind.make()
    plan = fanin.plan(model, kind.inputs, recipe=recipes.lsuv)
    plan.calibrate(model, kind.inputs).apply(model, seed=0)
    with torch.no_grad():
        output = model(*kind.inputs)
    if name in SUMMANDS:
        output = output - SUMMANDS[name](*kind.inputs)
    parts = output.chunk(5, -1) if name.startswith("experts") else [output]
    for part in parts:
        assert abs(part.double().std(correction=0) - 1) < 1e-5


@pytest.mark.parametrize("in_place", [False, True], ids=["addmm", "in place"])
def test_what_follows_sees_the_summand(in_place):
    """It is taken out to be measured, and put back as often as it was."""

    class Summed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Parameter(torch.randn(8, 8)), nn.Linear(8, 6)
            self.seen = None

        def forward(self, x):
            if in_place:
                total = (x + 3).addmm_(x, self.first, beta=0.5)
            else:
                total = torch.addmm(x + 3, x, self.first, beta=0.5)
            self.seen = self.second(functional.relu(total))
            return self.seen

    model, inputs = Summed(), batch(64, 8)
    fanin.plan(model, inputs, recipe=recipes.lsuv).calibrate(model, inputs).apply(model, seed=0)
    model(inputs)
    assert abs(model.seen.detach().std(correction=0) - 1) < 1e-5


TABLES = {
    "embedding": Kind(lambda: nn.Embedding(20, 6), (IDS,)),
    "sums of bags": Kind(lambda: nn.EmbeddingBag(20, 6, mode="sum"), (IDS,)),
    "rows by index": Kind(lambda: With((20, 6), lambda w, ids: w[ids] * 1), (IDS,)),
}


@pytest.mark.parametrize("per", ["tensor", "output"])
@pytest.mark.parametrize("name", TABLES)
def test_tables(name, per):
    """What they give is measured as any output, where a choice asks for it."""
    kind = TABLES[name]
    model = kind.make()
    rule = {"weight": recipes.Choice(fanin.initializers.Normal(3), "asked", target_std=1.0)}
    plan = fanin.plan(model, kind.inputs, recipe=recipes.lsuv).replace(rule)
    plan.calibrate(model, kind.inputs, per=per).apply(model, seed=0)
    output = model(*kind.inputs).detach().flatten(0, -2)
    found = output.std(0 if per == "output" else (0, 1), correction=0)
    assert torch.allclose(found, torch.ones(()), atol=1e-5)


def test_rows_grouped_by_expert():
    """One product for all experts, the rows of each after those of the one before."""
    ends = torch.tensor([16, 16, 40], dtype=torch.int32)
    model = With((3, 16, 8), lambda w, x: torch._grouped_mm(x, w, ends)).to(torch.bfloat16)
    inputs = (batch(40, 16) * torch.linspace(1, 5, 40)[:, None]).to(torch.bfloat16)
    for per in ("tensor", "output"):
        plan = fanin.plan(model, inputs, recipe=recipes.lsuv).calibrate(model, inputs, per=per)
        plan.apply(model, seed=0)
        output = model(inputs).detach().double()
        for rows in (output[:16], output[16:]):
            found = rows.std(0 if per == "output" else (0, 1), correction=0)
            # bfloat16 rounds each weight and each output by up to 2^-9.
            assert torch.allclose(found, torch.ones(()).double(), atol=2**-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128])
def test_the_spread_of_units_is_numpy_s(dtype):
    """Pooled over rows, about the mean of the unit and not of the row."""
    output = (batch(6, 5, 4) * 3 + 10).to(dtype)
    units = torch.tensor([2, 0, 0, 2, 0]).view(1, 5, 1)
    found = spread_of(output, units, 4)
    values = output.numpy()
    expected = [values[:, [1, 2, 4]].std(), 0, values[:, [0, 3]].std(), 0]
    assert np.allclose(found.std, expected, rtol=1e-6)
    assert found.count == [72, 0, 48, 0]
    assert np.allclose(spread_of(output).std, values.std(), rtol=1e-6)


def test_the_spread_of_a_constant_is_zero_though_rounding_moves_it():
    """Divided by what rounding left, a weight would be thousands of times too large."""
    constant = torch.full((1000,), 0.1) + torch.tensor([0.0, 7e-9]).repeat(500)
    assert constant.unique().numel() == 2
    assert spread_of(constant).std == [0.0]
    assert spread_of(constant - 0.1).std[0] > 0
    assert spread_of(constant.double()).std[0] > 0


LAYOUTS = {
    "blocks": Layout((6, 4), "out in", blocks=(Block("gate", 2), Block("up", 4))),
    "experts": Layout((3, 4, 5), "batch out in"),
    "experts with blocks": Layout((2, 4, 6), "batch in out", blocks=(Block("a", 3), Block("b", 3))),
    "groups": Layout((8, 2, 3), "out in kernel", groups=4),
    "transposed groups": Layout((8, 2, 3), "in out kernel", groups=4),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_units_lie_where_the_factors_go(name):
    """`ScaledOutputs` owns the order: the entries of each part carry one unit, no other part it."""
    layout = LAYOUTS[name]
    units = units_of(layout, "tensor") or (0,) * len(units_of(layout, "output"))
    drawn = ScaledOutputs(Ones, units).fill_(torch.empty(layout.shape), layout=layout, seed=0)
    merged = "groups" in name
    parts = {float(unit) for part in layout.parts() for unit in drawn[part.index].unique()}
    for part in layout.parts():
        assert drawn[part.index].unique().numel() == 1
    assert len(parts) == (1 if merged else len(layout.parts()))


def test_inference_mode_shows_the_same_products():
    """There torch hands linear and convolution layers over whole."""
    model = nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5))
    inputs = batch(16, 4, 6)
    plan = fanin.plan(model, inputs, recipe=recipes.lsuv)
    expected = plan.calibrate(model, inputs)
    model.forward = torch.inference_mode()(lambda x: nn.Sequential.forward(model, x))
    assert plan.calibrate(model, inputs) == expected


def test_a_bias_of_a_convolution_is_put_back():
    """What follows sees the output as the layer gives it, with its bias."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    inputs = batch(4, 3, 8, 8)
    plan = fanin.plan(model, inputs, recipe=recipes.lsuv)
    plan = plan.replace({"*.bias": fanin.initializers.Normal(2)})
    plan.calibrate(model, inputs).apply(model, seed=0)
    with torch.no_grad():
        middle = functional.relu(model[0](inputs))
        output = functional.conv2d(middle, model[2].weight)
    assert abs(output.std(correction=0) - 1) < 1e-5
