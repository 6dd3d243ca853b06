"""Moments and gains against numbers that were computed elsewhere, and against closed forms."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scipy import integrate, special, stats
from torch import Tensor
from torch.nn import functional

from fanin import FaninError, Gated, Moments, gain, moments
from fanin._gains import canonical, names
from fanin._gains.constants import AT_UNIT_VARIANCE, COLUMNS

ORACLE = json.loads(Path(__file__).with_name("theory_gains.json").read_text())
ROWS: dict[str, dict[str, float | None]] = ORACLE["gains"]

FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: 1 * x,
    "relu": lambda x: x.relu(),
    "leaky_relu(0.01)": functional.leaky_relu,
    "leaky_relu(0.2)": lambda x: functional.leaky_relu(x, 0.2),
    "prelu(0.25)": lambda x: torch.where(x > 0, x, x / 4),
    "rrelu(eval)": functional.rrelu,
    "elu(1)": functional.elu,
    "celu(1)=elu(1)": functional.celu,
    "celu(2)": lambda x: functional.celu(x, 2.0),
    "selu": functional.selu,
    "gelu(erf)": functional.gelu,
    "gelu(tanh)": lambda x: functional.gelu(x, approximate="tanh"),
    "quick_gelu(1.702)": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": functional.silu,
    "mish": functional.mish,
    "softplus": functional.softplus,
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "logsigmoid": functional.logsigmoid,
    "hardswish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "hardsigmoid": lambda x: (x + 3).clamp(0, 6) / 6,
    "hardtanh": functional.hardtanh,
    "relu6": functional.relu6,
    "softsign": functional.softsign,
    "tanhshrink": functional.tanhshrink,
    "softshrink(0.5)": functional.softshrink,
    "hardshrink(0.5)": functional.hardshrink,
    "relu^2": lambda x: x.relu() ** 2,
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "sin(30x)": lambda x: torch.sin(30 * x),
    "exp": lambda x: x.exp(),
    "erf": lambda x: x.erf(),
    "atan": lambda x: x.atan(),
    "abs": lambda x: x.abs(),
    "exp(-x^2)": lambda x: torch.exp(-x * x),
}

# The one label of the table that is an equation.
NAMES = {label: "celu(1)" if label == "celu(1)=elu(1)" else label for label in ROWS}


def unnamed(label: str) -> Callable[[Tensor], Tensor]:
    """A callable that hides which function it is: its moments come from the quadrature."""
    return lambda x: FORMULAS[label](x.clone())


def numbers(activation: str | Callable[[Tensor], Tensor]) -> dict[str, float]:
    found = moments(activation)
    return {
        "Ephi2": found.second,
        "Ephi": found.mean,
        "Var": found.variance,
        "Edphi2": found.derivative_second,
        "fwd_gain": gain(activation),
        "bwd_gain": gain(activation, convention="backward"),
        "std_gain": gain(activation, convention="std"),
        "Ephi4": found.fourth,
        "kappa": found.kappa,
        "Edphi4": found.derivative_fourth,
        "chi_at_fwd": found.chi,
    }


@pytest.mark.parametrize("label", ROWS)
@pytest.mark.parametrize("spelling", ["name", "formula"])
def test_every_number_of_the_table_is_met_to_nine_digits(label, spelling):
    """The table was integrated with 30 digits; a name and its formula both give it."""
    activation = NAMES[label] if spelling == "name" else unnamed(label)
    expected = {k: v for k, v in ROWS[label].items() if k != "torch_gain"}
    assert numbers(activation) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("label", ROWS)
def test_the_torch_convention_is_the_table_or_a_refusal(label):
    """Where torch has no number, none is made up."""
    expected = ROWS[label]["torch_gain"]
    if NAMES[label] == "rrelu(eval)" or expected is None:
        with pytest.raises(FaninError, match="torch has"):
            gain(NAMES[label], convention="torch")
    else:
        assert gain(NAMES[label], convention="torch") == expected


@pytest.mark.parametrize(
    "name",
    ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
    + [f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)],
)
def test_the_torch_convention_equals_calculate_gain_for_each_of_its_names(name):
    """The same float, not a near one: a recipe that imitates torch must not drift."""
    assert gain(name, convention="torch") == torch.nn.init.calculate_gain(name)
    assert name in names()


def test_the_torch_convention_passes_the_slope_on():
    """calculate_gain takes the slope as its second argument."""
    expected = torch.nn.init.calculate_gain("leaky_relu", 0.3)
    assert gain("leaky_relu(0.3)", convention="torch") == expected


@pytest.mark.parametrize("name", AT_UNIT_VARIANCE)
def test_a_constant_equals_the_quadrature_of_its_formula(name):
    """The constants were computed apart, with 30 digits: neither side knows of the other."""
    label = next(label for label in ROWS if canonical(NAMES[label]) == name)
    integrated = moments(unnamed(label))
    expected = dict(zip(COLUMNS, AT_UNIT_VARIANCE[name], strict=True))
    found = {column: getattr(integrated, column) for column in COLUMNS}
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("unit", [k for k in ORACLE["products"] if k != "columns"])
def test_a_product_unit_has_the_printed_moments(unit):
    """Products of independent inputs, confirmed by sampling; compared digit by digit."""
    found = moments(Gated("tanh") if unit == "tanh" else unit)
    printed = dict(zip(ORACLE["products"]["columns"], ORACLE["products"][unit], strict=True))
    kappa = printed.pop("kappa")
    values = {name: getattr(found, name) for name in printed if name != "gain"}
    values["gain"] = gain(Gated("tanh") if unit == "tanh" else unit)
    assert {k: f"{v:.10g}" for k, v in values.items()} == {
        k: f"{v:.10g}" for k, v in printed.items()
    }
    assert f"{found.kappa:.7g}" == f"{kappa:.7g}"


def test_the_backward_gain_of_a_product_averages_its_two_inputs():
    """Gate and value rows are both in fan_out; for a bilinear unit nothing changes."""
    found = moments("swiglu")
    both = found.derivative_second + found.value_derivative_second
    assert both == pytest.approx(0.73525787, abs=5e-9)
    assert gain("swiglu", convention="backward") == pytest.approx(math.sqrt(2 / both))
    assert gain("bilinear", convention="backward") == 1


def test_a_product_unit_predicts_a_sampled_layer():
    """Second moment and both input gradients of silu(a) b, on a million pairs, 6 sigma."""
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 10**6, generator=generator, dtype=torch.float64).requires_grad_()
    y = functional.silu(a) * b
    by_gate, by_value = torch.autograd.grad(y.sum(), (a, b))
    found = moments("swiglu")
    for sample, expected in [
        (y, found.second),
        (by_gate, found.derivative_second),
        (by_value, found.value_derivative_second),
    ]:
        squares = sample.detach().square()
        assert abs(squares.mean().item() - expected) < 6 * squares.std().item() / 1000


CLOSED = {
    "leaky": (lambda: moments("leaky_relu(0.3)").second, (1 + 0.09) / 2),
    "leaky backward": (lambda: moments("leaky_relu(0.3)").derivative_second, (1 + 0.09) / 2),
    "gelu second": (lambda: moments("gelu").second, 1 / 3 + 1 / (2 * math.pi * math.sqrt(3))),
    "gelu mean": (lambda: moments("gelu").mean, 1 / (2 * math.sqrt(math.pi))),
    "elu second": (
        lambda: moments("elu").second,
        1 + math.e**2 * stats.norm.cdf(-2) - 2 * math.sqrt(math.e) * stats.norm.cdf(-1),
    ),
    "elu backward": (
        lambda: moments("elu").derivative_second,
        0.5 + math.e**2 * stats.norm.cdf(-2),
    ),
    "selu second": (lambda: moments("selu").second, 1),
    "sin": (lambda: moments("sin").second, (1 - math.exp(-2)) / 2),
    "cos": (lambda: moments("cos").second, (1 + math.exp(-2)) / 2),
    "exp": (lambda: moments("exp").second, math.exp(2)),
    "relu fourth": (lambda: moments("relu").fourth, 1.5),
    "atan backward": (lambda: moments("atan").derivative_second, 0.5),
    "exp(3x), whose mass is at 6": (lambda: moments(lambda x: torch.exp(3 * x)).second, math.e**18),
    "exp at variance 4": (lambda: moments("exp", variance=4.0).second, math.e**8),
    "exp(x^2/5), heavy tails": (
        lambda: moments(lambda x: torch.exp(x * x / 5)).second,
        math.sqrt(5),
    ),
    "siren": (lambda: moments("sin", variance=0.79681213).second, (1 - math.exp(-1.59362426)) / 2),
}


@pytest.mark.parametrize("case", CLOSED)
def test_an_identity_holds(case):
    """Closed forms, derived on paper."""
    computed, expected = CLOSED[case]
    assert computed() == pytest.approx(expected, rel=1e-12)


def test_only_positively_homogeneous_activations_have_equal_gains():
    """phi(cx) = c phi(x) for c > 0 makes E phi^2 = E phi'^2; else only exp, its own derivative."""
    homogeneous = {"identity", "relu", "leaky_relu(0.01)", "leaky_relu(0.2)", "prelu(0.25)", "abs"}
    equal = {
        label
        for label in ROWS
        if numbers(unnamed(label))["fwd_gain"]
        == pytest.approx(numbers(unnamed(label))["bwd_gain"], rel=1e-12)
    }
    assert equal == homogeneous | {"rrelu(eval)", "exp"}


@pytest.mark.parametrize("name", [k for k in ORACLE["slopes"] if k != "tanh"])
def test_the_slope_has_the_printed_digits(name):
    """Slopes of the variance map from mean-field iteration, seven decimals."""
    assert moments(name).slope == pytest.approx(ORACLE["slopes"][name], abs=5e-8)


SMOOTH = {
    "tanh": (math.tanh, lambda x: 1 / math.cosh(x) ** 2),
    "gelu": (
        lambda x: x * special.ndtr(x),
        lambda x: special.ndtr(x) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    ),
    "silu": (
        lambda x: x * special.expit(x),
        lambda x: special.expit(x) * (1 + x * special.expit(-x)),
    ),
    "softplus": (lambda x: math.log1p(math.exp(x)), special.expit),
    "elu": (lambda x: x if x > 0 else math.expm1(x), lambda x: 1 if x > 0 else math.exp(x)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_the_slope_is_the_mean_of_phi_times_its_derivative_times_z(name):
    """fanin uses E phi^2 (z^2-1); by parts this is the other form, by another integrator."""
    phi, derivative = SMOOTH[name]

    def mean(f: Callable[[float], float]) -> float:
        def weighted(x: float) -> float:
            return f(x) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

        halves = ((-14, 0), (0, 14))
        return sum(integrate.quad(weighted, *half, epsrel=1e-12)[0] for half in halves)

    slope = mean(lambda x: phi(x) * derivative(x) * x) / mean(lambda x: phi(x) ** 2)
    assert moments(name).slope == pytest.approx(slope, rel=1e-9)


def test_the_slope_counts_a_jump():
    """hardshrink's variance map, differentiated in closed form: its jump adds variance."""
    edge, density = 0.5, stats.norm.pdf(0.5)
    second = 2 * (stats.norm.sf(edge) + edge * density)
    # d/dq of q 2 [sf(t) + t pdf(t)] at t = edge / sqrt(q), q = 1.
    slope = (second + edge**3 * density) / second
    assert moments("hardshrink").slope == pytest.approx(slope, rel=1e-12)
    assert not moments("hardshrink").stable


def test_gelu_and_silu_are_unstable_and_the_relu_family_is_not():
    """The forward gain alone sends a deep plain GELU or SiLU stack to 0 or infinity."""
    stable = {name for name in names() if moments(name).stable}
    assert stable.isdisjoint({"gelu", "gelu(tanh)", "quick_gelu", "silu", "mish", "hardswish"})
    assert stable.isdisjoint({"glu", "bilinear", "reglu", "geglu", "swiglu"})
    assert stable >= {"identity", "relu", "leaky_relu", "elu", "selu", "tanh", "relu6", "linear"}


@pytest.mark.parametrize(("name", "expected"), [("gelu", 10.98), ("silu", 189.3)])
def test_an_unstable_fixed_point_throws_the_variance_out(name, expected):
    """The variance map, iterated 30 times from 1.1, leaves as the independent run did."""
    q, weight_variance = 1.1, gain(name) ** 2
    for _ in range(30):
        q = weight_variance * moments(name, variance=q).second
    assert q == pytest.approx(expected, rel=1e-3)


def test_the_repr_of_moments_is_their_constructor():
    """A value prints as what makes it."""
    found = moments("swiglu", variance=2.0)
    assert eval(repr(found), {"Moments": Moments}) == found  # noqa: S307


def test_the_table_of_moments_says_whether_they_are_stable():
    """The verdict is on the first line, where it is read."""
    assert str(moments("relu")).splitlines()[0] == "z ~ N(0, 1), stable"
    assert str(moments("gelu", variance=2.0)).splitlines()[0] == "z ~ N(0, 2), unstable"
    assert "value_derivative_second" in str(moments("glu"))
