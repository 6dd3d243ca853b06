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
    largest = torch.linalg.matrix_norm(layer.eval().weight.detach(), 2)
    assert 1 - 1e-3 <= largest < 1.5  # with the estimate of the former weight it was over 10


class Halved(nn.Module):
    """A parametrization that cannot be undone."""

    def forward(self, weight):
        return weight / 2


def halved(layer):
    nn.utils.parametrize.register_parametrization(layer, "weight", Halved())
    return layer


@pytest.mark.parametrize(
    ("wrap", "start", "words"),
    [
        (weight_norm, "zeros", "not finite"),
        (weight_norm, "identity", "not finite"),
        (halved, Normal(1), "does not take a value"),
    ],
)
def test_a_start_that_a_parametrization_cannot_hold_is_refused(wrap, start, words):
    """Weight norm divides by the norm of each row: a zero row would be NaN, without a word."""
    layer = wrap(nn.Linear(3, 4))
    before = snapshot(layer)
    with pytest.raises(fanin.FaninError, match=words):
        fanin.fill(layer, weight_initializer=start, bias_initializer=7.0, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_an_error_names_the_layer_and_the_parameter():
    """A model has many of each."""
    with pytest.raises(fanin.FaninError) as caught:
        fanin.fill(nn.LSTM(3, 4), bias_ih_initializer="xavier_uniform")
    assert caught.value.where.startswith("LSTM.bias_ih_l0")
    with pytest.raises(fanin.FaninError) as caught:
        fanin.fill(nn.Linear(3, 4), weight_initializer="xavier")
    assert caught.value.where == "weight_initializer='xavier'"


def test_none_leaves_a_parameter_alone():
    """As in fanin.nn, where None is torch's own start."""
    layer = nn.Linear(3, 4)
    before = snapshot(layer)
    fanin.fill(layer, weight_initializer=None)
    assert torch.equal(layer.weight, before["weight"])


def test_what_is_not_a_layer_is_refused():
    """A tensor has another way."""
    with pytest.raises(fanin.FaninError, match="not a layer"):
        fanin.fill(torch.empty(3, 3), weight_initializer=0)


def test_a_meta_layer_is_checked_as_any_other():
    """Otherwise the error would come with the first real draw, far from where it was made."""
    for made in (
        lambda: fanin.fill(nn.Linear(3, 4, device="meta"), bias_initializer="orthogonal"),
        lambda: fanin.nn.LayerNorm(3, device="meta", weight_initializer="xavier_uniform"),
    ):
        with pytest.raises(fanin.FaninError):
            made()


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
