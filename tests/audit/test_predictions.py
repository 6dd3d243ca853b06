"""Mean-field curves of real nets: against theory's own numbers, and against what is measured."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import pytest
import torch
from tests.thresholds import normal_threshold
from torch import Tensor, nn

from fanin import moments
from fanin._audit._connections import connections
from fanin._audit._measure import power
from fanin._audit._parameters import Steps, states_of
from fanin._audit._places import places_of
from fanin._audit._predictions import predictions_of
from fanin._audit._records import Place, Prediction
from fanin._audit._run import measure
from fanin._trace._flow import Flow
from fanin._trace._names import tensors_of
from fanin._trace._propagate import weight_operand
from fanin._trace._roles import Reading
from fanin._trace._run import graph_of
from fanin._trace._sites import sites_of
from fanin.theory import MeanField


@dataclass
class Seen:
    """What theory says of a net, and what was measured."""

    predictions: tuple[Prediction, ...]
    said: str
    places: tuple[Place, ...]

    @property
    def names(self) -> list[str]:
        return [self.places[one.index].name for one in self.predictions]

    @property
    def powers(self) -> list[float]:
        return [one.second_moment for one in self.predictions]

    @property
    def gradients(self) -> list[float | None]:
        return [one.gradient for one in self.predictions]

    def measured(self) -> list[float]:
        return [self.places[one.index].signal.second_moment for one in self.predictions]

    def measured_gradients(self) -> list[float]:
        found = [self.places[one.index].signal.gradient or 0.0 for one in self.predictions]
        return [one / found[-1] for one in found]


def random_direction(result: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (result * torch.randn(result.shape, generator=generator)).sum()


def seen(net: nn.Module, batch: Tensor, *, training: bool = False, given: bool = True) -> Seen:
    tensors = tensors_of(net)
    steps = Steps("adam")
    found = measure(
        net, tensors, batch, loss=random_direction, target=None, training=training, steps=steps
    )
    graph = found.recorder.graph
    reading = Reading(Flow(graph))
    sites = {site.name: site for site in sites_of(reading, tensors, "evaluation")}
    states = {one.name: one for one in states_of(tensors, sites, steps, 1e-3)}
    inputs = {node.index: power(batch)[0] for node in graph.of_kind("input")} if given else None
    measured = found.watcher.seen
    predictions, said = predictions_of(reading.flow, sites, states, measured, given=inputs)
    return Seen(predictions, said, places_of(reading, measured, len(batch), net))


def exactly(tensor: Tensor, std: float) -> None:
    """Fill with draws of mean 0 and mean square std²: there is no luck for theory to allow."""
    with torch.no_grad():
        nn.init.normal_(tensor)
        tensor -= tensor.mean()
        tensor *= std / tensor.square().mean().sqrt()


def plain(
    width: int,
    hidden: int,
    activation: Callable[[], nn.Module],
    weights: float,
    biases: float = 0.0,
) -> nn.Sequential:
    """``hidden`` layers and one more of the same width: σ_w² and σ_b² are met exactly."""
    layers: list[nn.Module] = []
    for _ in range(hidden + 1):
        layer = nn.Linear(width, width)
        exactly(layer.weight, sqrt(weights / width))
        exactly(layer.bias, sqrt(biases))
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


def unit_batch(inputs: int, width: int) -> Tensor:
    batch = torch.randn(inputs, width)
    return batch / batch.square().mean(1, keepdim=True).sqrt()


@pytest.mark.parametrize(
    ("activation", "weights", "biases"),
    [
        ("relu", 2.0, 0.0),
        ("tanh", 1.76, 0.05),
        ("gelu", 2.2, 0.1),
        ("silu", 2.7, 0.05),
        ("sigmoid", 1.0, 0.3),
        ("elu", 1.2, 0.0),
    ],
)
def test_a_plain_net_is_predicted_as_mean_field_theory_says(
    activation: str, weights: float, biases: float
) -> None:
    """The curve of the net is the curve of the formula, where the weights have its moments."""
    torch.manual_seed(0)
    made = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU}
    made |= {"sigmoid": nn.Sigmoid, "elu": nn.ELU}
    found = seen(plain(48, 5, made[activation], weights, biases), unit_batch(3, 48))
    theory = MeanField(activation, weights, biases)
    expected = theory.forward(5, q0=weights + biases)
    assert found.said == ""
    assert found.powers == pytest.approx(expected, rel=1e-5)
    back = [1.0]
    for q in reversed(expected[:-1]):
        back.insert(0, back[0] * theory.chi(q))
    assert found.gradients == pytest.approx(back, rel=1e-5)


def test_glorots_five_tanh_layers_have_the_published_curves() -> None:
    """Theory 2.6, "standard": stds of activations and of gradients at pre-activations."""
    torch.manual_seed(1)
    found = seen(plain(100, 5, nn.Tanh, 1 / 3), unit_batch(2, 100))
    stds = [sqrt(3 * q) for q in found.powers[1:]]
    assert stds == pytest.approx([0.4603, 0.2495, 0.1412, 0.0810, 0.0467], abs=1e-4)
    fifth = found.gradients[4]
    ratios = [sqrt(one / fifth) for one in found.gradients[:5]]
    published = [0.0830, 0.1760, 0.3240, 0.5723, 0.9978]
    assert ratios == pytest.approx([one / published[-1] for one in published], abs=2e-4)


@pytest.mark.parametrize(
    ("activation", "name", "weights", "biases"),
    [
        (nn.ReLU, "relu", 2.0, 0.0),
        (nn.Tanh, "tanh", 1.76, 0.05),
        (nn.GELU, "gelu", 2.2, 0.1),
        (nn.SiLU, "silu", 2.7, 0.05),
        (nn.Sigmoid, "sigmoid", 2.0, 0.3),
    ],
)
def test_wide_nets_measure_what_is_predicted_within_the_finite_width_law(
    activation: Callable[[], nn.Module], name: str, weights: float, biases: float
) -> None:
    """Forward: Var q̂_l / q² is Σ κ s^{2(l - j)} / n over the layers before, and 2 / n of its own.

    Theory 2.5, of one input: more inputs can only make it less. With s > 1 too, as each layer's
    own noise is multiplied on. The mean over draws is held to it.
    """
    width, hidden, draws = 192, 4, 12
    ratios = torch.zeros(draws, hidden + 1)
    for draw in range(draws):
        torch.manual_seed(draw)
        net = plain(width, hidden, activation, weights, biases)
        found = seen(net, unit_batch(4, width))
        ratios[draw] = torch.tensor(found.measured()) / torch.tensor(found.powers)
        powers = found.powers
    variance = 0.0
    for layer in range(hidden + 1):
        share = 1.0 if layer == 0 else 1 - biases / powers[layer]
        if layer:
            law = moments(name, variance=powers[layer - 1])
            variance = (share * law.slope) ** 2 * variance + share**2 * law.kappa / width
        error = sqrt((variance + 2 / width) / draws)
        far = abs(float(ratios[:, layer].mean()) - 1)
        assert far <= normal_threshold(comparisons=5) * error, layer


def conv(inputs: int, outputs: int, **options: object) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, **options)  # type: ignore[arg-type]
    exactly(layer.weight, sqrt(2 / (9 * inputs)))
    nn.init.zeros_(layer.bias)
    return layer


def test_a_convolution_with_circular_padding_is_predicted_like_a_matrix() -> None:
    """Every output has all its taps: q is that of the fully connected net (theory 2)."""
    torch.manual_seed(2)
    around = {"padding": 1, "padding_mode": "circular"}
    net = nn.Sequential(
        conv(3, 16, **around), nn.ReLU(), conv(16, 16, **around), nn.ReLU(), conv(16, 16, **around)
    )
    batch = torch.randn(4, 3, 8, 8)
    found = seen(net, batch)
    assert found.powers[0] == pytest.approx(2 * power(batch)[0], rel=1e-5)
    assert found.powers == pytest.approx([found.powers[0]] * 3, rel=1e-5)
    assert found.gradients == pytest.approx([1, 1, 1], rel=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(10, 7),
        nn.Conv1d(4, 6, 3, padding=1),
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2),
        nn.Conv2d(4, 8, 3, dilation=2, padding="same"),
        nn.Conv3d(2, 2, 2, stride=2),
        nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1),
    ],
)
def test_connections_are_counted_as_ones_through_ones(layer: nn.Module) -> None:
    """With weights and inputs of 1 every connection adds 1 to some output: padding adds none."""
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    axes = layer.weight.ndim - 2
    batch = torch.ones(2, *([10] if axes == 0 else [layer.in_channels, *[7, 6, 4][:axes]]))
    graph = graph_of(layer, tensors_of(layer), batch, training=False)
    node = next(graph.of_kind("product"))
    found = connections(node, Flow(graph).data_of(node), weight_operand(node))
    assert found == float(layer(batch).detach().sum())


class Stream(nn.Module):
    """x ← x + α f(x) between a first layer and a readout."""

    def __init__(self, width: int, branches: int, share: float) -> None:
        super().__init__()
        self.stem, self.readout = nn.Linear(width, width), nn.Linear(width, width)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, width))
            for _ in range(branches)
        )
        self.share = share
        for layer in (self.stem, self.readout, *(one[2] for one in self.branches)):
            exactly(layer.weight, sqrt(2 / width))
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for branch in self.branches:
            x = x + self.share * branch(x)
        return self.readout(x)


@pytest.mark.parametrize("training", [False, True])
def test_a_residual_stream_grows_by_its_branches(*, training: bool) -> None:
    """q' = q + α² q_f (theory 2.1), and the squared gradient the other way; dropout keeps half.

    A He branch gives q_f = q; with half of it dropped and doubled, 2 q.
    """
    torch.manual_seed(3)
    found = seen(Stream(64, 4, 0.5), unit_batch(3, 64), training=training)
    growth = 1 + 0.25 * (2 if training else 1)
    sums = [
        (one.second_moment, one.gradient)
        for one, name in zip(found.predictions, found.names, strict=True)
        if name.startswith("add")
    ]
    assert [one for one, _ in sums] == pytest.approx([2 * growth**k for k in range(1, 5)], rel=1e-5)
    assert [one for _, one in sums] == pytest.approx(
        [2 * growth ** (4 - k) for k in range(1, 5)], rel=1e-5
    )


def test_a_residual_net_measures_what_is_predicted() -> None:
    """Forward and backward in one wide net: Var ln |x|² is at most 5 / n for each weight passed."""
    torch.manual_seed(4)
    width, branches = 512, 4
    found = seen(Stream(width, branches, 0.5), unit_batch(8, width))
    far = normal_threshold(comparisons=20) * sqrt(5 * (branches + 2) / width)
    for measured, predicted in zip(
        [*found.measured(), *found.measured_gradients()],
        [*found.powers, *(one or 0.0 for one in found.gradients)],
        strict=True,
    ):
        assert abs(torch.tensor(measured / predicted).log()) <= far


def test_layers_up_to_a_pooling_are_predicted_and_the_text_says_where_theory_ends() -> None:
    """Pooling averages what is correlated, and the theory says nothing of it."""
    torch.manual_seed(5)
    net = nn.Sequential(
        conv(3, 8), nn.ReLU(), conv(8, 8), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(32, 5),
    )  # fmt: skip
    found = seen(net, torch.randn(4, 3, 8, 8))
    assert found.names == ["0", "2"]
    assert found.gradients[-1] == 1
    assert found.said == "theory ends before 6: it is behind avg_pool2d"


def repeated() -> nn.Module:
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(8, 2))


def equal() -> nn.Module:
    net = plain(8, 2, nn.ReLU, 2.0)
    net[4].load_state_dict(net[2].state_dict())
    return net


def shifted() -> nn.Module:
    net = plain(8, 2, nn.ReLU, 2.0)
    net[2].weight.data += 1
    net[4].weight.data += 1
    return net


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.value, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.sigmoid(self.gate(x)) * self.value(x))


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (nn.Linear(8, 2), "there are fewer than two layers"),
        (repeated(), "theory ends before 0: it is used 2 times"),
        (shifted(), "theory ends before 2: its mean is 1, not 0"),
        (
            nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2)),
            "theory ends before 2: it is behind native_layer_norm",
        ),
    ],
    ids=["one layer", "repeated", "shifted", "norm"],
)
def test_of_a_net_that_is_not_plain_nothing_is_said_but_why(net: nn.Module, why: str) -> None:
    """A curve from a theory whose premises fail would be believed."""
    found = seen(net, torch.randn(4, 8))
    assert (found.predictions, found.said) == ((), why)


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (equal(), "theory ends before 4: it is equal to 2.weight"),
        (Gated(), "theory ends before out: it is behind mul"),
    ],
    ids=["equal", "gated"],
)
def test_theory_ends_at_the_first_layer_that_is_not_plain(net: nn.Module, why: str) -> None:
    """What stands before it is still predicted."""
    found = seen(net, torch.randn(4, 8))
    assert len(found.predictions) == 2
    assert found.said == why


def test_without_the_inputs_power_the_first_layer_is_taken_as_measured() -> None:
    """A first layer behind a table or a scaling has no input that theory knows."""
    torch.manual_seed(6)
    net, batch = plain(48, 3, nn.Tanh, 1.5, 0.1), unit_batch(4, 48)
    found = seen(net, batch, given=False)
    assert found.powers[0] == pytest.approx(found.measured()[0], rel=1e-6)
    expected = MeanField("tanh", 1.5, 0.1).forward(3, q0=found.powers[0])
    assert found.powers == pytest.approx(expected, rel=1e-5)
