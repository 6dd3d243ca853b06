"""What each structured start is for, seen on the layer that it is made for."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

import fanin
from fanin.initializers import (
    ICNR,
    Chrono,
    DeltaOrthogonal,
    ForgetGate,
    Hadamard,
    Identity,
    LooksLinear,
    Orthogonal,
    PriorProbability,
    Sparse,
    Zeros,
    kaiming_normal,
)


def assert_singular_values(matrix, value):
    found = singular_values(matrix)
    torch.testing.assert_close(found, torch.full_like(found, value), atol=1e-4, rtol=0)


def singular_values(matrix):
    return torch.linalg.svdvals(matrix.detach().double().flatten(1))


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_each_gate_is_orthogonal_by_itself(cell):
    """torch.nn.init.orthogonal_ on the packed weight leaves gates with singular values near 0."""
    layer = cell(7, 12)
    fanin.fill(layer, weight_hh_initializer="orthogonal", seed=0)
    for gate in layer.weight_hh_l0.split(12):
        assert_singular_values(gate, 1)


def test_the_gates_differ_from_each_other():
    """One draw repeated would pass the test above."""
    layer = fanin.fill(nn.LSTM(7, 12), weight_hh_initializer="orthogonal", seed=0)
    first, *others = layer.weight_hh_l0.split(12)
    assert not any(torch.equal(first, other) for other in others)


def test_query_key_and_value_are_orthogonal_each():
    """The packed projection of attention holds three matrices."""
    layer = nn.MultiheadAttention(16, 4)
    fanin.fill(layer, in_proj_weight_initializer=Orthogonal(0.5), seed=0)
    for part in layer.in_proj_weight.split(16):
        assert_singular_values(part, 0.5)


def test_heads_are_orthogonal_each_where_blocks_say_so():
    """Heads of 8 rows over 64 inputs, as a user names them."""
    layer = nn.Linear(64, 32)
    heads = [fanin.Block(f"head {i}", 8) for i in range(4)]
    Orthogonal().fill_(layer.weight, layout=fanin.layout(layer, blocks=heads), seed=0)
    for head in layer.weight.split(8):
        torch.testing.assert_close(head @ head.T, torch.eye(8), atol=1e-5, rtol=0)
    assert (layer.weight[:8] @ layer.weight[8:16].T).abs().max() > 0.05


@pytest.mark.parametrize("axes", ["batch out in", "in out"])
def test_experts_and_turned_weights_are_orthogonal_along_their_own_axes(axes):
    """The layout, not the position of an axis, says what a matrix is."""
    shape = (3, 6, 10) if axes == "batch out in" else (10, 6)
    w = Orthogonal().fill_(torch.empty(shape), layout=fanin.Layout(shape, axes), seed=0)
    rows = w if axes == "batch out in" else w.T
    products = rows @ rows.mT
    torch.testing.assert_close(products, torch.eye(6).expand(products.shape), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", [nn.Conv1d(6, 6, 5, padding=2), nn.Conv3d(4, 8, 3, padding=1)])
def test_a_delta_orthogonal_convolution_keeps_every_norm(layer):
    """Xiao et al. 2018: exact, where a flattened orthogonal start is not."""
    x = torch.randn(2, layer.in_channels, *[5] * (layer.weight.dim() - 2))
    ratios = {}
    for name, value in {"delta": DeltaOrthogonal(), "flattened": Orthogonal()}.items():
        fanin.fill(layer, weight_initializer=value, bias_initializer=0, seed=0)
        ratios[name] = (layer(x).norm() / x.norm()).item()
    assert ratios["delta"] == pytest.approx(1, abs=1e-5)
    assert abs(ratios["flattened"] - 1) > 1e-2


def test_a_looks_linear_net_is_linear_at_the_start():
    """Balduzzi et al. 2017: twelve ReLU layers whose Jacobian has singular values 1."""
    starts = ["first", *["hidden"] * 10, "last"]
    widths = [16, *[32] * 11, 16]
    layers = []
    for number, position in enumerate(starts):
        layer = nn.Linear(widths[number], widths[number + 1])
        fanin.fill(
            layer,
            weight_initializer=LooksLinear(position=position),
            bias_initializer=Zeros,
            seed=number,
        )
        layers += [layer, nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    jacobian = torch.autograd.functional.jacobian(net, torch.randn(16))
    assert_singular_values(jacobian, 1)
    a, b = torch.randn(2, 16)
    torch.testing.assert_close(net(a + 2 * b), net(a) + 2 * net(b), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_identity_is_torchs_dirac_in_every_group(groups):
    """The same start under torch's name, where torch has it."""
    layer = nn.Conv2d(6, 12, 3, groups=groups)
    reference = nn.init.dirac_(torch.empty_like(layer.weight), groups)
    Identity().fill_(layer.weight, layout=fanin.layout(layer))
    assert torch.equal(layer.weight, reference)
    square = nn.Linear(5, 7)
    Identity().fill_(square.weight, layout=fanin.layout(square))
    assert torch.equal(square.weight, torch.eye(7, 5))


@pytest.mark.parametrize(
    ("outs", "ins", "low", "high"),
    [(8, 20, 1, 1), (64, 20, 1, 1), (100, 64, 1 / math.sqrt(2), 1), (96, 64, 1 / math.sqrt(2), 1)],
)
def test_hadamard_has_the_singular_values_of_the_paper(outs, ins, low, high):
    """1, and down to 0.7 where out is not a power of two, as the docstring says."""
    values = singular_values(Hadamard().fill_(torch.empty(outs, ins)))
    assert values.min().item() == pytest.approx(low, abs=1e-5)
    assert values.max().item() == pytest.approx(high, abs=1e-5)


def test_icnr_upsamples_like_nearest_neighbour():
    """Aitken et al. 2017: no checkerboard at the start."""
    layer = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    fanin.fill(layer, weight_initializer=ICNR(kaiming_normal(), 2), seed=0)
    image = torch.randn(1, 3, 6, 6)
    upsampled = nn.functional.pixel_shuffle(layer(image), 2)
    nearest = upsampled[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.equal(upsampled, nearest)


def test_sparse_gives_every_output_its_connections_evenly_over_the_inputs():
    """torch's sparse_ leaves some outputs without any; a biased choice would starve some inputs."""
    w = Sparse(15).fill_(torch.empty(4000, 100), seed=0)
    used = w != 0
    assert used.sum(1).eq(15).all()
    counts = used.sum(0).double()
    # Each input is chosen by Binomial(4000, 0.15), with variance 510, less its share of the total.
    chi_square = ((counts - 600) ** 2 / (4000 * 0.15 * 0.85)).sum().item() * 100 / 99
    assert stats.chi2(99).sf(chi_square) > 1e-6


def test_a_prior_makes_the_first_loss_the_entropy_of_the_classes():
    """With zero weights; ln C is what a net without it starts from."""
    prior = torch.tensor([0.7, 0.2, 0.1])
    head = nn.Linear(5, 3)
    fanin.fill(
        head, weight_initializer=0, bias_initializer=PriorProbability((0.7, 0.2, 0.1)), seed=0
    )
    labels = torch.arange(3).repeat_interleave(torch.tensor([70, 20, 10]))
    loss = nn.functional.cross_entropy(head(torch.randn(100, 5)), labels).item()
    assert loss == pytest.approx(-(prior * prior.log()).sum().item(), rel=1e-5)
    assert loss < 0.8 * math.log(3)


@pytest.mark.parametrize(("cell", "gate"), [(nn.LSTM, 1), (nn.GRU, 1)])
def test_the_forget_bias_keeps_the_state(cell, gate):
    """With a large value at the keeping gate, and zero weights, the state does not decay."""
    layer = cell(2, 3)
    biases = {"bias_ih_initializer": ForgetGate(20.0), "bias_hh_initializer": Zeros}
    fanin.fill(layer, weight_ih_initializer=0, weight_hh_initializer=0, seed=0, **biases)
    assert layer.bias_ih_l0.view(-1, 3)[gate].eq(20).all()
    start = torch.rand(1, 1, 3)
    steps = torch.zeros(50, 1, 2)
    state = (torch.zeros(1, 1, 3), start) if cell is nn.LSTM else start
    _, after = layer(steps, state)
    kept = after[1] if cell is nn.LSTM else after
    torch.testing.assert_close(kept, start, atol=1e-5, rtol=1e-5)


def test_chrono_spreads_the_memories_uniformly():
    """1 + exp(b) is uniform on [2, T], by Kolmogorov-Smirnov at a false alarm of 1e-6."""
    gates = [fanin.Block(name, 20_000) for name in ("input", "forget", "cell", "output")]
    where = fanin.Layout((80_000,), "out", role="bias", blocks=tuple(gates))
    b = Chrono(100).fill_(torch.empty(80_000), layout=where, seed=0)
    put, forget, cell, out = b.double().split(20_000)
    assert torch.equal(put, -forget)
    assert not cell.any()
    assert not out.any()
    steps = 1 + forget.exp()
    assert stats.kstest(steps.numpy(), stats.uniform(2, 98).cdf).pvalue > 1e-6
