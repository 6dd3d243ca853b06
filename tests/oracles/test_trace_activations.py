"""The activation before and after a weight, however it is written."""

from math import pi, sqrt

import pytest
import torch
from tests.oracles.trace_models import Model, parameter, rows, sites
from torch import nn
from torch.nn import functional

from fanin import gain

F = functional


def between(function, *, parts=None):
    """The site of a weight behind ``function``, and of the one before it."""
    model = Model(
        lambda m, x: m.second(function(m.first(x))),
        first=nn.Linear(6, 8), second=nn.Linear(8, 5), **(parts or {}),
    )  # fmt: skip
    found = sites(model, rows(3, 6))
    return found["first.weight"], found["second.weight"]


MODULES = {
    "ReLU": "relu", "GELU": "gelu", "SiLU": "silu", "Tanh": "tanh", "Sigmoid": "sigmoid",
    "ELU": "elu", "SELU": "selu", "CELU": "elu", "Mish": "mish", "Softplus": "softplus",
    "Softsign": "softsign", "Hardswish": "hardswish", "Hardsigmoid": "hardsigmoid",
    "Hardtanh": "hardtanh", "ReLU6": "relu6", "LogSigmoid": "logsigmoid",
    "Tanhshrink": "tanhshrink", "Softshrink": "softshrink", "Hardshrink": "hardshrink",
    "LeakyReLU": "leaky_relu", "Identity": "identity",
}  # fmt: skip


@pytest.mark.parametrize(("layer", "name"), MODULES.items(), ids=MODULES)
def test_a_module_is_named_by_its_values(layer, name):
    """Every activation of torch.nn, by the name that `fanin.gain` knows."""
    first, second = between(getattr(nn, layer)())
    assert (second.activation, first.activation_after) == (name, name)
    assert gain(second.activation) == gain(getattr(nn, layer)())


FORMS = {
    "functional": (F.relu, "relu"),
    "squared": (lambda x: F.relu(x) ** 2, "relu^2"),
    "squared, a product": (lambda x: F.relu(x) * F.relu(x), "relu^2"),
    "squared, by square": (lambda x: F.relu(x).square(), "relu^2"),
    "method": (lambda x: x.relu(), "relu"),
    "in place": (lambda x: x.relu_(), "relu"),
    "in-place module": (nn.ReLU(inplace=True), "relu"),
    "clamp": (lambda x: x.clamp(min=0), "relu"),
    "maximum with zero": (lambda x: torch.maximum(x, torch.zeros(())), "relu"),
    "where": (lambda x: torch.where(x > 0, x, 0.0), "relu"),
    "where, a tensor": (lambda x: torch.where(x > 0, x, torch.zeros_like(x)), "relu"),
    "a mask that multiplies": (lambda x: x * (x > 0), "relu"),
    "masked_fill": (lambda x: x.masked_fill(x < 0, 0), "relu"),
    "half of x + |x|": (lambda x: (x + x.abs()) / 2, "relu"),
    "threshold": (lambda x: F.threshold(x, 0.0, 0.0), "relu"),
    "leaky by maximum": (lambda x: torch.maximum(x, 0.2 * x), "leaky_relu(0.2)"),
    "leaky, other slope": (nn.LeakyReLU(0.3), "leaky_relu(0.3)"),
    "leaky by where": (lambda x: torch.where(x >= 0, x, 0.1 * x), "leaky_relu(0.1)"),
    "silu by hand": (lambda x: x * torch.sigmoid(x), "silu"),
    "silu by exp": (lambda x: x / (1 + torch.exp(-x)), "silu"),
    "silu in place": (lambda x: x.mul_(x.sigmoid()), "silu"),
    "gelu, tanh": (nn.GELU(approximate="tanh"), "gelu(tanh)"),
    "gelu by hand": (lambda x: x * 0.5 * (1.0 + torch.erf(x / sqrt(2.0))), "gelu"),
    "gelu by tanh, by hand": (
        lambda x: 0.5 * x * (1 + torch.tanh(sqrt(2 / pi) * (x + 0.044715 * torch.pow(x, 3.0)))),
        "gelu(tanh)",
    ),
    "gelu by tanh, products": (
        lambda x: 0.5 * x * (1 + torch.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x))),
        "gelu(tanh)",
    ),
    "tanh by sigmoid": (lambda x: 2 * torch.sigmoid(2 * x) - 1, "tanh"),
    "sigmoid by hand": (lambda x: 1 / (1 + (-x).exp()), "sigmoid"),
    "softplus by hand": (lambda x: torch.log1p(x.exp()), "softplus"),
    "mish by hand": (lambda x: x * torch.tanh(F.softplus(x)), "mish"),
    "softsign by hand": (lambda x: x / (1 + x.abs()), "softsign"),
    "hardswish by hand": (lambda x: x * F.relu6(x + 3) / 6, "hardswish"),
    "relu6 by clamp": (lambda x: x.clamp(0, 6), "relu6"),
    "hardtanh by clamp": (lambda x: x.clamp(-2, 3), "hardtanh(-2,3)"),
    "sine": (torch.sin, "sin"),
    "sine, SIREN": (lambda x: torch.sin(30 * x), "sin(30x)"),
    "cast and back": (lambda x: F.gelu(x.double()).to(x.dtype), "gelu"),
    "on a view": (lambda x: F.relu(x.view(3, 2, 4)).flatten(1), "relu"),
    "on a transposed view": (lambda x: F.relu(x.t()).t(), "relu"),
    "then dropout": (lambda x: F.dropout(F.relu(x), 0.5, training=True), "relu"),
}  # fmt: skip


@pytest.mark.parametrize(("function", "name"), FORMS.values(), ids=FORMS)
def test_an_activation_is_known_by_its_values_not_by_its_spelling(function, name):
    """Functional, in place, cast, on a view, or written out by hand."""
    first, second = between(function)
    assert (second.activation, first.activation_after) == (name, name)


STRAIGHT = {
    "nothing": lambda x: x,
    "a factor": lambda x: 0.5 * x,
    "a shift": lambda x: x + 1,
    "negative": torch.neg,
    "a cast": lambda x: x.bfloat16().float(),
    "a view": lambda x: x.view(3, 2, 4).flatten(1),
    "dropout": lambda x: F.dropout(x, 0.3, training=True),
    "a flip": lambda x: x.flip(-1),
    "x + x": lambda x: x + x,
    "3 x - 2 x": lambda x: 3 * x - 2 * x,
    "a rotation": lambda x: torch.cat([-x[:, 4:], x[:, :4]], -1),
    "nan to num": lambda x: x + 0 * x,
}


@pytest.mark.parametrize("function", STRAIGHT.values(), ids=STRAIGHT)
def test_a_straight_line_is_no_activation(function):
    """Factors, shifts, casts and moves are linear."""
    first, second = between(function)
    assert (second.activation, first.activation_after) == ("identity", "identity")
    assert second.sources == ("first.weight",)


UNNAMED = {
    "a factor": lambda x: 2 * F.relu(x),
    "a power": lambda x: F.relu(x) ** 3,
    "a product": lambda x: F.relu(x) * F.silu(x),
    "cube": lambda x: x**3,
    "quick gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "snake": lambda x: x + torch.sin(x) ** 2,
    "swish of another slope": lambda x: x * torch.sigmoid(2.5 * x),
    "gaussian": lambda x: torch.exp(-x * x),
    "clipped silu": lambda x: F.silu(x).clamp(max=2),
    "shifted": lambda x: F.relu(x - 1),
    "tanh of tanh": lambda x: torch.tanh(torch.tanh(x)),
    "kinked": lambda x: torch.where(x > 0.37, x, 0.1 * x),
}


@pytest.mark.parametrize("function", UNNAMED.values(), ids=UNNAMED)
def test_an_activation_without_a_name_is_found_as_a_function(function):
    """The recorded operations run again: the same values, hence the same gain."""
    first, second = between(function)
    z = torch.linspace(-4, 4, 101, dtype=torch.float64)
    for found in (second.activation, first.activation_after):
        if isinstance(found, str):
            assert gain(found) == pytest.approx(gain(function), rel=1e-9)
        else:
            torch.testing.assert_close(found(z), function(z), rtol=1e-12, atol=1e-12)
            assert gain(found) == pytest.approx(gain(function), rel=1e-9)


def test_a_function_found_in_the_run_says_what_it_is_made_of():
    """It is printed in a plan."""
    _, second = between(lambda x: F.relu(x) ** 3)
    assert repr(second.activation) == "<pow of relu>"


def test_a_parameter_inside_an_activation_counts_as_its_start():
    """PReLU has torch's own slope; a learned temperature or slope starts at one."""
    found = sites(nn.Sequential(nn.Linear(6, 8), nn.PReLU(8), nn.Linear(8, 5)), rows(3, 6))
    assert gain(found["2.weight"].activation) == gain("leaky_relu(0.25)")
    assert (found["1.weight"].role, found["1.weight"].uses) == ("slope", 1)
    model = Model(
        lambda m, x: m.second(m.a * torch.tanh(m.b * m.first(x))),
        first=nn.Linear(6, 8), second=nn.Linear(8, 5), a=parameter(8), b=parameter(1),
    )  # fmt: skip
    found = sites(model, rows(3, 6))
    assert found["second.weight"].activation == "tanh"
    assert (found["a"].role, found["b"].role) == ("elementwise", "elementwise")


def test_a_dynamic_tanh_is_tanh():
    """DyT: a norm's place taken by ``g tanh(a x) + b``."""
    model = Model(
        lambda m, x: m.second(m.g * torch.tanh(m.a * m.first(x)) + m.b),
        first=nn.Linear(6, 8), second=nn.Linear(8, 5),
        g=parameter(8), a=parameter(1), b=parameter(8),
    )  # fmt: skip
    found = sites(model, rows(3, 6))
    assert found["second.weight"].activation == "tanh"
    assert found["first.weight"].activation_after == "tanh"


def test_what_is_not_elementwise_is_no_activation():
    """A softmax, a pool or a sort has no function of one number."""
    for function in (
        lambda x: x.softmax(-1),
        lambda x: x.sort(-1).values,
        lambda x: F.max_pool1d(x, 3, stride=1, padding=1),
        lambda x: x.cumsum(-1),
        lambda x: F.layer_norm(x, (8,)),
    ):
        _, second = between(function)
        assert second.activation == "identity"


def test_the_nearest_activation_counts_and_pools_pass_it_on():
    """relu, then a pool: what arrives passed a relu; two activations in a row are one function."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.Tanh(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    found = sites(model, rows(2, 3, 12, 12))
    assert [found[n].activation for n in ("0.weight", "3.weight", "7.weight")] == [
        "identity", "relu", "tanh",
    ]  # fmt: skip
    assert [found[n].activation_after for n in ("0.weight", "3.weight", "7.weight")] == [
        "relu", "tanh", "identity",
    ]  # fmt: skip


def test_a_norm_ends_an_activation_s_reach():
    """weight, relu, norm, weight: the second weight's input is a norm's output."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 5))
    found = sites(model, rows(3, 6))
    assert (found["3.weight"].activation, found["3.weight"].normalized_input) == ("identity", True)
    assert found["0.weight"].activation_after == "relu"
    assert not found["0.weight"].normalized_output


def test_an_activation_before_a_sum_is_after_its_weight():
    """The branch of a residual sum may end in one, and so may the terms of other sums."""
    stream = Model(lambda m, x: x + F.relu(m.a(x)), a=nn.Linear(6, 6))
    terms = Model(
        lambda m, x: torch.tanh(m.a(x)) + torch.tanh(m.b(x)), a=nn.Linear(6, 4), b=nn.Linear(6, 4)
    )
    joined = Model(
        lambda m, x: m.c(torch.cat([m.a(x).relu(), m.b(x).tanh()], -1)),
        a=nn.Linear(6, 4), b=nn.Linear(6, 4), c=nn.Linear(8, 3),
    )  # fmt: skip
    for model, expected in (
        (stream, ["relu"]),
        (terms, ["tanh", "tanh"]),
        (joined, ["relu", "tanh"]),
    ):
        found = sites(model, rows(3, 6))
        after = [found[f"{name}.weight"].activation_after for name in "ab"[: len(expected)]]
        assert after == expected


def test_an_activation_at_the_end_of_the_model_is_after_its_weight():
    """A sigmoid on the readout."""
    found = sites(nn.Sequential(nn.Linear(6, 1), nn.Sigmoid()), rows(3, 6))
    assert found["0.weight"].activation_after == "sigmoid"


def test_an_activation_after_a_norm_is_before_the_next_weight():
    """weight, norm, relu, weight: relu before the second, and nothing after the first."""
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))
    found = sites(model, rows(3, 6))
    assert (found["3.weight"].activation, found["3.weight"].normalized_input) == ("relu", True)
    assert (found["0.weight"].activation_after, found["0.weight"].normalized_output) == (
        "identity", True,
    )  # fmt: skip


def test_a_sum_ends_an_activation_s_reach_and_passes_one_that_all_share():
    """relu(a) + relu(b) is a sum of what passed relu; relu(a + b) passed relu after the sum."""
    parts = {"a": nn.Linear(6, 8), "b": nn.Linear(6, 8), "c": nn.Linear(8, 5)}
    after = sites(Model(lambda m, x: m.c(F.relu(m.a(x) + m.b(x))), **parts), rows(3, 6))
    assert after["c.weight"].activation == "relu"
    assert after["c.weight"].join == "add"
    mixed = sites(Model(lambda m, x: m.c(F.relu(m.a(x)) + m.b(x)), **parts), rows(3, 6))
    assert mixed["c.weight"].activation == "identity"


def test_concatenated_branches_of_one_activation_passed_it():
    """Inception: every branch ends in relu."""
    parts = {"a": nn.Linear(6, 4), "b": nn.Linear(6, 4), "c": nn.Linear(8, 5)}
    same = Model(lambda m, x: m.c(torch.cat([F.relu(m.a(x)), F.relu(m.b(x))], -1)), **parts)
    found = sites(same, rows(3, 6))["c.weight"]
    assert (found.activation, found.join) == ("relu", "concatenate")
    assert found.sources == ("a.weight", "b.weight")
    mixed = Model(lambda m, x: m.c(torch.cat([F.relu(m.a(x)), m.b(x)], -1)), **parts)
    assert sites(mixed, rows(3, 6))["c.weight"].activation == "identity"


def test_a_positive_integer_power_of_the_input_counts_too():
    """The first weight has an activation before it if the model applies one to its input."""
    model = Model(lambda m, x: m.w(torch.sin(x)), w=nn.Linear(6, 4))
    assert sites(model, rows(3, 6))["w.weight"].activation == "sin"


def test_a_maxout_is_no_elementwise_activation():
    """The larger of two outputs is not a function of one number."""
    model = Model(
        lambda m, x: m.c(torch.maximum(m.a(x), m.b(x))),
        a=nn.Linear(6, 8), b=nn.Linear(6, 8), c=nn.Linear(8, 5),
    )  # fmt: skip
    found = sites(model, rows(3, 6))["c.weight"]
    assert found.activation == "identity"
    assert found.sources == ("a.weight", "b.weight")


def test_an_activation_in_bfloat16_is_named_in_full_precision():
    """What is compared is the function, not the rounding of the run."""
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 5)).bfloat16()
    assert sites(model, rows(3, 6).bfloat16())["2.weight"].activation == "gelu"


def test_an_activation_is_named_on_the_meta_device_too():
    """The operations are recorded; their values come from a replay on a few numbers."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(6, 8), nn.Softplus(beta=3.0), nn.Linear(8, 5))
    assert sites(model, rows(3, 6))["2.weight"].activation == "softplus(3,20)"


def test_every_layer_has_its_own():
    """A different activation behind each of seven layers."""
    kinds = ["ReLU", "Tanh", "SiLU", "GELU", "Mish", "ELU"]
    layers = [nn.Linear(6, 6)]
    for kind in kinds:
        layers += [getattr(nn, kind)(), nn.Linear(6, 6)]
    found = sites(nn.Sequential(*layers), rows(3, 6))
    weights = [site for name, site in found.items() if name.endswith("weight")]
    assert [site.activation for site in weights[1:]] == [kind.lower() for kind in kinds]
    assert [site.activation_after for site in weights[:-1]] == [kind.lower() for kind in kinds]
