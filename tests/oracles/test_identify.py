"""A function that is known only by its values gets the name of the activation it is, or none."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from fanin._gains import gain, identify
from fanin._gains.names import FAMILIES, names, parse

F = functional


def evaluated(name, x):
    return parse(name)(x)


PLAIN = sorted(set(names()) & set(FAMILIES))


@pytest.mark.parametrize("name", PLAIN)
def test_every_named_activation_is_recognised_from_its_values(name):
    """The name that comes back has the same values, if not always the same spelling."""
    found = identify(lambda x: evaluated(name, x))
    assert found is not None
    z = torch.linspace(-5, 5, 301, dtype=torch.float64)
    torch.testing.assert_close(evaluated(found, z), evaluated(name, z), rtol=1e-6, atol=1e-6)
    assert gain(found) == pytest.approx(gain(name), rel=1e-6)


nice = st.integers(1, 400).map(lambda n: n / 100)


@given(nice)
def test_a_leaky_slope_is_read_off(slope):
    """Any slope an author writes down."""
    found = identify(lambda x: F.leaky_relu(x, slope))
    z = torch.linspace(-5, 5, 301, dtype=torch.float64)
    torch.testing.assert_close(evaluated(found, z), F.leaky_relu(z, slope))


@given(nice)
def test_the_bounds_of_an_elu_and_of_a_celu_are_read_off(alpha):
    """Equal at alpha 1, different elsewhere."""
    z = torch.linspace(-5, 5, 301, dtype=torch.float64)
    for function in (F.elu, F.celu):
        found = identify(lambda x, function=function: function(x, alpha))
        torch.testing.assert_close(evaluated(found, z), function(z, alpha))


@given(nice, nice)
def test_the_bounds_of_a_clamp_are_read_off(low, high):
    """``clamp(-low, high)`` is hardtanh."""
    found = identify(lambda x: x.clamp(-low, high))
    z = torch.linspace(-5, 5, 301, dtype=torch.float64)
    torch.testing.assert_close(evaluated(found, z), z.clamp(-low, high))


@given(st.integers(1, 60))
def test_the_frequency_of_a_sine_is_read_off(frequency):
    """SIREN's 30 and others."""
    found = identify(lambda x: torch.sin(frequency * x))
    z = torch.linspace(-5, 5, 301, dtype=torch.float64)
    torch.testing.assert_close(evaluated(found, z), torch.sin(frequency * z))


@given(nice)
def test_the_beta_of_a_softplus_is_read_off(beta):
    """torch's second argument, the threshold, keeps its default."""
    found = identify(lambda x: F.softplus(x, beta))
    z = torch.linspace(-5, 5, 301, dtype=torch.float64)
    torch.testing.assert_close(evaluated(found, z), F.softplus(z, beta))


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_every_straight_line_is_the_identity(slope, shift):
    """A scaling is not an activation; the constant line neither."""
    assert identify(lambda x: slope * x + shift) == "identity"


OTHERS = {
    "a factor": lambda x: 2 * F.relu(x),
    "a shift": lambda x: F.relu(x - 1),
    "a shifted value": lambda x: F.relu(x) + 1,
    "a slightly other slope": lambda x: x * torch.sigmoid(1.001 * x),
    "a kink off zero": lambda x: torch.where(x > 0.37, x, 0.1 * x),
    "a step": lambda x: (x > 0).to(x.dtype),
    "nearly a line": lambda x: x + 1e-3 * torch.sin(x),
    "cube": lambda x: x**3,
    "zero below": lambda x: F.silu(x).clamp(min=0),
    "two steps": lambda x: x.clamp(-3, -1) + x.clamp(1, 3),
    "even": lambda x: (1 + x * x).sqrt(),
    "not finite far out": lambda x: x.exp().exp(),
    "not finite at zero": lambda x: 1 / x,
    "nowhere a number": lambda x: x * float("nan"),
}


@pytest.mark.parametrize("function", OTHERS.values(), ids=OTHERS)
def test_another_function_has_no_name(function):
    """None, and never an error, for whatever a model computes."""
    assert identify(function) is None


def test_a_function_of_another_shape_has_no_name():
    """A softmax keeps the shape but a sum does not."""
    assert identify(lambda x: x.sum()) is None


def test_every_activation_module_of_torch_is_recognised():
    """A new activation of torch shows up here."""
    not_elementwise = {
        "GLU", "MultiheadAttention", "Softmax", "Softmax2d", "LogSoftmax", "Softmin",
    }  # fmt: skip
    made = {"Threshold": lambda: nn.Threshold(0.0, 0.0), "PReLU": lambda: nn.PReLU().double()}
    for name in set(nn.modules.activation.__all__) - not_elementwise:
        layer = made.get(name, getattr(nn, name))().eval().requires_grad_(False)
        assert (name, identify(layer)) != (name, None)
