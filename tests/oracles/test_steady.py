"""steady through real layers: what its page claims of signals and gradients, against its rivals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

import fanin
from fanin import recipes
from fanin.recipes import Choice, Recipe, steady

WIDTH = 64
SEEDS = range(2)
"""Orthogonal draws leave these ratios within a few percent over seeds; each bound is further from
the largest of forty seeds than six of their standard deviations (false alarms below 1e-6)."""


class Plain(nn.Module):
    """``layers`` weights of one width with an activation between them, and a readout."""

    def __init__(self, activation: Callable[[Tensor], Tensor], layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(layers))
        self.readout = nn.Linear(WIDTH, 10)
        self.activation = activation
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen = []
        for layer in self.layers:
            z = layer(x)
            self.seen.append(z)
            x = self.activation(z)
        return self.readout(x)


class Residual(nn.Module):
    """x <- x + second(relu(first(x))): no norm anywhere."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Linear(WIDTH, WIDTH)
        self.first = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(blocks))
        self.readout = nn.Linear(WIDTH, 10)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        self.seen = [x]
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(F.relu(first(x)))
            self.seen.append(x)
        return self.readout(x)


@dataclass(frozen=True)
class Passage:
    """Per layer, relative to where it starts: signal, its batch-centred part, gradient."""

    signal: list[float]
    centred: list[float]
    gradient: list[float]


def passage(model: Plain | Residual, recipe: Recipe, seed: int) -> Passage:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, WIDTH, generator=generator)
    fanin.initialize(model, x, recipe=recipe, seed=seed)
    y = model(x)
    for z in model.seen:
        z.retain_grad()
    y.backward(torch.randn(y.shape, generator=generator))
    signal = [z.detach().square().mean().item() for z in model.seen]
    centred = [z.detach().var(0).mean().item() for z in model.seen]
    gradient = [z.grad.square().mean().item() for z in model.seen if z.grad is not None]
    return Passage(
        [one / signal[0] for one in signal],
        [one / centred[0] for one in centred],
        [one / gradient[-1] for one in gradient],
    )


def within(values: Sequence[float], low: float, high: float) -> bool:
    return all(low <= value <= high for value in values)


EXACT = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "softplus": F.softplus,
}
STABLE = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": F.elu,
    "selu": F.selu,
    "mish": F.mish,
    "hardtanh": F.hardtanh,
    "erf": torch.erf,
}


@pytest.mark.parametrize("name", EXACT)
def test_fifty_layers_pass_on_everything_where_pairs_make_the_activation_linear(name):
    """To 15 % in signal and batch-centred signal, 25 % in the gradient, layer by layer.

    The rest is the biases of the first layer. The rival keeps the mean square on average over
    weights, and loses the differences between inputs, or either of both.
    """
    for seed in SEEDS:
        found = passage(Plain(EXACT[name], 50), steady, seed)
        assert within(found.signal, 0.85, 1.15)
        assert within(found.centred, 0.85, 1.15)
        assert within(found.gradient, 0.8, 1.25)
        rival = passage(Plain(EXACT[name], 50), recipes.kaiming, seed)
        assert not within(rival.signal, 0.85, 1.15) or not within(rival.centred, 0.85, 1.15)


@pytest.mark.parametrize("name", STABLE)
def test_fifty_layers_keep_signal_and_gradient_in_the_band_where_the_odd_part_saturates(name):
    """Signal within 1/6 and 1.4, gradient within 1/2 and 10: five times in the limit of width."""
    for seed in SEEDS:
        found = passage(Plain(STABLE[name], 50), steady, seed)
        assert within(found.signal, 1 / 6, 1.4)
        assert within(found.centred, 1 / 6, 1.4)
        assert within(found.gradient, 1 / 2, 10.0)


@pytest.mark.parametrize(
    ("name", "rival"),
    [
        ("tanh", recipes.kaiming),
        ("tanh", recipes.xavier),
        ("sigmoid", recipes.kaiming),
        ("mish", recipes.kaiming),
        ("hardtanh", recipes.kaiming),
        ("selu", recipes.torch_default),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_rivals_leave_the_band(name, rival):
    """So the bounds above say something."""
    found = passage(Plain(STABLE[name], 50), rival, 0)
    kept = within(found.signal, 1 / 6, 1.4) and within(found.centred, 1 / 6, 1.4)
    assert not (kept and within(found.gradient, 1 / 2, 10.0))


def test_thirty_two_residual_blocks_add_up_to_what_the_stream_had():
    """(1 + 1/32)^32 = 2.68 in the mean, forward and backward; kaiming doubles in each block."""
    for seed in SEEDS:
        found = passage(Residual(32), steady, seed)
        assert 1.5 < found.signal[-1] < 5
        assert 1.5 < found.gradient[0] < 5
        assert max(found.signal) < 5
    rival = passage(Residual(32), recipes.kaiming, 0)
    assert rival.signal[-1] > 1e6
    assert rival.gradient[0] > 1e6


def test_a_deep_run_is_a_linear_map_but_for_its_first_biases():
    """f(x) + f(y) = f(x + y) once they are zero; the textbook's start is far from it."""
    x, y = torch.randn(2, 32, WIDTH, generator=torch.Generator().manual_seed(0))
    for recipe, is_linear in ((steady, True), (recipes.orthogonal, False)):
        model = Plain(F.gelu, 12)
        fanin.initialize(model, x, recipe=recipe, seed=0)
        with torch.no_grad():
            model.layers[0].bias.zero_()
            error = (model(x) + model(y) - model(x + y)).norm() / model(x + y).norm()
        assert (error < 1e-5) == is_linear, error
        assert is_linear or error > 0.1


def test_plain_convolutions_keep_the_signal_of_every_image():
    """Twenty 3x3 layers at the centre tap; a random kernel loses what is at the border."""
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()]
    for _ in range(19):
        layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 64, 10))
    x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    fanin.initialize(model, x, seed=0)
    with torch.no_grad():
        early, late = model[:4](x), model[:40](x)
    norms = late.flatten(1).norm(dim=1) / early.flatten(1).norm(dim=1)
    assert within(norms.tolist(), 0.9, 1.1)
    # One pair of units for each pixel: of z and -z one passes, so a half is exactly zero.
    assert float((late == 0).float().mean()) == pytest.approx(0.5, abs=0.02)


MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "lstm": (lambda: nn.LSTM(6, 8, num_layers=2), torch.ones(3, 2, 6)),
    "gru": (lambda: nn.GRU(6, 8, bidirectional=True), torch.ones(3, 2, 6)),
    "transformer": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2),
        torch.ones(2, 5, 16),
    ),
    "depthwise": (
        lambda: nn.Sequential(
            nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 9, 1), nn.ReLU(),
            nn.ConvTranspose2d(9, 4, 4, stride=2), nn.ReLU(), nn.Conv2d(4, 6, 2, stride=2),
            nn.ReLU(), nn.Conv2d(6, 3, 1),
        ),
        torch.ones(2, 8, 9, 9),
    ),
    "prelu": (
        lambda: nn.Sequential(
            *(layer for _ in range(6) for layer in (nn.Linear(12, 12), nn.PReLU()))
        ),
        torch.ones(4, 12),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_every_weight_of_ordinary_models_is_drawn_finite_and_the_model_runs(name):
    """Whatever meets in one run: groups, strides, transposition, odd widths, slopes."""
    make, x = MODELS[name]
    model = make()
    fanin.initialize(model, x, seed=0)
    assert all(bool(tensor.isfinite().all()) for tensor in model.parameters())
    found = model.eval()(x)
    found = found[0] if isinstance(found, tuple) else found
    assert bool(found.isfinite().all())
    assert 1e-4 < found.detach().square().mean().item() < 100


def test_with_one_input_the_units_bend_in_different_places():
    """All at zero, a net of one hidden layer could only draw two straight lines."""
    model = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 1))
    fanin.initialize(model, torch.linspace(-1, 1, 8).unsqueeze(1), seed=0)
    bends = (-model[0].bias / model[0].weight[:, 0]).detach()
    assert int((bends.abs() < 1).sum()) > 16
    assert float(bends.std()) > 0.1


def test_inserting_a_block_changes_no_weight_of_a_plain_run():
    """A gain that depends on the depth changes; the numbers under it do not."""
    models = [Plain(F.relu, layers) for layers in (10, 11)]
    for model in models:
        fanin.initialize(model, torch.ones(2, WIDTH), seed=0)
    for layer in range(10):
        assert torch.equal(models[0].layers[layer].weight, models[1].layers[layer].weight)


def test_a_choice_says_why_in_every_model():
    """The plan prints it beside the numbers."""
    model = Residual(4)
    sites = fanin.trace(model, torch.ones(2, WIDTH)).sites
    choose = steady.for_model(sites)
    said = {choose(site).why for site in sites if isinstance(choose(site), Choice)}
    assert any("branches" in why for why in said)
    assert len(said) >= 4
