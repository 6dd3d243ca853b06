"""What holds for the gain of any activation."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from fanin import Gated, Moments, gain, moments
from fanin._gains import canonical, names
from fanin._gains.names import FAMILIES, parse

SMOOTH_AND_KINKED = ["relu", "gelu", "silu", "tanh", "hardshrink", "softplus", "cos", "hardtanh"]

factors = st.floats(0.01, 100) | st.floats(-100, -0.01)
places = st.floats(-3, 3)
# Beside the border of two panels, where a rule without end points sees nothing.
beside = st.builds(
    lambda whole, log, sign: whole + sign * 10**log,
    st.integers(-3, 3),
    st.floats(-13, -1),
    st.sampled_from([-1, 1]),
)
laws = settings(max_examples=40, deadline=None)


def unnamed(name: str) -> Callable[[Tensor], Tensor]:
    activation = parse(name)
    return lambda x: activation(x)  # noqa: PLW0108 - the point is to hide the name


def columns(found: Moments) -> dict[str, float]:
    fields = ("mean", "second", "variance", "fourth", "derivative_second", "slope")
    return {name: getattr(found, name) for name in fields}


@laws
@given(name=st.sampled_from(SMOOTH_AND_KINKED), factor=factors)
def test_a_factor_on_phi_divides_the_gain(name, factor):
    """gain(c phi) = gain(phi) / |c|, forward, backward and std."""
    phi = unnamed(name)
    for convention in ("forward", "backward", "std"):
        scaled = gain(lambda x: factor * phi(x), convention=convention)
        assert scaled == pytest.approx(gain(name, convention=convention) / abs(factor), rel=1e-11)


@laws
@given(slope=st.floats(-3, 3))
def test_two_slopes_integrate_to_the_closed_form(slope):
    """The closed form behind relu's quick gain is the integral of the function."""
    integrated = moments(lambda x: torch.where(x > 0, x, slope * x))
    expected = columns(moments(f"leaky_relu({slope!r})"))
    assert columns(integrated) == pytest.approx(expected, rel=1e-11, abs=1e-14)


@laws
@given(place=places | beside)
def test_a_kink_is_found_wherever_it_is(place):
    """relu(x - c): E phi, E phi^2 and E phi'^2 have closed forms in c."""
    density, above = stats.norm.pdf(place), stats.norm.sf(place)
    found = moments(lambda x: torch.relu(x - place))
    assert found.mean == pytest.approx(density - place * above, rel=1e-9)
    assert found.second == pytest.approx((1 + place**2) * above - place * density, rel=1e-9)
    assert found.derivative_second == pytest.approx(above, rel=1e-9)


@laws
@given(place=places | beside, low=st.floats(-1, 1), high=st.floats(0.3, 2))
def test_a_jump_is_found_wherever_it_is(place, low, high):
    """low x below c, high x above: as thresholded and clipped activations are."""
    above = stats.norm.sf(place)
    square_above = above + place * stats.norm.pdf(place)
    found = moments(lambda x: torch.where(x > place, high * x, low * x))
    second = high**2 * square_above + low**2 * (1 - square_above)
    assert found.second == pytest.approx(second, rel=1e-10)
    derivative_second = high**2 * above + low**2 * (1 - above)
    assert found.derivative_second == pytest.approx(derivative_second, rel=1e-10)
    assert found.mean == pytest.approx((high - low) * stats.norm.pdf(place), rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(steps=st.integers(1, 6), noise=st.floats(-0.4, 0.4))
def test_a_staircase_has_the_moments_of_its_steps(steps, noise):
    """Fake quantization: many jumps at once, at no round places."""
    edges = [(k + noise) / steps for k in range(-3 * steps, 3 * steps + 1)]
    borders = torch.tensor(edges, dtype=torch.float64)
    found = moments(lambda x: torch.bucketize(x.detach(), borders).double())
    mass = [stats.norm.sf(edge) for edge in edges]
    # E k^2 = sum of (2k - 1) P(k or more).
    second = math.fsum((2 * k - 1) * p for k, p in enumerate(mass, start=1))
    assert found.mean == pytest.approx(math.fsum(mass), rel=1e-10)
    assert found.second == pytest.approx(second, rel=1e-10)


@laws
@given(name=st.sampled_from(SMOOTH_AND_KINKED), variance=st.floats(0.01, 50))
def test_the_variance_of_z_is_a_factor_inside_phi(name, variance):
    """E phi(z)^k under N(0, v) is E phi(sqrt(v) z)^k under N(0, 1)."""
    phi = unnamed(name)
    inside = columns(moments(lambda x: phi(math.sqrt(variance) * x)))
    inside["derivative_second"] /= variance
    found = moments(name, variance=variance)
    assert columns(found) == pytest.approx(inside, rel=1e-9, abs=1e-12)
    assert found.chi == pytest.approx(variance * found.derivative_second / found.second, rel=1e-15)


@laws
@given(name=st.sampled_from(SMOOTH_AND_KINKED))
def test_a_mirrored_phi_has_the_same_powers(name):
    """z and -z are equally likely."""
    phi = unnamed(name)
    assert columns(moments(lambda x: phi(-x))) == pytest.approx(
        columns(moments(name)), rel=1e-11, abs=1e-14
    )


@laws
@given(offset=st.floats(-1e4, 1e4))
def test_an_offset_does_not_wash_out_the_variance(offset):
    """Var(phi + c) = Var phi: moments are taken about the middle of phi, not about zero."""
    found = moments(lambda x: torch.tanh(x) + offset)
    assert found.variance == pytest.approx(moments("tanh").variance, rel=1e-9)


@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - {"threshold"}))
def test_a_gate_gives_its_gain_to_the_product(name):
    """E (phi(a) b)^2 = E phi^2 for unit variance."""
    assert gain(Gated(name)) == pytest.approx(gain(name), rel=1e-15)
    assert moments(Gated(name)).slope == pytest.approx(1 + moments(name).slope)


@pytest.mark.parametrize("name", names())
def test_a_canonical_name_is_its_own(name):
    """One name for one idea; each name that is listed has a gain."""
    once = canonical(name)
    assert canonical(once) == once
    assert gain(name) == gain(once) > 0


@laws
@given(
    family=st.sampled_from([f for f in FAMILIES.values() if f.parameters]),
    number=st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_parameter_is_written_so_that_it_is_read_again(family, number):
    """The name in a saved plan is the activation, to the last bit."""
    written = ",".join([repr(number)] * len(family.parameters))
    activation = parse(f"{family.name}({written})")
    assert parse(str(activation)) == activation
    assert activation.values == (number,) * len(family.parameters)


SPELLINGS = {
    "gelu": [nn.GELU(), functional.gelu, "gelu(erf)", partial(functional.gelu)],
    "gelu(tanh)": [nn.GELU("tanh"), partial(functional.gelu, approximate="tanh")],
    "relu": [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        functional.relu,
        torch.relu,
        torch.relu_,
        Tensor.relu,
        nn.Sequential(nn.ReLU(), nn.Dropout(0.1)),
    ],
    "leaky_relu": [nn.LeakyReLU(), "leaky_relu(0.01)", functional.leaky_relu],
    "leaky_relu(0.2)": [
        nn.LeakyReLU(0.2),
        partial(functional.leaky_relu, negative_slope=0.2, inplace=True),
    ],
    "prelu": [nn.PReLU(), nn.PReLU(64), "prelu(0.25)"],
    "rrelu": [nn.RReLU(), nn.RReLU().eval(), functional.rrelu, "rrelu(eval)"],
    "identity": [nn.Identity(), nn.Dropout(), nn.Sequential(), "linear", "conv2d"],
    "hardtanh(-2,3)": [nn.Hardtanh(-2, 3), partial(functional.hardtanh, min_val=-2, max_val=3)],
    "relu6": [nn.ReLU6(), functional.relu6],
    "softplus(2,10)": [nn.Softplus(2, 10)],
    "threshold(1,-2)": [
        nn.Threshold(1, -2),
        partial(functional.threshold, threshold=1, value=-2),
    ],
    "celu(2)": [nn.CELU(2), "celu(2.0)"],
    "sin": [torch.sin, Tensor.sin_, "sin(1x)"],
    "sigmoid": [nn.Sigmoid(), torch.sigmoid, torch.special.expit],
    "abs": [abs, torch.abs, torch.absolute],
    "glu": [nn.GLU(), functional.glu, Gated("sigmoid"), Gated(nn.Sigmoid())],
    "swiglu": [Gated("silu"), Gated(functional.silu)],
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_torch_spellings_have_one_name(name):
    """A module, a function, an in-place function and a string are one activation."""
    assert {canonical(spelling) for spelling in SPELLINGS[name]} == {name}


def test_a_parameterised_module_has_the_moments_of_its_function():
    """Names carry the numbers: compared with what the module computes, behind a lambda."""
    modules = [
        nn.ELU(0.7),
        nn.CELU(1.3),
        nn.Hardtanh(-0.3, 2),
        nn.Softplus(2, 1),
        nn.Threshold(0.37, -1.1),
        nn.Softshrink(0.2),
        nn.Hardshrink(0.9),
        nn.RReLU(0.1, 0.5).eval(),
        nn.LeakyReLU(0.3),
    ]
    for module in modules:
        behind = columns(moments(lambda x, module=module: module(x)))
        assert isinstance(canonical(module), str)
        assert columns(moments(module)) == pytest.approx(behind, rel=1e-11, abs=1e-14)


def test_float32_inside_is_integrated_to_float32():
    """Rounding is rough on every scale; it must neither be chased nor refused."""
    found = moments(lambda x: functional.silu(x.float()).to(x.dtype))
    assert columns(found) == pytest.approx(columns(moments("silu")), rel=1e-7)


def test_the_derivative_is_the_one_training_uses():
    """A straight-through estimator: sign forward, identity backward."""

    class Through(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, x):
            return x.sign()

        @staticmethod
        def backward(_ctx, gradient):
            return gradient

    assert gain(Through.apply) == pytest.approx(1, rel=1e-12)
    assert gain(Through.apply, convention="backward") == pytest.approx(1, rel=1e-12)
