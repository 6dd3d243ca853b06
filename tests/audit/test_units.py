"""Dead and saturated units, and numbers that are not finite or out of single precision."""

import pytest
import torch
from tests.audit.plain import moment, place, variance
from torch import nn
from torch.utils.checkpoint import checkpoint

from fanin import audit

# Squares are summed in single precision, pairwise.
SINGLE = 1e-5


def total(result):
    """A loss whose gradient differs from entry to entry."""
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)
    return (result * weights).sum()


def test_the_share_of_dead_units_is_of_those_that_never_differ():
    """Three of eight ReLU units that a bias keeps off, whatever the input."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
    with torch.no_grad():
        model[0].bias[:3] = -1e3
    found = place(audit(model, torch.randn(50, 6)), "1")
    assert (found.dead, found.samples) == (3 / 8, 50)


def test_dead_channels_are_seen_over_all_positions_of_a_map():
    """[batch, channels, height, width]: the second axis has the units."""
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU())
    with torch.no_grad():
        model[0].bias[1] = -1e3
    found = place(audit(model, torch.randn(5, 2, 8, 8)), "1")
    assert (found.dead, found.samples) == (1 / 4, 5 * 36)


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        (nn.Tanh(), lambda x: 1 - x.tanh() ** 2),
        (nn.Sigmoid(), lambda x: 4 * x.sigmoid() * (1 - x.sigmoid())),
        (nn.Hardtanh(), lambda x: (x.abs() < 1).double()),
        (nn.Hardsigmoid(), lambda x: (x.abs() < 3).double()),
        (nn.ReLU6(), lambda x: (x < 6).double()),
        (nn.Softsign(), lambda x: (1 + x.abs()) ** -2),
    ],
)
def test_saturated_is_where_the_slope_is_under_a_twentieth_of_the_largest(activation, slope):
    """By the derivative's own formula. ReLU6 is bounded above; below it is dead, not saturated."""
    model, x = nn.Sequential(nn.Linear(6, 40), activation), 8 * torch.randn(50, 6)
    found = next(one.saturated for one in audit(model, x).places if one.saturated is not None)
    expected = float((slope(model[0](x).detach().double()) < 0.05).double().mean())
    assert 0.01 < expected < 0.9
    assert found == pytest.approx(expected, abs=1e-6)


FLAT_LEFT = (nn.SiLU, nn.Mish, nn.ELU, nn.SELU, nn.CELU)


@pytest.mark.parametrize("kind", FLAT_LEFT, ids=lambda kind: kind.__name__)
def test_units_are_counted_alike_where_the_activation_writes_over_its_input(kind):
    """What SiLU gives does not tell what it was given: it is looked at before."""
    model, x = nn.Sequential(nn.Linear(6, 40), kind()), 3 * torch.randn(50, 6)
    with torch.no_grad():
        model[0].bias.copy_(torch.linspace(-30, 0, 40))
    apart = place(audit(model, x), "1")
    model[1].inplace = True
    over = place(audit(model, x), "1")
    assert 0.1 < apart.dead < 0.9
    assert (over.dead, over.samples) == (apart.dead, apart.samples)


def test_small_negative_outputs_of_silu_in_place_are_not_taken_for_flat_ones():
    """-0.05 is what -0.1 gives as well as -5."""
    model = nn.Sequential(nn.Linear(6, 8), nn.SiLU(inplace=True))
    with torch.no_grad():
        model[0].weight.mul_(1e-3)
        model[0].bias.fill_(-0.1)
    assert place(audit(model, torch.randn(50, 6)), "1").dead == 0


def test_a_functional_activation_in_place_inside_of_a_checkpoint_is_counted():
    """It runs again in the backward pass, which is no part of what is measured."""

    class Checked(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            def body(x):
                return nn.functional.silu(self.first(x), inplace=True)

            return self.last(checkpoint(body, x, use_reentrant=False))

    model = Checked()
    with torch.no_grad():
        model.first.bias[:2] = -1e3
    found = audit(model, torch.randn(50, 6, requires_grad=True))
    assert [one.dead for one in found.places if one.operation == "silu"] == [2 / 8]


def test_an_activation_without_bound_is_never_saturated():
    """None: the question has no answer there."""
    report = audit(nn.Sequential(nn.Linear(6, 8), nn.GELU()), torch.randn(9, 6))
    assert place(report, "1").saturated is None


def test_moments_are_of_the_finite_entries_where_some_are_not():
    """A start with one infinite weight: the share of finite outputs, and no variance."""
    model = nn.Linear(6, 4)
    with torch.no_grad():
        model.weight[0, 0] = float("inf")
    x = torch.rand(5, 6) + 0.1
    signal = audit(model, x, loss=total).places[0].signal
    assert signal.finite == 3 / 4
    assert signal.second_moment == pytest.approx(moment(model(x)[:, 1:]), rel=SINGLE)
    assert (signal.variance, signal.correlation) == (None, None)


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_squares_beyond_single_precision_are_measured(scale):
    """A vanished or exploded signal is what an audit is for."""
    model = nn.Linear(6, 4, bias=False)
    x = torch.randn(5, 6)
    with torch.no_grad():
        model.weight.mul_(scale)
    signal = audit(model, x, loss=total).places[0].signal
    assert signal.second_moment == pytest.approx(moment(model(x)), rel=1e-5)
    assert signal.variance == pytest.approx(variance(model(x)), rel=1e-4)
    assert signal.finite == 1.0
