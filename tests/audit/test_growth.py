"""The growth of a run: a robust fit, and what one draw of a fair start gives."""

from math import exp, log, sqrt
from statistics import median

import pytest
import torch
from tests.thresholds import normal_threshold
from torch import nn

import fanin
from fanin._audit import audit
from fanin._audit._findings.law import chance, interval, noise
from fanin._audit._findings.net import Layer
from fanin._audit._findings.runs import steepest
from fanin._audit._records import Growth, Place, Signal
from fanin._site import Site
from fanin.theory import MeanField, log_growth


def plain(depth: int, width: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width, bias=False), activation()]
    return nn.Sequential(*layers, nn.Linear(width, width, bias=False))


def he(net: nn.Sequential, gain: float, seed: int) -> None:
    torch.manual_seed(seed)
    for module in net:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, gain / sqrt(module.in_features))


def growth(net: nn.Module, direction: str, width: int) -> Growth:
    torch.manual_seed(0)
    report = audit(net, torch.randn(8, width))
    return next(one for one in report.growths if one.direction == direction)


def layer(activation: str, width: int) -> Layer:
    """A layer of a report made by hand: only its site counts for the law."""
    site = Site(
        name="0.weight",
        layout=fanin.Layout((width, width), "out in"),
        activation_after=activation,
    )
    place = Place(
        index=0, name="0", operation="mm", kind="product", module="", shape=(8, width), depth=1,
        signal=Signal(second_moment=1.0, size=width), weight="0.weight",
    )  # fmt: skip
    return Layer(place, site, None, place, place, 1.0, 1.0)


@pytest.mark.parametrize("activation", ["relu", "identity"])
@pytest.mark.parametrize("width", [2, 8, 32, 64, 128, 129, 512])
def test_mean_and_variance_of_one_draw_are_those_of_the_exact_law(activation, width):
    """`fanin.theory` has the law itself; here are its two numbers, a layer at a time."""
    exact = log_growth(MeanField(activation, fanin.gain(activation) ** 2), depth=1, width=width)
    mean, variance = noise(activation, width)
    near = 1e-9 if width <= 128 else 1e-3  # from there on, by its series
    assert variance == pytest.approx(exact.variance, rel=near)
    assert mean == pytest.approx(
        exact.mean, rel=max(near, 1e-9), abs=0.02 * variance * (near > 1e-6)
    )


def test_the_noise_of_any_activation_is_its_kurtosis_over_the_width():
    """The first order is free of the distribution of weights, and of the rest of the net."""
    found = fanin.moments("tanh")
    kurtosis = found.fourth / found.second**2 - 1
    assert noise("tanh", 10_000)[1] == pytest.approx(kurtosis / 10_000, rel=1e-3)


def test_of_fair_draws_one_in_a_hundred_is_outside_the_interval():
    """400 nets of 12 ReLU layers of 32 units: the count outside is binomial of p near 0.01.

    The law's approximation and the median's make p itself uncertain: by a factor of 3 at most.
    """
    width, depth, count = 32, 12, 400
    generator = torch.Generator().manual_seed(0)
    low, high = interval([layer("relu", width)] * depth, 0.01)
    outside = 0
    for _ in range(count):
        logs, x = [], torch.randn(1, width, generator=generator, dtype=torch.float64)
        for _ in range(depth):
            weight = torch.randn(width, width, generator=generator, dtype=torch.float64)
            after = torch.relu(x @ weight * sqrt(2 / width))
            logs.append(log(after.square().sum() / x.square().sum()))
            x = after
        outside += not low <= median(logs) <= high
    most = 3 * 0.01
    assert outside <= count * most + normal_threshold() * sqrt(count * most)


@pytest.mark.parametrize(("gain", "factor"), [(1.0, 0.5), (sqrt(2), 1.0), (2.0, 2.0)])
def test_growth_is_the_gain_squared_over_two_both_ways_in_a_relu_net(gain, factor):
    """E x² by gain² / 2 a layer forward, and the squared gradient as much backward."""
    net = plain(20, 256)
    he(net, gain, 0)
    for direction in ("forward", "backward"):
        found = growth(net, direction, 256)
        low, high = found.interval
        assert low <= found.per_layer / factor <= high
        assert (low <= found.per_layer <= high) == (factor == 1.0)
        assert len(found.names) == 21
        assert found.kind == "plain"


def test_one_odd_layer_does_not_move_the_fit():
    """That is what a robust fit is for: the median passes over a layer 10 times too large."""
    net = plain(20, 256)
    he(net, sqrt(2), 0)
    before = growth(net, "forward", 256)
    with torch.no_grad():
        net[10].weight.mul_(10)
    after = growth(net, "forward", 256)
    assert abs(log(after.per_layer / before.per_layer)) < 0.02
    assert after.total / before.total == pytest.approx(100, rel=1e-3)


def test_a_norm_ends_a_run_forward_and_not_backward():
    """Forward a norm makes the size anew; the gradient goes on growing across it."""
    layers: list[nn.Module] = []
    for _ in range(10):
        layers += [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(64, 64))
    torch.manual_seed(0)
    report = audit(net, torch.randn(128, 64))
    assert [(one.direction, one.kind) for one in report.growths] == [("backward", "plain")]
    # Yang et al. 2019: pi / (pi - 1) a layer in the limit of width and batch.
    assert report.growths[0].per_layer == pytest.approx(1.467, abs=0.1)


def test_a_residual_stream_of_the_start_of_he_doubles_at_each_sum():
    """q + q: each branch adds as much as there is."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(128, 128), nn.Linear(128, 128)

        def forward(self, x):
            return x + self.down(torch.relu(self.up(x)))

    net = nn.Sequential(nn.Linear(128, 128), *(Block() for _ in range(8)), nn.Linear(128, 8))
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)
    for block in net[1:-1]:
        nn.init.kaiming_normal_(block.down.weight, nonlinearity="relu")
    report = audit(net, torch.randn(16, 128))
    found = next(one for one in report.growths if one.kind == "residual")
    assert found.direction == "forward"
    assert found.per_layer == pytest.approx(2, rel=0.2)
    assert len(found.names) == 8


def test_a_net_with_a_zero_signal_has_no_growth():
    """There is no logarithm of nothing; a finding tells of the zero."""
    net = plain(5, 32)
    nn.init.zeros_(net[4].weight)
    assert [
        one for one in audit(net, torch.randn(4, 32)).growths if one.direction == "forward"
    ] == []


def test_the_steepest_stretch_is_where_a_trend_begins_and_ends():
    """Of any sequence: no other stretch has a sum farther from zero."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        values = torch.randn(9, generator=generator).tolist()
        start, end, total = steepest(values)
        assert sum(values[start:end]) == pytest.approx(total)
        every = [sum(values[i:j]) for i in range(9) for j in range(i + 1, 10)]
        assert abs(total) == pytest.approx(max(map(abs, every)))


def test_chance_over_layers_is_wider_for_narrow_nets_and_deeper_ones():
    """Its half width is z sqrt(layers k / n): Hanin & Nica 2020."""
    low, high = chance([layer("relu", 512)] * 40, 0.01)
    assert (high - low) / 2 == pytest.approx(2.5758 * sqrt(40 * 0.00983684), rel=1e-3)
    assert exp(low) < exp((low + high) / 2) < 1 < exp(high)
