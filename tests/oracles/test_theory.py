"""Mean-field predictions against numbers that were computed elsewhere, with 25 digits or closed."""

import json
import math
from pathlib import Path

import pytest
import torch
from scipy import special

from fanin import FaninError, gain, moments
from fanin.theory import FixedPoint, MeanField, edge_of_chaos

ORACLE = json.loads(Path(__file__).with_name("theory_mean_field.json").read_text())
EXACT = 1e-8

FORWARD = """tanh 0.46107083 1.17780723 0 0
elu 0.89096797 1.03590472 0.03995199 0.59756845
selu 0.78264788 1.07157499 0 0
gelu 1.14406320 1.07203160 0.18714358 0.76040190
silu 1.17259405 1.06663424 0.11999764 0.65866717
erf 0.40856667 1.22570000 0 0
sin 0.31303529 1.31303529 0 0"""


def close(value, absolute=0.0):
    return pytest.approx(value, rel=EXACT, abs=absolute)


def forward_start(activation, q0=1.0):
    return MeanField(activation, gain(activation) ** 2, q0=q0)


@pytest.mark.parametrize("row", ORACLE["tanh_critical"], ids=lambda row: f"{row['sb2']}")
def test_every_number_of_tanhs_critical_line_is_met(row):
    """theory 2.2: the start, its fixed point, both rates, and the spread of phi'^2."""
    net = edge_of_chaos("tanh", bias_variance=row["sb2"])
    assert net.weight_variance == close(row["sw2"])
    assert net.q_star == close(row["q"])
    assert net.q_slope == close(row["dq"])
    assert net.depth_scale_q == close(row["xi_q"])
    assert net.critical_rate == close(row["kappa1"])
    assert (net.phase, net.c_star) == ("critical", 1.0)


@pytest.mark.parametrize("row", ORACLE["tanh_sb2_0p05"], ids=lambda row: f"{row['sw2']}")
def test_every_number_of_tanh_on_both_sides_of_the_line_is_met(row):
    """theory 2.3: the three depth scales differ, and only two are of one kind of net."""
    net = MeanField("tanh", row["sw2"], 0.05)
    assert net.q_star == close(row["q"])
    assert net.chi() == close(row["chi1"])
    assert net.q_slope == close(row["dq"])
    assert net.depth_scale_q == close(row["xi_q"])
    assert net.c_star == close(row["c"])
    assert net.depth_scale_c == close(row["xi_c"])
    assert net.depth_scale_gradient == close(row["xi_grad"])
    assert net.phase == ("ordered" if row["chi1"] < 1 else "chaotic")


@pytest.mark.parametrize("line", FORWARD.splitlines(), ids=lambda line: line.split()[0])
def test_the_forward_gain_has_these_slopes_and_correlations(line):
    """theory 2.4: what a gain alone makes of depth; elu's last number by mpmath at 22 digits."""
    name, *numbers = line.split()
    slope, chi, first, last = map(float, numbers)
    net = forward_start(name)
    assert net.q_star == close(1.0)
    assert net.q_slope == pytest.approx(slope, abs=5e-9)
    assert net.chi() == pytest.approx(chi, abs=5e-9)
    assert net.c_map(0.0) == pytest.approx(first, abs=5e-9)
    assert net.c_star == pytest.approx(last, abs=5e-9)


@pytest.mark.parametrize(
    ("activation", "weight", "layers", "q"),
    [
        ("tanh", 25 / 9, (1, 10, 50), (1.095, 1.178, 1.178)),
        ("tanh", 1.0, (1, 10, 50), (0.3943, 0.0522, 0.0102)),
        ("selu", 9 / 16, (1, 10, 50), (0.5625, 0.0666, 0.0239)),
        ("sigmoid", 1.0, (1, 10, 50), (0.2934, 0.2647, 0.2647)),
        ("relu", 2.0, (1, 10, 50), (1.0, 1.0, 1.0)),
        ("gelu", 2.0, (1, 10), (0.8504, 0.0293)),
        ("silu", 2.0, (1, 10), (0.7116, 0.0036)),
        ("elu", 2.0, (1, 10, 50), (1.29, 5.33, 34.1)),
    ],
)
def test_what_torchs_gains_make_of_a_signal(activation, weight, layers, q):
    """theory 1.3, as it is printed there."""
    curve = MeanField(activation, weight).forward(50)
    for layer, expected in zip(layers, q, strict=True):
        digits = len(f"{expected}".split(".")[1])
        assert curve[layer] == pytest.approx(expected, abs=0.51 * 10.0**-digits)


@pytest.mark.parametrize(
    ("activation", "weight", "q", "chi"),
    [
        ("tanh", 25 / 9, 1.1784805, 1.2098313),
        ("selu", 9 / 16, 0.0230338, 1.0036704),
        ("sigmoid", 1.0, 0.2646869, 0.0557207),
        ("gelu", 2.0, 0.0, 0.5),
        ("silu", 2.0, 0.0, 0.5),
        ("tanh", 1.0, 0.0, 1.0),
        ("elu", 2.0, math.inf, 1.0),
        ("relu", 2.0, 1.0, 1.0),
    ],
)
def test_where_torchs_gains_lead(activation, weight, q, chi):
    """theory 1.3: a signal may settle, die, or grow for ever."""
    net = MeanField(activation, weight)
    assert net.q_star == pytest.approx(q, abs=5e-8)
    assert net.chi() == pytest.approx(chi, abs=5e-8)


@pytest.mark.parametrize(
    ("activation", "q0", "layer", "q"),
    [
        ("gelu", 1.1, 30, 10.98),
        ("silu", 1.1, 30, 189.3),
        ("gelu", 0.9, 30, 0.0012),
        ("silu", 0.9, 30, 0.0044),
        ("gelu", 0.9, 5, 0.810),
        ("gelu", 1.1, 15, 1.868),
    ],
)
def test_gelu_and_silu_leave_their_fixed_point(activation, q0, layer, q):
    """theory, item 1 and 2.4: the forward gain is not a safe recommendation."""
    curve = forward_start(activation).forward(layer, q0)
    digits = len(f"{q}".split(".")[1])
    assert curve[-1] == pytest.approx(q, abs=0.51 * 10.0**-digits)


@pytest.mark.parametrize(
    ("activation", "q0", "q"),
    [
        ("gelu", 1.0, 1.0),
        ("gelu", 0.9, 0.0),
        ("gelu", 1.1, math.inf),
        ("silu", 0.99, 0.0),
    ],
)
def test_an_unstable_point_is_kept_only_from_itself(activation, q0, q):
    """q_star follows q0, as a net does; the point is named with its instability."""
    net = forward_start(activation, q0)
    assert net.q_star == close(q)
    assert [point.stability for point in net.q_fixed_points] == ["stable", "unstable"]


@pytest.mark.parametrize(
    ("activation", "bias", "weight", "q", "slope"),
    [
        ("gelu", 0.05, 2.3025195117, 0.7220357669, 1.08511),
        ("gelu", 0.1, 2.0766761937, 1.6324261088, 1.03742),
        ("silu", 0.05, 2.7286115263, 0.8265760501, 1.09987),
        ("silu", 0.1, 2.43955, 1.55191, None),
        ("erf", 0.05, 1.3758390073, 0.5171768380, math.exp(-1 / 1.40809736)),
        ("erf", 0.1, 1.55212, 0.72636, None),
        ("sin", 0.05, 1.5020701026, 0.5520701026, math.exp(-1 / 1.43411124)),
        ("elu", 0.05, 1.53372, 1.30091, None),
        ("mish", 0.05, 2.10480, 0.90540, None),
        ("relu", 0.0, 2.0, 1.0, 1.0),
        ("leaky_relu(0.2)", 0.0, 2 / 1.04, 1.0, 1.0),
        ("tanh", 0.0, 1.0, 0.0, 1.0),
    ],
)
def test_critical_starts_of_other_activations(activation, bias, weight, q, slope):
    """theory 2.4 and peers 3.7, to the digits printed there."""
    net = edge_of_chaos(activation, bias_variance=bias)
    assert net.weight_variance == pytest.approx(weight, rel=3e-6)
    if len(str(weight)) > 10:
        assert net.weight_variance == pytest.approx(weight, abs=6e-11)
        assert net.q_star == pytest.approx(q, abs=6e-11)
    assert net.q_star == pytest.approx(q, rel=1e-5)
    if slope is not None:
        assert net.q_slope == pytest.approx(slope, abs=6e-6)
    assert net.chi() == close(1.0)


@pytest.mark.parametrize(
    ("activation", "q", "bias", "weight", "slope"),
    [
        ("gelu", 5.0, 0.21444471, 1.96627484, 0.99046912),
        ("silu", 20.0, 0.67891049, 1.97546664, 0.99316779),
    ],
)
def test_beyond_the_half_stable_point_critical_starts_are_stable(
    activation, q, bias, weight, slope
):
    """theory 2.4."""
    net = edge_of_chaos(activation, q=q)
    assert net.bias_variance == pytest.approx(bias, abs=6e-9)
    assert net.weight_variance == pytest.approx(weight, abs=6e-9)
    assert net.q_slope == pytest.approx(slope, abs=6e-9)


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_the_half_stable_point_is_found_from_its_variance(activation):
    """There slope and chi are both 1: Roberts, Yaida and Hanin's class, solved with 25 digits."""
    row = ORACLE[f"{activation}_half_stable"]
    net = edge_of_chaos(activation, q=row["q"])
    assert net.weight_variance == close(row["sw2"])
    assert net.bias_variance == close(row["sb2"])
    assert net.q_slope == close(1.0)
    assert net.chi() == close(1.0)
    assert FixedPoint(row["q"], net.q_slope, "half-stable") in net.q_fixed_points


@pytest.mark.parametrize("row", ORACLE["hardtanh_critical"], ids=lambda row: f"{row['sb2']}")
def test_hardtanhs_critical_line_is_met(row):
    """A closed form with kinks: E phi'^2 = erf(1 / sqrt(2 q))."""
    net = edge_of_chaos("hardtanh", bias_variance=row["sb2"])
    assert net.weight_variance == close(row["sw2"])
    assert net.q_star == close(row["q"])
    assert net.weight_variance == close(1 / special.erf(1 / math.sqrt(2 * row["q"])))


@pytest.mark.parametrize(("weight", "scale"), [(1.0, 1.442695), (1.5, 3.476059), (1.9, 19.495726)])
def test_relu_below_two_settles_with_one_depth_scale(weight, scale):
    """theory 2.4: q* = sigma_b^2 / (1 - sigma_w^2 / 2), all scales -1 / ln(sigma_w^2 / 2)."""
    net = MeanField("relu", weight, 0.3)
    assert net.q_star == close(0.3 / (1 - weight / 2))
    assert net.depth_scale_q == pytest.approx(scale, abs=6e-7)
    assert net.depth_scale_c == close(-1 / math.log(weight / 2))
    assert net.depth_scale_gradient == close(-1 / math.log(weight / 2))


def test_relu_with_biases_at_two_grows_for_ever():
    """theory 2.4: by sigma_b^2 in each layer."""
    net = MeanField("relu", 2.0, 0.25)
    assert net.q_star == math.inf
    assert net.forward(4) == close((1.0, 1.25, 1.5, 1.75, 2.0))


def test_relu_at_two_keeps_every_variance():
    """Its one neutral point is named at q0."""
    (point,) = MeanField("relu", 2.0, q0=7.0).q_fixed_points
    assert (point.q, point.stability) == (7.0, "neutral")


@pytest.mark.parametrize(("activation", "q"), [("gelu", 0.12449562), ("silu", 0.10804162)])
def test_off_the_line_gelu_and_silu_settle_low(activation, q):
    """theory 2.4; silu's by mpmath with 22 digits."""
    assert MeanField(activation, 2.0, 0.05).q_star == pytest.approx(q, abs=6e-9)


def test_relus_correlations_follow_the_sequence_and_not_the_asymptote():
    """theory 2.4: 1 - c_l is 20 % off 9 pi^2 / (2 l^2) still at layer 100."""
    rows = {row["l"]: row["c"] for row in ORACLE["relu_eoc_c"] if row["l"] <= 100}
    curve = MeanField("relu", 2.0).correlation(0.0, depth=100)
    for layer, c in rows.items():
        assert curve[layer] == close(c)
        assert 1 - curve[layer] == pytest.approx(1 - c, rel=1e-10)


@pytest.mark.slow
def test_relus_correlations_follow_the_sequence_for_a_thousand_layers():
    """The digits of 1 - c are not lost on the way."""
    curve = MeanField("relu", 2.0).correlation(0.0, depth=1000)
    for row in ORACLE["relu_eoc_c"]:
        if row["l"] <= 1000:
            assert 1 - curve[row["l"]] == pytest.approx(1 - row["c"], rel=1e-8)


def test_on_tanhs_critical_line_correlations_fall_as_one_over_depth():
    """theory 2.1: (1 - c) l / kappa_1 measured as 1.0456 at layer 100."""
    net = edge_of_chaos("tanh", bias_variance=0.05)
    c = net.correlation(0.0, depth=100)[-1]
    assert (1 - c) * 100 / net.critical_rate == pytest.approx(1.0456, abs=6e-5)


def relu_pair(c):
    """Cho and Saul (2009): E relu relu at unit variances."""
    return ((c * math.asin(c) + math.sqrt(1 - c * c)) / math.pi + c / 2) / 2


def erf_pair(c, q):
    """Williams (1997)."""
    return 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q))


@pytest.mark.parametrize("c", [-1.0, -0.999, -0.5, 0.0, 0.3, 0.9, 0.9999, 1 - 1e-9, 1.0])
@pytest.mark.parametrize("q", [0.01, 1.0, 50.0])
def test_pairs_have_the_closed_forms_of_relu_erf_sine_and_exponential(c, q):
    """A kink, saturation, waves and growth, from opposite inputs to equal ones."""
    waves = math.exp(-q) * math.sinh(q * c)
    relu, erf, sin = (MeanField(name, 2.0) for name in ("relu", "erf", "sin"))
    assert relu.c_map(c, q) == close(2 * relu_pair(c), 1e-14)
    assert erf.c_map(c, q) == close(erf_pair(c, q) / erf_pair(1.0, q), 1e-14)
    assert sin.c_map(c, q) == close(waves / (math.exp(-q) * math.sinh(q)), 1e-14)
    if q <= 1:
        grown = MeanField(torch.exp, 0.5).c_map(c, q)
        assert grown == close(math.exp(q * (1 + c)) / math.exp(2 * q), 1e-14)


def test_a_step_parts_two_inputs_however_near():
    """Of a sign c' = 2 / pi asin(c): its slope at 1 is infinite, though autograd's phi' is 0."""
    net = MeanField(torch.sign, 1.0)
    assert net.c_map(0.3) == close(2 / math.pi * math.asin(0.3))
    assert (net.phase, net.chi()) == ("chaotic", 0.0)
    assert net.c_star == close(0.0, 1e-12)


@pytest.mark.parametrize("activation", ["gelu", "hardswish", "softsign", "hardshrink", "mish"])
def test_one_variance_gives_the_moments_of_the_gains(activation):
    """Two quadratures, one that closes in on kinks by q and one that cuts at them once."""
    for q in (0.01, 1.0, 7.0):
        found, net = moments(activation, variance=q), MeanField(activation, 1.0, q0=q)
        assert net.q_map(q) == close(found.second)
        assert net.chi(q) == close(found.derivative_second)


@pytest.mark.parametrize(
    ("activation", "weight"), [("tanh", 1.4), ("gelu", 3.0), ("hardswish", 4.0)]
)
def test_a_fixed_point_is_fixed_and_its_slope_is_that_of_the_map(activation, weight):
    """The definition, by differences."""
    net = MeanField(activation, weight)
    for point in net.q_fixed_points[1:]:
        step = 1e-4 * point.q
        slope = (net.q_map(point.q + step) - net.q_map(point.q - step)) / (2 * step)
        assert net.q_map(point.q) == close(point.q)
        assert slope == pytest.approx(point.slope, abs=1e-6)


def test_gradients_and_signals_of_glorots_net():
    """theory 2.6, computed there for five tanh layers of U(-1/sqrt(n), 1/sqrt(n)) and Xavier."""
    for weight, stds, gradients in (
        (1 / 3, (0.4603, 0.2495, 0.1412, 0.0810, 0.0467), (0.0830, 0.1760, 0.3240, 0.5723, 0.9978)),
        (1.0, (0.6279, 0.4863, 0.4082, 0.3576, 0.3216), (0.3708, 0.5442, 0.6821, 0.8001, 0.9049)),
    ):
        net = MeanField("tanh", weight, q0=weight)
        powers = [q / weight for q in net.forward(5)[1:]]
        top = net.chi(net.forward(4)[-1]) / weight
        assert [math.sqrt(one) for one in powers] == pytest.approx(stds, abs=6e-5)
        found = [math.sqrt(top * one) for one in net.backward(4)]
        assert found == pytest.approx(gradients, abs=6e-5)


@pytest.mark.parametrize(
    ("activation", "arguments"),
    [
        ("softplus", {"bias_variance": 0.1}),
        ("gelu", {"bias_variance": 0.0}),
        ("relu", {"bias_variance": 0.1}),
        ("tanh", {}),
        ("tanh", {"q": 1.0, "bias_variance": 0.1}),
        ("softplus", {"q": 1.0}),
        ("tanh", {"q": -1.0}),
    ],
)
def test_what_is_nowhere_critical_is_refused(activation, arguments):
    """theory 2.4: ReLU only without biases, GELU only with them, softplus never."""
    with pytest.raises(FaninError):
        edge_of_chaos(activation, **arguments)
