"""torch_default draws what torch draws: each parameter of each layer, against the layer itself."""

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats
from tests.conformance.recipe_sites import of_module
from tests.thresholds import FALSE_ALARM, variance_threshold
from torch import nn

import fanin
from fanin import recipes
from fanin.initializers import Constant, Uniform, VarianceScaling

ENTRIES = 24_000
"""So many of a parameter's entries are pooled, over layers built anew."""

LAYERS = {
    "Linear": lambda: nn.Linear(60, 90),
    "Bilinear": lambda: nn.Bilinear(10, 7, 30),
    "Conv1d": lambda: nn.Conv1d(12, 20, 5),
    "Conv2d, in groups": lambda: nn.Conv2d(16, 24, 3, groups=4, stride=2),
    "Conv2d, depthwise": lambda: nn.Conv2d(16, 32, 3, groups=16),
    "Conv3d": lambda: nn.Conv3d(6, 8, 3),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(12, 40, 4, stride=2),
    "ConvTranspose2d, in groups": lambda: nn.ConvTranspose2d(16, 24, 4, stride=2, groups=4),
    "ConvTranspose3d": lambda: nn.ConvTranspose3d(8, 6, 3),
    "Embedding": lambda: nn.Embedding(50, 16),
    "EmbeddingBag": lambda: nn.EmbeddingBag(50, 16),
    "MultiheadAttention": lambda: nn.MultiheadAttention(32, 4, add_bias_kv=True),
    "MultiheadAttention, apart": lambda: nn.MultiheadAttention(32, 4, kdim=20, vdim=12),
    "MultiheadAttention, without biases": lambda: nn.MultiheadAttention(32, 4, bias=False),
    "RNN": lambda: nn.RNN(10, 24, nonlinearity="relu"),
    "LSTM": lambda: nn.LSTM(10, 24, bidirectional=True),
    "LSTM, projected": lambda: nn.LSTM(10, 24, proj_size=9),
    "GRU": lambda: nn.GRU(10, 24),
    "RNNCell": lambda: nn.RNNCell(10, 24),
    "LSTMCell": lambda: nn.LSTMCell(10, 24),
    "GRUCell": lambda: nn.GRUCell(10, 24),
    "BatchNorm2d": lambda: nn.BatchNorm2d(8),
    "SyncBatchNorm": lambda: nn.SyncBatchNorm(8),
    "InstanceNorm1d": lambda: nn.InstanceNorm1d(8, affine=True),
    "LayerNorm": lambda: nn.LayerNorm((4, 8)),
    "GroupNorm": lambda: nn.GroupNorm(2, 8),
    "RMSNorm": lambda: nn.RMSNorm(8),
    "PReLU": lambda: nn.PReLU(8),
}


def decided(layer: nn.Module) -> dict[str, tuple[fanin.Layout, recipes.Choice]]:
    """The recipe's choice for every parameter, by the parameter's own name."""
    sites = of_module(layer)
    recipe = recipes.torch_default.for_model(sites)
    found = {}
    for site in sites:
        choice = recipe(site)
        assert isinstance(choice, recipes.Choice), site.name
        found[site.name.removeprefix("layer.")] = (site.layout, choice)
    return found


def theirs(make, name: str, entries: int) -> torch.Tensor:
    """Entries of the parameter from as many layers as it takes."""
    pooled, number = [], 0
    while number < entries:
        pooled.append(make().get_parameter(name).detach().flatten())
        number += pooled[-1].numel()
    return torch.cat(pooled)


def ours(layout: fanin.Layout, choice: recipes.Choice, entries: int) -> torch.Tensor:
    pooled, number = [], 0
    while number < entries:
        target = torch.empty(layout.shape)
        pooled.append(choice.initializer.fill_(target, layout=layout, seed=len(pooled)).flatten())
        number += target.numel()
    return torch.cat(pooled)


def p_value(one: torch.Tensor, other: torch.Tensor) -> float:
    return stats.ks_2samp(one.numpy(), other.numpy()).pvalue


@pytest.mark.parametrize("name", LAYERS)
def test_every_parameter_is_drawn_as_torch_draws_it(name):
    """By distribution, std and bound; rivals a fifth larger or of another law are told apart."""
    torch.manual_seed(0)
    make = LAYERS[name]
    for parameter, (layout, choice) in decided(make()).items():
        if isinstance(choice.initializer, Constant):
            expected = make().get_parameter(parameter)
            assert torch.equal(expected, torch.full_like(expected, choice.initializer.value))
            continue
        expected = theirs(make, parameter, ENTRIES)
        drawn = ours(layout, choice, ENTRIES)
        assert p_value(drawn, expected) > FALSE_ALARM, parameter
        std = choice.initializer.std(layout)
        allowed = variance_threshold(expected.numel(), 3)
        assert float(expected.double().square().mean()) == pytest.approx(std**2, rel=allowed)
        assert p_value(1.2 * drawn, expected) < FALSE_ALARM
        uniform = isinstance(choice.initializer, Uniform | VarianceScaling)
        rival = torch.randn(ENTRIES) if uniform else (2 * torch.rand(ENTRIES) - 1) * math.sqrt(3)
        assert p_value(std * rival, expected) < FALSE_ALARM
        if uniform:
            # The largest of n uniform numbers is that close to the bound, save for false alarms.
            slack = 1 - FALSE_ALARM ** (1 / expected.numel())
            bound, largest = choice.initializer.bound(layout), float(expected.abs().max())
            assert bound * (1 - slack) <= largest * (1 + 1e-6)
            assert largest <= bound * (1 + 1e-6)


def test_a_bias_without_its_weight_is_not_guessed():
    """Its bound is that of a neighbour, which one site alone does not show."""
    (bias,) = (site for site in of_module(nn.Linear(4, 3)) if site.role == "bias")
    assert recipes.torch_default(bias) is None


def test_the_bias_of_a_tied_head_finds_its_weight_under_the_other_name():
    """A readout that shares the embedding's table has its site under the embedding's name."""
    table, head = of_module(nn.Embedding(50, 16), "embed")[0], of_module(nn.Linear(16, 50), "head")
    (bias,) = (site for site in head if site.role == "bias")
    shared = replace(table, tied=("head.weight",), module="Linear")
    choice = recipes.torch_default.for_model([shared, bias])(bias)
    assert choice.initializer == Uniform(-0.25, 0.25)


def test_the_weight_of_a_linear_layer_of_another_library_is_left_alone():
    """A parameter drawn by nobody must show in the plan, not be covered by a name alike."""
    (site,) = of_module(nn.Linear(4, 3, bias=False))
    assert recipes.torch_default(replace(site, module="LinearWithLora")) is None
    assert recipes.torch_default.no_rule.endswith(".")


def test_the_usual_weights_print_as_a_formula_with_their_fan():
    """A plan of many widths then shows one line, not one for each width."""
    shown = {
        name: str(decided(LAYERS[name]())["weight"][1].initializer)
        for name in ("Linear", "Conv2d, in groups", "ConvTranspose2d, in groups")
    }
    assert shown == {
        "Linear": "w ~ U(-b, b), b = 0.57735 sqrt(3 / fan_in)",
        "Conv2d, in groups": "w ~ U(-b, b), b = 0.57735 sqrt(3 / fan_in)",
        "ConvTranspose2d, in groups": "w ~ U(-b, b), b = 0.57735 sqrt(3 / fan_out)",
    }
