"""A mean field is a value, refuses what is none, and leaves nothing behind."""

import copy
import math
import pickle

import pytest
import torch

from fanin import FaninError, Gated, moments
from fanin.theory import MeanField, log_growth, phase_diagram, residual_variance
from fanin.theory._activation import resolved


def test_one_activation_by_any_of_its_names_is_one_mean_field():
    """A formula is a value."""
    one = MeanField("gelu", 2.0)
    assert one == MeanField(torch.nn.GELU(), 2.0) == MeanField(torch.nn.functional.gelu, 2.0)
    assert hash(one) == hash(MeanField("gelu", 2.0))
    assert one != MeanField("gelu", 2.0, 0.1)
    assert (
        repr(one) == "MeanField(activation='gelu', weight_variance=2.0, bias_variance=0.0, q0=1.0)"
    )


def test_a_mean_field_is_copied_and_pickled():
    """After it was asked something, too."""
    one = MeanField("tanh", 1.5, 0.05)
    asked = one.q_star
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):  # noqa: S301
        assert (other, other.q_star) == (one, asked)


@pytest.mark.parametrize(
    "arguments",
    [
        ("tanh", 0.0),
        ("tanh", -1.0),
        ("tanh", math.nan),
        ("tanh", True),
        ("tanh", "2"),
        ("tanh", 1.0, -0.1),
        ("tanh", 1.0, math.inf),
        ("tanh", 1.0, 0.0, 0.0),
        ("tahn", 1.0),
        (torch.nn.Softmax(-1), 1.0),
        (3, 1.0),
        (Gated(Gated("relu")), 1.0),
        (lambda x: 1 / x.sin().abs().clamp(min=1e-300) ** 0.5 * torch.rand_like(x), 1.0),
    ],
)
def test_what_is_no_mean_field_is_refused(arguments):
    """At construction."""
    with pytest.raises(FaninError):
        MeanField(*arguments)


@pytest.mark.parametrize(
    "ask",
    [
        lambda net: net.q_map(-1.0),
        lambda net: net.chi(-1.0),
        lambda net: net.c_map(1.1),
        lambda net: net.c_map(math.nan),
        lambda net: net.c_map(0.5, q=0.0),
        lambda net: net.forward(-1),
        lambda net: net.forward(2.0),
        lambda net: net.forward(2, q0=0.0),
        lambda net: net.correlation(2.0, 3),
        lambda net: log_growth(net, 0, 8),
        lambda net: log_growth(net, 3, 0),
        lambda net: log_growth(net, 3, (8, 8)),
        lambda net: log_growth(net, 3, 8, of="weights"),
        lambda net: log_growth(net, 3, 8).interval(1.0),
        lambda net: residual_variance(net, 3, branch_scale="1"),
        lambda net: residual_variance(net, 3, q0=-1.0),
    ],
)
def test_what_cannot_be_asked_is_refused(ask):
    """In four beats, not by a nan."""
    with pytest.raises(FaninError) as refusal:
        ask(MeanField("tanh", 1.5, 0.1))
    assert refusal.value.fix


def test_a_signal_that_dies_has_no_law_of_growth():
    """Its logarithm would be minus infinity."""
    with pytest.raises(FaninError, match="dies or grows"):
        log_growth(MeanField(lambda x: x.relu() ** 4, 0.001), 100, 64)


def test_the_gradients_of_a_product_unit_have_no_law():
    """Both of its inputs would be needed."""
    assert log_growth(MeanField("swiglu", 3.0), 3, 64).variance > 0
    with pytest.raises(FaninError, match="product"):
        log_growth(MeanField("swiglu", 3.0), 3, 64, of="gradients")


def test_a_product_unit_has_the_slope_and_chi_of_its_moments():
    """fanin.moments counts both inputs; so does the map."""
    found = moments("swiglu")
    net = MeanField("swiglu", 1 / found.second)
    assert net.q_star == pytest.approx(1.0)
    assert net.q_slope == pytest.approx(found.slope)
    assert net.chi() == pytest.approx(found.chi)


@pytest.mark.parametrize(
    ("function", "kinks"),
    [
        (torch.relu, [0.0]),
        (torch.nn.functional.hardtanh, [-1.0, 1.0]),
        (torch.nn.functional.hardswish, [-3.0, 3.0]),
        (torch.nn.functional.relu6, [0.0, 6.0]),
        (lambda x: torch.where(x > 0.37, x, 0.1 * x), [0.37]),
        (torch.nn.functional.elu, [0.0]),
        (torch.tanh, []),
    ],
)
def test_kinks_are_found_where_they_are(function, kinks):
    """To the last digit: a kink beside a cut spoils every integral across it."""
    assert resolved(function).kinks.tolist() == kinks


def test_two_hundred_steps_are_no_trouble():
    """A quantized activation, of which each step is cut."""
    quantized = lambda x: (x.clamp(-1, 1) * 100).round() / 100
    net, smooth = MeanField(quantized, 1.3), MeanField("hardtanh", 1.3)
    assert net.q_map(1.0) == pytest.approx(smooth.q_map(1.0), rel=1e-4)
    assert net.q_map(1.0) == pytest.approx(1.3 * moments(quantized).second, rel=1e-9)
    assert net.phase == "chaotic"


def test_an_activation_in_float32_is_integrated_as_far_as_it_goes():
    """Its rounding is no kink."""
    net = MeanField(lambda x: torch.tanh(x.float()), 1.5, 0.05)
    assert net.q_star == pytest.approx(MeanField("tanh", 1.5, 0.05).q_star, rel=1e-6)
    assert net.c_map(0.5) == pytest.approx(MeanField("tanh", 1.5, 0.05).c_map(0.5), rel=1e-6)


def test_waves_that_cannot_be_followed_are_said_to_be_so():
    """Not an infinite q_star."""
    with pytest.raises(FaninError, match="not known"):
        _ = MeanField(lambda x: torch.sin(30 * x), 1e6).q_star


def test_signals_too_large_to_follow_are_infinite():
    """A net of a thousand layers at twice He's variance; no overflow, no warning."""
    curve = MeanField("relu", 4.0).forward(1000)
    assert curve[50] == pytest.approx(2.0**50)
    assert curve[-1] == math.inf
    assert MeanField(torch.exp, 1.0).forward(10)[-1] == math.inf


def test_a_signal_that_dies_is_followed_to_its_end():
    """Down to the smallest numbers."""
    assert MeanField("relu", 0.5).forward(300)[-1] == pytest.approx(0.25**300)


def test_nothing_is_left_behind():
    """Not in the generator, the default dtype and device, the gradient mode, or the module."""
    module = torch.nn.PReLU(num_parameters=1)
    state, before = torch.get_rng_state(), copy.deepcopy(module.state_dict())
    with torch.no_grad(), torch.device("meta"):
        net = MeanField(module, 1.5, 0.05)
        found = (net.q_star, net.c_star, net.chi(), str(net))
        phase_diagram("tanh", [1.0, 2.0], [0.1, 0.2])
        log_growth(net, 3, 10).interval()
        assert not torch.is_grad_enabled()
    assert found == (
        MeanField("prelu", 1.5, 0.05).q_star,
        net.c_star,
        net.chi(),
        str(MeanField("prelu", 1.5, 0.05)),
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    assert module.weight.grad is None


def test_inference_mode_does_not_disturb():
    """The derivative needs a graph."""
    with torch.inference_mode():
        assert MeanField("tanh", 1.0).chi(1.0) == pytest.approx(0.4644029024)


@pytest.mark.parametrize("name", ["tanh", "gelu", "relu"])
def test_a_long_curve_ends_at_q_star(name):
    """The limit that is found by solving is that which iterating reaches."""
    net = MeanField(name, 1.3, 0.1)
    assert net.forward(150)[-1] == pytest.approx(net.q_star, rel=1e-9)


@pytest.mark.parametrize(("name", "weight"), [("tanh", 2.5), ("gelu", 1.9), ("relu", 1.5)])
def test_a_long_line_of_correlations_ends_at_c_star(name, weight):
    """From far apart and from near; fifteen depth scales leave e^-15 of it."""
    net = MeanField(name, weight, 0.02)
    for c0 in (0.1, 0.98):
        curve = net.correlation(c0, round(15 * net.depth_scale_c), q0=net.q_star)
        assert curve[-1] == pytest.approx(net.c_star, abs=1e-4)
