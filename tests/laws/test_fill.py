"""`fanin.fill`: what is named is drawn, nothing else changes, and a refusal changes nothing."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

import fanin
from fanin.initializers import Custom, Normal, Orthogonal, PriorProbability, kaiming_normal


def snapshot(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_what_is_not_named_stays_as_it_was():
    """A layer's other parameters may have been loaded."""
    layer = nn.Linear(5, 4)
    before = snapshot(layer)
    fanin.fill(layer, bias_initializer=1.0, seed=0)
    assert torch.equal(layer.weight, before["weight"])
    assert layer.bias.eq(1).all()


def test_the_same_seed_and_layer_give_the_same_start():
    """And the parameters of one layer are not copies of each other."""
    first, second = (
        fanin.fill(nn.LSTM(4, 4), weight_ih_initializer=Normal(1), seed=3) for _ in "ab"
    )
    assert torch.equal(first.weight_ih_l0, second.weight_ih_l0)
    both = {"weight_ih_initializer": Normal(1), "weight_hh_initializer": Normal(1)}
    layer = fanin.fill(nn.LSTM(4, 4), seed=3, **both)
    assert not torch.equal(layer.weight_ih_l0, layer.weight_hh_l0)


def test_one_number_is_taken_whatever_the_layer_holds():
    """Adding a bias does not shift the weights of the next layer."""
    after = []
    for bias in (True, False):
        layer = nn.Linear(3, 3, bias=bias)
        starts = {"weight_initializer": Normal(1)} | ({"bias_initializer": 0} if bias else {})
        torch.manual_seed(0)
        fanin.fill(layer, **starts)
        after.append(torch.get_rng_state())
    assert torch.equal(*after)


def explode(tensor, layout):
    raise OSError("the disk is gone")


@pytest.mark.parametrize(
    "arguments",
    [
        {"weight_initializer": Normal(1), "bias_initializer": Custom(explode)},
        {"weight_initializer": Custom(explode), "bias_initializer": Normal(1)},
        {"weight_initializer": Normal(1), "bias_initializer": PriorProbability((0.5, 0.5))},
        {"weight_initializer": Normal(1), "bias_initializer": kaiming_normal()},
        {"weight_initializer": Normal(1), "biass_initializer": 0},
        {"weight_initializer": Normal(1), "bias": 0},
        {"weight_initializer": "xavier", "bias_initializer": 0},
    ],
    ids=str,
)
def test_a_failed_fill_leaves_the_layer_as_it_was(arguments):
    """Also when the last of several parameters is the one that fails."""
    layer = nn.Linear(6, 5)
    before = snapshot(layer)
    with pytest.raises((fanin.FaninError, OSError)):
        fanin.fill(layer, seed=0, **arguments)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("wrap", [weight_norm, orthogonal])
def test_a_parametrized_weight_is_written_through(wrap):
    """torch.nn.init writes into a temporary there, without an error."""
    layer = wrap(nn.Linear(8, 8))
    start = Orthogonal()
    fanin.fill(layer, weight_initializer=start, seed=0)
    expected = start.fill_(torch.empty(8, 8), seed=0, name="weight")
    torch.testing.assert_close(layer.weight, expected, atol=1e-4, rtol=1e-4)


def test_what_spectral_norm_keeps_is_written_through():
    """Its weight is what it keeps, over an estimate that its own power iteration must renew."""
    layer = spectral_norm(nn.Linear(8, 8))
    fanin.fill(layer, weight_initializer=Normal(1), seed=0)
    expected = Normal(1).fill_(torch.empty(8, 8), seed=0, name="weight")
    assert torch.equal(layer.parametrizations.weight.original, expected)


def test_filling_does_not_run_the_power_iteration_of_spectral_norm():
    """Each reading of the weight in training mode is a step of it: looking must not change."""
    layer = spectral_norm(nn.Linear(8, 6))
    before = snapshot(layer)
    fanin.fill(layer, bias_initializer=0.5, seed=0)
    after = layer.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name != "bias")


def test_the_error_names_the_arguments_of_this_layer():
    """For attention they are not `weight` and `bias`."""
    with pytest.raises(fanin.FaninError, match="in_proj_weight_initializer"):
        fanin.fill(nn.MultiheadAttention(4, 2), weight_initializer=0)


def test_a_meta_layer_is_left_for_later():
    """And takes no random number."""
    state = torch.get_rng_state()
    layer = nn.Linear(3, 3, device="meta")
    assert fanin.fill(layer, weight_initializer=Normal(1)) is layer
    assert torch.equal(torch.get_rng_state(), state)
