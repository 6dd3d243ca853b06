"""Widths, Jacobians, residual streams and losses: against tables, closed forms and random nets."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from tests.thresholds import distribution_threshold, normal_threshold

from fanin import FaninError, gain
from fanin.theory import (
    MeanField,
    batch_norm_gradient_growth,
    edge_of_chaos,
    initial_cross_entropy,
    jacobian_spectrum,
    log_growth,
    phase_diagram,
    residual_variance,
)

ORACLE = json.loads(Path(__file__).with_name("theory_mean_field.json").read_text())

LINEAR = {
    8: (-0.13017669, 0.28382296),
    64: (-0.01570637, 0.03174337),
    512: (-0.0019544, 0.00391389),
}


def simulated(activation, weight, bias, depth, width, nets):
    """ln(q after depth layers / q0 = 1), exactly: given a layer the next is normal."""
    generator = torch.Generator().manual_seed(depth * width)
    q = torch.ones(nets, 1)
    for _ in range(depth):
        z = q.sqrt() * torch.randn(nets, width, generator=generator)
        q = weight * activation(z).square().mean(1, keepdim=True) + bias
    return q.log().squeeze(1).double()


def by_matrices(activation, weight, depth, width, nets):
    """ln of both growths of the gradient and of the pre-activations, of nets of real matrices."""
    generator = torch.Generator().manual_seed(width)
    h, layers, signals = torch.ones(nets, width, 1) / math.sqrt(weight), [], []
    for _ in range(depth + 1):
        w = torch.randn(nets, width, width, generator=generator) * math.sqrt(weight / width)
        z = (w @ h).requires_grad_()
        layers.append(w)
        signals.append(z.detach())
        h = activation(z).detach()
    top = torch.randn(nets, width, 1, generator=generator)
    gradient = top
    for w, z in zip(layers[:0:-1], signals[-2::-1], strict=True):
        leaf = z.clone().requires_grad_()
        activation(leaf).sum().backward()
        gradient = leaf.grad * (w.mT @ gradient)
    power = lambda x: x.square().mean((1, 2)).double()
    return (power(gradient) / power(top)).log(), (power(signals[-1]) / power(signals[0])).log()


@pytest.mark.parametrize("width", [int(width) for width in ORACLE["relu_log_norm_per_layer"]])
def test_the_law_of_a_relu_layer_has_the_tables_mean_and_variance(width):
    """theory 2.5, printed to eight digits."""
    mean, variance = ORACLE["relu_log_norm_per_layer"][str(width)]
    law = log_growth(MeanField("relu", 2.0), depth=3, width=width)
    assert law.mean / 3 == pytest.approx(mean, abs=6e-9)
    assert law.variance / 3 == pytest.approx(variance, abs=6e-9)
    assert law.holds == "exactly"


@pytest.mark.parametrize("width", LINEAR)
def test_the_law_of_a_linear_layer_has_the_tables_mean_and_variance(width):
    """theory 2.5: chi^2 of width degrees of freedom."""
    law = log_growth(MeanField("identity", 1.0), depth=1, width=width)
    assert (law.mean, law.variance) == pytest.approx(LINEAR[width], abs=6e-9)
    for level in (0.5, 0.99, 0.999999):
        low, high = law.interval(level)
        exact = np.log(stats.chi2(width).interval(level)) - math.log(width)
        assert (low, high) == pytest.approx(tuple(exact), abs=1e-4 * math.sqrt(law.variance))


@pytest.mark.parametrize(("width", "depth"), [(4, 3), (16, 10), (100, 30)])
def test_random_relu_nets_follow_the_law_at_every_quantile(width, depth):
    """A false alarm in a million, by Dvoretzky, Kiefer, Wolfowitz; nets that died are left out."""
    law = log_growth(MeanField("relu", 2.0), depth=depth, width=width)
    found = simulated(torch.relu, 2.0, 0.0, depth, width, nets=5_000)
    found = found[found.isfinite()].sort().values
    share = np.array([law.probability(one) for one in found.tolist()])
    rank = np.arange(1, len(found) + 1) / len(found)
    assert np.abs(share - rank).max() < distribution_threshold(len(found)) + 1 / len(found)


def test_widths_that_differ_are_counted_each():
    """A narrow layer makes most of the noise."""
    law = log_growth(MeanField("relu", 2.0), depth=3, width=(8, 512, 8))
    wide, narrow = (
        log_growth(MeanField("relu", 2.0), depth=1, width=width).variance for width in (512, 8)
    )
    assert law.variance == pytest.approx(2 * narrow + wide)


def test_a_leaky_relu_has_its_exact_mean_and_variance():
    """From the Laplace transform; the variance's false alarms by its own kurtosis."""
    law = log_growth(MeanField("leaky_relu(0.2)", 2 / 1.04), depth=4, width=10)
    leaky = torch.nn.LeakyReLU(0.2)
    found = simulated(leaky, 2 / 1.04, 0.0, depth=4, width=10, nets=100_000)
    z = normal_threshold(comparisons=2)
    assert law.holds == "in mean and variance"
    assert abs(found.mean() - law.mean) < z * math.sqrt(law.variance / len(found))
    off = (found - found.mean()).square()
    assert abs(off.mean() - law.variance) < z * off.std() / math.sqrt(len(found))


@pytest.mark.parametrize(("a", "exact"), [(1.0, True), (1e-9, False)])
def test_the_laplace_transform_gives_the_moments_of_the_closed_laws(a, exact):
    """abs is chi^2, and a slope of almost 0 is ReLU's, but for nets that nothing passes."""
    name = "abs" if exact else f"leaky_relu({a})"
    law = log_growth(MeanField(name, 1.0 if exact else 2.0), depth=1, width=60)
    other = MeanField("identity", 1.0) if exact else MeanField("relu", 2.0)
    closed = log_growth(other, depth=1, width=60)
    assert (law.mean, law.variance) == pytest.approx((closed.mean, closed.variance), rel=1e-9)


@pytest.mark.parametrize(
    ("activation", "function", "weight", "bias"),
    [
        ("tanh", torch.tanh, gain("tanh") ** 2, 0.0),
        ("tanh", torch.tanh, 1.5, 0.05),
        ("elu", torch.nn.functional.elu, gain("elu") ** 2, 0.0),
    ],
)
def test_other_activations_have_this_variance_to_first_order(activation, function, weight, bias):
    """Width 500: the second order, some hundredths, is left to the threshold's margin.

    The variance of 8,000 nearly normal numbers is 1.6 % off; a false alarm in a million is 8 %.
    Without the slopes of later layers, or with kappa of the wrong variance, it is 30 % off.
    """
    law = log_growth(MeanField(activation, weight, bias), depth=5, width=500)
    found = simulated(function, weight, bias, 5, 500, nets=8_000)
    error = normal_threshold() * math.sqrt(2 / len(found))
    assert float(found.var()) / law.variance == pytest.approx(1, abs=error + 10 / 500)


@pytest.mark.parametrize(
    ("activation", "depth", "variance"),
    [
        ("tanh", 5, 0.0062),
        ("tanh", 10, 0.0062),
        ("selu", 5, 0.0277),
        ("selu", 10, 0.0301),
        ("gelu", 5, 0.447),
        ("gelu", 10, 2.16),
    ],
)
def test_the_first_order_is_that_of_the_table(activation, depth, variance):
    """theory 2.5: (kappa / n) (1 - s^2L) / (1 - s^2) at n = 128."""
    law = log_growth(MeanField(activation, gain(activation) ** 2), depth=depth, width=128)
    digits = len(f"{variance}".split(".")[1])
    assert law.variance == pytest.approx(variance, abs=0.51 * 10.0**-digits)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "function", "weight"),
    [("relu", torch.relu, 2.0), ("tanh", torch.tanh, gain("tanh") ** 2)],
)
def test_gradients_and_pre_activations_of_real_matrices_have_this_variance(
    activation, function, weight
):
    """1,500 nets of width 128: 3.7 % standard error, and a second order of some hundredths.

    tanh's gradients would be 18 % off if chi did not move with q.
    """
    net = MeanField(activation, weight)
    gradients, signals = by_matrices(function, weight, depth=6, width=128, nets=1500)
    allowed = normal_threshold(1e-3, comparisons=2) * math.sqrt(2 / 1500) + 5 / 128
    for of, found in (("gradients", gradients), ("pre-activations", signals)):
        law = log_growth(net, depth=6, width=128, of=of)
        assert float(found.var()) / law.variance == pytest.approx(1, abs=allowed)


def test_half_the_relu_nets_lose_signal_though_the_mean_keeps_it():
    """Hanin and Nica: about -5 L / (2 n), and E of the growth is 1."""
    law = log_growth(MeanField("relu", 2.0), depth=50, width=100)
    points = np.linspace(0.0005, 0.9995, 1000)
    mean = np.mean([math.exp(law.quantile(one)) for one in points])
    assert law.median == pytest.approx(-5 * 50 / 200, rel=0.05)
    assert mean == pytest.approx(1.0, abs=0.05)


# Jacobians

POWERS = {
    ("identity", "gaussian"): lambda n: (n, (n + 1) ** (n + 1) / n**n),
    ("identity", "orthogonal"): lambda n: (0, 1.0),
    ("relu", "orthogonal"): lambda n: (n, n**n / (n - 1) ** (n - 1) if n > 1 else 2.0),
    ("relu", "gaussian"): lambda n: (2 * n, relu_gaussian_edge(n)),
}


def relu_gaussian_edge(depth):
    m = (-(depth - 1) + math.sqrt((depth - 1) ** 2 + 2 * depth)) / (2 * depth)
    return (1 + m) / m * ((m + 0.5) / 0.5) ** depth


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 10, 20])
@pytest.mark.parametrize(("activation", "weights"), POWERS)
def test_the_spectra_of_linear_and_relu_nets(activation, weights, depth):
    """theory 3.1."""
    net = MeanField(activation, 1.0 if activation == "identity" else 2.0)
    found = jacobian_spectrum(net, depth, weights=weights)
    variance, largest = POWERS[activation, weights](depth)
    assert found.mean == pytest.approx(1)
    assert found.variance == pytest.approx(variance, abs=1e-12)
    assert found.largest == pytest.approx(largest)


@pytest.mark.parametrize("row", ORACLE["tanh_critical"], ids=lambda row: f"{row['sb2']}")
def test_critical_orthogonal_tanh_is_no_isometry(row):
    """theory 2.2, last column, and one more for Gaussian weights."""
    net = edge_of_chaos("tanh", bias_variance=row["sb2"])
    spread = row["jj_orth_per_layer"]
    orthogonal = jacobian_spectrum(net, 20, weights="orthogonal")
    assert orthogonal.variance == pytest.approx(20 * spread, rel=1e-8)
    assert jacobian_spectrum(net, 20).variance == pytest.approx(20 * (spread + 1), rel=1e-8)
    assert orthogonal.largest is None


def test_off_the_line_the_mean_square_grows_by_chi():
    """E s^2 = chi^L, exactly at any width for ReLU; 400 nets, a false alarm in a million."""
    depth, width, nets = 3, 24, 400
    net = MeanField("relu", 2.4)
    generator = torch.Generator().manual_seed(1)
    h, jacobian = torch.ones(nets, width, 1), torch.eye(width).repeat(nets, 1, 1)
    for _ in range(depth):
        w = torch.randn(nets, width, width, generator=generator) * math.sqrt(2.4 / width)
        z = w @ h
        h, jacobian = z.relu(), (z > 0) * (w @ jacobian)
    found = jacobian.square().sum((1, 2)) / width
    error = normal_threshold() * found.std() / math.sqrt(nets)
    assert abs(found.mean() - jacobian_spectrum(net, depth).mean) < error


def test_a_jacobian_too_large_to_write_is_infinite():
    """No overflow error, and no warning."""
    assert jacobian_spectrum(MeanField("relu", 4.0), 5000).mean == math.inf


# Residual streams, norms, losses


def test_residual_streams_grow_as_they_are_known_to():
    """theory 2.1: doubling, (1 + 1/L)^L, and one more in each normalized block."""
    he = MeanField("relu", 2.0)
    assert residual_variance(he, 20)[-1] == pytest.approx(2.0**20)
    for depth in (10, 100, 400):
        scaled = residual_variance(he, depth, branch_scale=depth**-0.5)[-1]
        assert scaled == pytest.approx((1 + 1 / depth) ** depth)
    assert residual_variance(he, 50, normalized=True)[-1] == pytest.approx(51.0)


@pytest.mark.parametrize(
    ("activation", "growth"),
    [("relu", math.pi / (math.pi - 1)), ("identity", 1.0), ("tanh", 1.1778072323)],
)
def test_gradients_explode_through_batch_norm_and_relu(activation, growth):
    """theory 2.7: E phi'^2 / Var phi."""
    assert batch_norm_gradient_growth(activation) == pytest.approx(growth, rel=1e-9)


@pytest.mark.parametrize("activation", ["swiglu", lambda x: 0 * x + 1])
def test_batch_norm_says_nothing_of_products_and_constants(activation):
    """A number would be wrong, or infinite."""
    with pytest.raises(FaninError):
        batch_norm_gradient_growth(activation)


@pytest.mark.parametrize("classes", [2, 10, 50_257])
def test_small_logits_add_half_their_variance_to_the_loss(classes):
    """theory 5.14: ln C + s^2 / 2 (1 - 1 / C), of which the next term is of the order s^4."""
    for std in (1e-3, 0.02):
        expected = math.log(classes) + std**2 / 2 * (1 - 1 / classes)
        assert initial_cross_entropy(classes, std) == pytest.approx(expected, abs=std**4 + 1e-10)


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0, 10.0])
def test_the_loss_of_random_logits_is_predicted(std):
    """A million samples; a false alarm in a million."""
    generator = torch.Generator().manual_seed(5)
    logits = std * torch.randn(100_000, 10, generator=generator, dtype=torch.float64)
    loss = logits.logsumexp(1)
    error = normal_threshold() * loss.std() / math.sqrt(len(loss))
    assert abs(loss.mean() - initial_cross_entropy(10, std)) < error


@pytest.mark.parametrize(("classes", "std"), [(1, 1.0), (10.0, 1.0), (10, -1.0), (10, 1e9)])
def test_a_loss_of_nothing_is_refused(classes, std):
    """Not a warning and not a nan."""
    with pytest.raises(FaninError):
        initial_cross_entropy(classes, std)


# The diagram


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "cos"])
def test_each_point_of_a_diagram_is_its_mean_field(activation):
    """One table of moments serves all; cos falls, so that its q jumps to and fro."""
    weights, biases = [0.5, 1.7, 2.0, 3.1], [0.0, 0.02, 0.3]
    diagram = phase_diagram(activation, weights, biases)
    for row, bias in enumerate(biases):
        for column, weight in enumerate(weights):
            net = MeanField(activation, weight, bias)
            found = [grid[row][column] for grid in (diagram.q_star, diagram.chi)]
            assert found == pytest.approx([net.q_star, net.chi()], rel=1e-9, abs=1e-12)
            scale = diagram.depth_scale_c[row][column]
            assert scale == pytest.approx(net.depth_scale_c, rel=1e-7, nan_ok=True)


def test_the_critical_line_has_chi_one_and_says_where_q_is_unstable():
    """GELU's is, up to q = 3.56."""
    diagram = phase_diagram("gelu", [1.0, 2.0], [0.1, 0.2])
    for line in (diagram.critical_line, diagram.unstable_line):
        weight, bias = line[len(line) // 3]
        net = edge_of_chaos("gelu", bias_variance=bias)
        assert net.weight_variance == pytest.approx(weight, rel=1e-9)
        assert (net.q_slope <= 1) is (line is diagram.critical_line)


def test_a_diagram_is_drawn_with_its_line_and_the_users_points():
    """On the user's axes, or on its own."""
    diagram = phase_diagram("tanh", [0.5, 1.0, 2.0], [0.0, 0.1, 0.3])
    figure = diagram.plot(points={"torch": (0.5, 0.1)})
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts if text.get_text() == "torch"]
    assert "critical" in [text.get_text() for text in axes.get_legend().get_texts()]
    assert diagram.plot(axes) is figure


@pytest.mark.parametrize("weights", [[], [1.0, 1.0], [0.0, 1.0], [2.0, 1.0]])
def test_a_diagram_needs_increasing_variances(weights):
    """Each a variance."""
    with pytest.raises(FaninError):
        phase_diagram("tanh", weights, [0.0])
