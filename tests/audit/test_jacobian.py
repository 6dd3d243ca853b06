"""The Jacobian's singular values against matrices that are known, and those of torch's own."""

import random
from itertools import pairwise
from math import sqrt

import pytest
import torch
from tests.thresholds import normal_threshold
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from fanin._audit._ends import hidden_ends
from fanin._audit._jacobian import spectrum_of
from fanin._audit._lanczos import Operator, extremes, mean_square
from fanin._audit._records import Spectrum
from fanin._observe import observing
from fanin._trace._flow import Flow
from fanin._trace._graph import Graph
from fanin._trace._names import tensors_of
from fanin._trace._record import Recorder, recording, results_in
from fanin._trace._run import name_sources, own_batch, run_recorded

ROUNDING = 2e-5
"""Relative to the largest value: float32 through a few layers of 64."""


def graph_of(net: nn.Module, batch: object, *, training: bool = False) -> Graph:
    recorder = Recorder()
    with observing(net, training=training):
        name_sources(recorder, tensors_of(net))
        given = own_batch(batch)
        for tensor in results_in(given):
            recorder.source(tensor, "input", "input")
        with recording(recorder, net, gradients=True):
            result = run_recorded(net, given, recorder)
        recorder.graph.results = [recorder.tensors.value_of(one) for one in results_in(result)]
    return recorder.graph


def measured(
    net: nn.Module, batch: object, *, training: bool = False, **options: int
) -> tuple[Spectrum | None, str]:
    graph = graph_of(net, batch, training=training)
    ends, why = hidden_ends(Flow(graph))
    assert ends is not None, why
    return spectrum_of(net, batch, graph, *ends, training=training, **options)


def spectrum(net: nn.Module, batch: object, **options: int) -> Spectrum:
    found, why = measured(net, batch, **options)
    assert found is not None, why
    return found


class Around(nn.Module):
    """A body between a first layer and a readout: its Jacobian is what is to be found."""

    def __init__(self, stem: nn.Module, body: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        self.stem, self.body, self.readout = stem, body, readout

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.body(self.stem(x)))


class Residual(nn.Module):
    def __init__(self, branch: nn.Module, share: float = 1.0) -> None:
        super().__init__()
        self.branch, self.share = branch, share

    def forward(self, x: Tensor) -> Tensor:
        return x + self.share * self.branch(x)


class Checkpointed(nn.Module):
    def __init__(self, inner: nn.Module, *, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


class WithoutGradient(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach() * 2


def linear(*sizes: int, bias: bool = False) -> nn.Sequential:
    return nn.Sequential(*[nn.Linear(a, b, bias=bias) for a, b in pairwise(sizes)])


def mlp(width: int, hidden: int, activation: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(hidden):
        layers += [nn.Linear(width, width, bias=False), activation()]
    return nn.Sequential(*layers, nn.Linear(width, width, bias=False))


def by_torch(net: Around, batch: Tensor, inputs: int) -> Tensor:
    """All singular values of the first inputs' Jacobians, from torch's own, input by input."""
    values = []
    for one in batch[:inputs]:
        start = net.stem(one[None]).detach()
        # A copy: some bodies write into what they are given.
        jacobian = torch.autograd.functional.jacobian(lambda x: net.body(x.clone()), start)
        values.append(torch.linalg.svdvals(jacobian.reshape(-1, start.numel()).double()))
    return torch.cat(values).sort(descending=True).values


def assert_same_values(found: tuple[float, ...], expected: Tensor) -> None:
    assert len(found) == len(expected)
    apart = (torch.tensor(found, dtype=torch.float64) - expected).abs().max()
    assert float(apart) <= ROUNDING * float(expected.max())


BODIES = {
    "residual": lambda: Residual(mlp(24, 2, nn.Tanh), 0.3),
    "in place": lambda: nn.Sequential(
        nn.ReLU(inplace=True), nn.Linear(24, 24), nn.ReLU(inplace=True)
    ),
    "norm": lambda: nn.Sequential(nn.LayerNorm(24), nn.GELU(), nn.Linear(24, 24)),
    "wide": lambda: nn.Sequential(nn.SiLU(), nn.Linear(24, 40), nn.SiLU()),
    "narrow": lambda: nn.Sequential(nn.SiLU(), nn.Linear(24, 9), nn.SiLU()),
    "batch norm": lambda: nn.Sequential(nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 24)),
    "checkpointed": lambda: Checkpointed(mlp(24, 2, nn.Tanh), reentrant=False),
}


@pytest.mark.parametrize("body", BODIES)
def test_a_small_spectrum_is_that_of_the_jacobian_that_torch_computes(body: str) -> None:
    """An independent path to the same matrices; each must hold for every input apart."""
    torch.manual_seed(0)
    inner = BODIES[body]()
    out = {"wide": 40, "narrow": 9}.get(body, 24)
    net = Around(nn.Linear(10, 24), inner, nn.Linear(out, 3)).eval()
    batch = torch.randn(6, 10)
    found = spectrum(net, batch, inputs=3)
    assert found.exact
    assert found.inputs == 3
    expected = by_torch(net, batch, 3)
    assert_same_values(found.values, expected)
    assert found.mean_square == pytest.approx(float(expected.square().mean()), rel=1e-4)


def test_a_conv_net_has_the_spectrum_that_torch_computes() -> None:
    """Channels and positions are both entries; padding and stride are in the matrix."""
    torch.manual_seed(1)
    body = nn.Sequential(
        nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten()
    )
    net = Around(nn.Conv2d(2, 6, 3, padding=1), body, nn.Linear(8 * 9, 5)).eval()
    batch = torch.randn(5, 2, 6, 6)
    assert_same_values(spectrum(net, batch, inputs=2).values, by_torch(net, batch, 2))


def test_a_transformer_block_has_the_spectrum_that_torch_computes() -> None:
    """Positions of one input act on each other, and inputs do not: one matrix for each input."""
    torch.manual_seed(2)
    block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
    net = Around(nn.Linear(4, 16), block, nn.Linear(16, 3)).eval()
    batch = torch.randn(3, 7, 4)
    found = spectrum(net, batch, inputs=2)
    assert found.inputs == 2
    assert_same_values(found.values, by_torch(net, batch, 2))


def test_positions_before_inputs_are_told_from_inputs() -> None:
    """[positions, inputs, features] is how torch's recurrent and attention layers want it."""
    torch.manual_seed(3)
    block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0)
    net = Around(nn.Linear(4, 16), block, nn.Linear(16, 3)).eval()
    batch = torch.randn(7, 3, 4)
    found, said = measured(net, batch, inputs=2)
    assert found is not None
    assert (found.inputs, said) == (2, "")
    first = Around(net.stem, block, net.readout)
    values = []
    for one in range(2):
        start = first.stem(batch[:, one : one + 1]).detach()
        jacobian = torch.autograd.functional.jacobian(block, start)
        values.append(torch.linalg.svdvals(jacobian.reshape(112, 112).double()))
    assert_same_values(found.values, torch.cat(values).sort(descending=True).values)


def test_where_inputs_act_on_each_other_it_is_the_spectrum_of_the_whole_batch() -> None:
    """Batch norm in training mode has no Jacobian of one input; saying so is part of the result."""
    torch.manual_seed(4)
    body = nn.Sequential(nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 12))
    net = Around(nn.Linear(5, 12), body, nn.Linear(12, 2))
    batch = torch.randn(8, 5)
    found, said = measured(net, batch, training=True)
    assert found is not None
    assert said == "of the whole batch, whose inputs act on each other"
    assert found.inputs == 8
    start = net.stem(batch).detach()
    jacobian = torch.autograd.functional.jacobian(body.train(), start).reshape(96, 96)
    assert_same_values(found.values, torch.linalg.svdvals(jacobian.double()))


def test_a_linear_net_has_the_singular_values_of_the_product() -> None:
    """The one case in which the matrix is on paper."""
    torch.manual_seed(5)
    net = linear(10, 48, 48, 48, 48, 4, bias=True)
    product = (net[3].weight @ net[2].weight @ net[1].weight).detach().double()
    found = spectrum(net, torch.randn(4, 10), inputs=1)
    assert (found.first, found.last) == ("0", "3")
    assert_same_values(found.values, torch.linalg.svdvals(product))


def test_an_orthogonal_linear_net_is_isometric_however_it_is_measured() -> None:
    """All singular values are 1 (theory 3.1, first row); estimates have nothing to be wrong by."""
    torch.manual_seed(6)
    net = linear(10, *[64] * 11, 4)
    for layer in net:
        nn.init.orthogonal_(layer.weight)
    for limit in (256, 1):
        found = spectrum(net, torch.randn(4, 10), exact_up_to=limit)
        assert found.exact == (limit == 256)
        assert max(found.values) == pytest.approx(1, abs=ROUNDING)
        assert min(found.values) == pytest.approx(1, abs=ROUNDING)
        assert found.mean_square == pytest.approx(1, abs=ROUNDING)


def test_the_mean_square_of_a_he_net_is_half_on_average() -> None:
    """E|J|²/n: each weight gives 2, each of the masks around them 1/2, and there is one more mask.

    Exact at any width (theory 2.5); the standard error is of the draws themselves.
    """
    squares = []
    for seed in range(150):
        torch.manual_seed(seed)
        net = mlp(32, 4, nn.ReLU)
        for layer in net[::2]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        squares.append(spectrum(net, torch.randn(1, 32)).mean_square)
    found = torch.tensor(squares)
    error = float(found.std()) / sqrt(len(found))
    assert abs(float(found.mean()) - 0.5) <= normal_threshold() * error


def test_critical_tanh_has_the_variance_of_the_mean_field_spectrum() -> None:
    """Var[s²] / E[s²]² = L (μ₂/μ₁² - 1) of orthogonal critical nets (Pennington et al. 2017).

    σ_b² = 0.05: 0.34225608 a layer (theory 2.2). Corrections of finite width are of relative order
    L / n (Hanin & Nica 2020); the rest is the standard error over nets.
    """
    width, depth, found = 128, 8, []
    for seed in range(24):
        torch.manual_seed(seed)
        net = mlp(width, depth, nn.Tanh)
        for layer in net[::2]:
            nn.init.orthogonal_(layer.weight, 1.7609546396**0.5)
        biased = [nn.Linear(width, width) for _ in range(depth)]
        for place, layer in enumerate(biased):
            layer.weight = net[2 * place].weight
            nn.init.normal_(layer.bias, 0, 0.05**0.5)
            net[2 * place] = layer
        # E z² = q* from the first layer on: σ_w² E x² + σ_b² with E x² = E tanh².
        power = (0.57004788164076 - 0.05) / 1.7609546396
        batch = nn.functional.normalize(torch.randn(2, width)) * sqrt(power * width)
        squares = torch.tensor(spectrum(net, batch, inputs=2).values).square()
        found.append(float(squares.var() / squares.mean() ** 2))
    values, expected = torch.tensor(found), depth * 0.34225608
    error = float(values.std()) / sqrt(len(values))
    assert abs(float(values.mean()) - expected) <= (
        normal_threshold() * error + expected * depth / width
    )


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_estimates_agree_with_the_exact_spectrum(activation: type[nn.Module]) -> None:
    """The same matrices, once whole and once through products with random vectors."""
    torch.manual_seed(7)
    net, batch = mlp(64, 5, activation), torch.randn(6, 64)
    exact, estimated = spectrum(net, batch), spectrum(net, batch, exact_up_to=1)
    assert not estimated.exact
    apart = abs(estimated.mean_square - exact.mean_square)
    # 16 probes of 4 inputs: the error itself is known to a seventh of it.
    assert apart <= 1.5 * normal_threshold() * estimated.error
    assert estimated.values[0] == pytest.approx(exact.values[0], rel=0.01)
    known = torch.tensor(exact.values, dtype=torch.float64)
    for value in estimated.values:
        assert float((known - value).abs().min()) <= 0.01 * value


@pytest.mark.parametrize(("rows", "outputs", "inputs"), [(1, 30, 30), (3, 50, 20), (2, 20, 50)])
def test_lanczos_finds_singular_values_and_no_others(rows: int, outputs: int, inputs: int) -> None:
    """Each value is within 1 % of a true one, the largest is there, the null space is not."""
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(rows, outputs, inputs, generator=generator, dtype=torch.float64)
    matrices[:, :, 0] *= 4
    operator = operator_of(matrices)
    found = extremes(operator, generator, steps=14)
    true = torch.linalg.svdvals(matrices)
    assert float(found[0]) == pytest.approx(float(true.max()), rel=0.01)
    for value in found:
        assert float((true - value).abs().min()) <= 0.01 * float(value)
    complete = extremes(operator, generator, steps=1000)
    expected = true.flatten().sort(descending=True).values
    assert len(complete) == len(expected)
    assert float((complete - expected).abs().max()) <= 1e-6


def test_lanczos_goes_on_where_a_matrix_has_few_different_singular_values() -> None:
    """A projection ends the recursion after two steps, with directions left to look in."""
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64)).Q
    matrix = 3 * basis[:, :5] @ basis[:, :5].T
    found = extremes(operator_of(matrix[None]), generator, steps=12)
    assert torch.allclose(found, torch.full((5,), 3.0, dtype=torch.float64))


def test_the_standard_error_of_the_mean_square_is_its_standard_error() -> None:
    """z-scores over 400 repetitions have the variance of a Student t with rows (probes - 1) degrees
    of freedom, up to unequal rows, which can only make it larger; none lies beyond its tail."""
    generator = torch.Generator().manual_seed(2)
    matrices = torch.randn(4, 20, 20, generator=generator, dtype=torch.float64)
    operator, true = operator_of(matrices), float(matrices.square().sum()) / 80
    scores = []
    for _ in range(400):
        found, error = mean_square(operator, generator, probes=16)
        scores.append((found - true) / error)
    # Var t = 60/58, and the relative standard error of a variance of 400 is about sqrt(2/400).
    spread = float(torch.tensor(scores).square().mean()) / (60 / 58)
    assert abs(spread - 1) <= normal_threshold() * sqrt(2.2 / 400)


def operator_of(matrices: Tensor) -> Operator:
    rows, outputs, inputs = matrices.shape
    return Operator(
        rows,
        inputs,
        outputs,
        lambda v: (matrices @ v.double()[:, :, None])[:, :, 0],
        lambda u: (u.double()[:, None, :] @ matrices)[:, 0],
        torch.finfo(torch.float64).eps,
    )


@pytest.mark.parametrize("limit", [256, 1])
def test_a_spectrum_leaves_no_trace(limit: int) -> None:
    """Gradients, what asks for them, statistics, modes, hooks and generators: bit for bit."""
    net = Around(
        parametrizations.weight_norm(nn.Linear(6, 8)),
        nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(inplace=True), nn.Linear(8, 8)),
        nn.Linear(8, 2),
    )
    net.body[3].weight.requires_grad_(False)
    net.readout.weight.grad = torch.ones(2, 8)
    batch = torch.randn(5, 6)
    torch.manual_seed(11)
    before = state_of(net, batch)
    measured(net, batch, training=True, exact_up_to=limit)
    after = state_of(net, batch)
    assert before == after


def state_of(net: nn.Module, batch: Tensor) -> list[object]:
    tensors = [*net.parameters(), *net.buffers(), batch, torch.get_rng_state()]
    modules = list(net.modules())
    return [
        [(tensor.tolist(), tensor.requires_grad) for tensor in tensors],
        [None if one.grad is None else one.grad.tolist() for one in net.parameters()],
        [(one.training, len(one._forward_hooks), len(one._forward_pre_hooks)) for one in modules],
        random.getstate(),
    ]


def test_frozen_layers_have_a_jacobian_too() -> None:
    """What is frozen passes signals on as before; fine-tuning starts so."""
    torch.manual_seed(8)
    net, batch = mlp(16, 3, nn.Tanh), torch.randn(4, 16)
    free = spectrum(net, batch)
    net.requires_grad_(False)
    assert spectrum(net, batch) == free


def test_the_numbers_of_an_estimate_depend_on_its_seed_alone() -> None:
    """Two audits of one start must agree, whatever was drawn in between."""
    torch.manual_seed(9)
    net, batch = mlp(32, 3, nn.Tanh), torch.randn(4, 32)
    first = spectrum(net, batch, exact_up_to=1)
    torch.manual_seed(10)
    assert spectrum(net, batch, exact_up_to=1) == first
    assert spectrum(net, batch, exact_up_to=1, seed=1) != first


def test_half_precision_gives_only_what_it_can_tell() -> None:
    """bfloat16 has three digits: a mean square, and no single value to 1 %."""
    torch.manual_seed(12)
    net, batch = mlp(64, 3, nn.Tanh), torch.randn(4, 64)
    full = spectrum(net, batch)
    found, said = measured(net.bfloat16(), batch.bfloat16(), exact_up_to=1)
    assert found is not None
    assert found.values == ()
    assert said == "no extreme value is known to 1 % in 20 steps"
    # Rounding of 2^-8 in each of eight operations, and the probes.
    slack = 8 * 2**-8 * full.mean_square + 1.5 * normal_threshold() * found.error
    assert abs(found.mean_square - full.mean_square) <= slack


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (WithoutGradient(), "autograd does not follow the run from its first layer to its last"),
        (Checkpointed(nn.Linear(8, 8), reentrant=True), "no derivative: When use_reentrant=True"),
    ],
)
def test_what_autograd_cannot_follow_has_no_spectrum_and_a_reason(
    body: nn.Module, why: str
) -> None:
    """A number that is not a Jacobian's is worse than none."""
    net = Around(nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8), body), nn.Linear(8, 2))
    found, said = measured(net, torch.randn(3, 4))
    assert found is None
    assert said.startswith(why)


@pytest.mark.parametrize("limit", [256, 1])
def test_a_jacobian_that_is_not_finite_is_said_to_be_so(limit: int) -> None:
    """NaN in one weight reaches every singular value."""
    net = mlp(16, 3, nn.Tanh)
    net[2].weight.data[0, 0] = float("nan")
    assert measured(net, torch.randn(3, 16), exact_up_to=limit) == (
        None,
        "the Jacobian is not finite",
    )


class WithPositions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.positions, self.table = nn.Embedding(3, 4), nn.Embedding(9, 4)
        self.hidden, self.readout = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        places = self.positions(torch.arange(tokens.shape[1]))
        return self.readout(torch.tanh(self.hidden(places + self.table(tokens))))


def test_a_table_of_positions_is_not_where_the_signal_starts() -> None:
    """It runs first, and no input is in it: the Jacobian by it would be of the whole batch."""
    found = spectrum(WithPositions(), torch.randint(9, (2, 3)))
    assert (found.first, found.last, found.inputs) == ("table", "tanh", 2)


@pytest.mark.parametrize(
    ("net", "ends"),
    [
        (linear(4, 3), ("input", "output")),
        (linear(4, 5, 3), ("input", "output")),
        (linear(4, 5, 5, 3), ("0", "1")),
        (nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3)), ("0", "output")),
        (nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 3)), ("0", "1")),
    ],
)
def test_the_ends_are_the_hidden_layers_and_of_a_short_net_all_of_it(
    net: nn.Sequential, ends: tuple[str, str]
) -> None:
    """Between the first weight and the last there must be a layer to speak of."""
    has_table = isinstance(net[0], nn.Embedding)
    batch = torch.randint(9, (3, 2)) if has_table else torch.randn(3, 4)
    found = spectrum(net, batch)
    assert (found.first, found.last) == ends
    weights = [layer.weight.detach() for layer in net if isinstance(layer, nn.Linear)]
    inner = weights if ends[1] == "output" else weights[not has_table : -1]
    matrix = torch.eye(inner[0].shape[1])
    for weight in inner:
        matrix = weight @ matrix
    values, positions = torch.linalg.svdvals(matrix), 2 if has_table else 1
    assert len(found.values) == 3 * positions * len(values)
    assert found.values[0] == pytest.approx(float(values[0]), rel=1e-5)
