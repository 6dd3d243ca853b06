"""Norm layers put into a model: behind each hidden weight, or an error that says why not."""

import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from fanin import FaninError
from fanin._compare._norms import maker_of, takes_norm


def mlp():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))


def conv2d():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3)
    )


def conv1d():
    return nn.Sequential(
        nn.Conv1d(1, 4, 3), nn.GELU(), nn.ConvTranspose1d(4, 5, 3), nn.ReLU(), nn.Conv1d(5, 2, 1)
    ).double()


def dropped():
    return nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 3))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.outside = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        for inside, outside in zip(self.inside, self.outside, strict=True):
            x = x + outside(inside(x).relu())
        return self.head(x)


ROWS, IMAGES, SERIES = torch.randn(9, 6), torch.randn(9, 1, 6, 6), torch.randn(9, 1, 6).double()

BEHIND = [
    (mlp, ROWS, "batch", {"0": nn.BatchNorm1d, "2": nn.BatchNorm1d}),
    (mlp, ROWS, "layer", {"0": nn.LayerNorm, "2": nn.LayerNorm}),
    (conv2d, IMAGES, "batch", {"0": nn.BatchNorm2d, "2": nn.BatchNorm2d}),
    (conv2d, IMAGES, "layer", {"0": nn.GroupNorm, "2": nn.GroupNorm}),
    (conv1d, SERIES, "batch", {"0": nn.BatchNorm1d, "2": nn.BatchNorm1d}),
    (conv1d, SERIES, "layer", {"0": nn.GroupNorm, "2": nn.GroupNorm}),
    (dropped, ROWS, "batch", {"0": nn.BatchNorm1d}),
    (mlp, torch.randn(9, 4, 6), "layer", {"0": nn.LayerNorm, "2": nn.LayerNorm}),
    (Residual, torch.randn(9, 8), "batch", {f"inside.{n}": nn.BatchNorm1d for n in range(2)}),
]


@pytest.mark.parametrize(("make", "inputs", "norm", "expected"), BEHIND)
def test_a_norm_stands_behind_each_hidden_weight_and_nowhere_else(make, inputs, norm, expected):
    """The readout's scale is the output's, and a sum is the stream's: a norm would change both."""
    maker, paths = maker_of(make, norm, inputs)
    model = maker()
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
    found = {name: type(one) for name, one in model.named_modules() if isinstance(one, kinds)}
    assert found == {f"{path}.1": kind for path, kind in expected.items()}
    assert paths == tuple(expected)
    assert model(inputs).shape == make()(inputs).shape


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_the_layers_compute_as_written_by_hand(norm):
    """The norm is between the weight, with its bias, and the activation."""
    maker, _ = maker_of(mlp, norm, ROWS)
    torch.manual_seed(3)
    model = maker()
    torch.manual_seed(3)
    plain = mlp()

    def normed(z):
        if norm == "batch":
            return functional.batch_norm(z, None, None, training=True)
        return functional.layer_norm(z, z.shape[1:])

    expected = plain[4](normed(plain[2](normed(plain[0](ROWS)).relu())).tanh())
    torch.testing.assert_close(model(ROWS), expected)


def test_each_of_the_channels_and_no_position_has_its_own_norm():
    """Layer norm of images is over channels and positions, with a gain for each channel."""
    maker, _ = maker_of(conv2d, "layer", IMAGES)
    torch.manual_seed(3)
    first = maker()[0]
    torch.manual_seed(3)
    z = conv2d()[0](IMAGES)
    torch.testing.assert_close(first(IMAGES), functional.layer_norm(z, z.shape[1:]))
    assert first[1].weight.shape == (4,)


def test_what_makes_a_normed_model_can_be_sent_to_a_worker():
    """Workers get the maker pickled, also one that the user wrote."""
    maker, _ = maker_of(mlp, "batch", ROWS)
    assert isinstance(pickle.loads(pickle.dumps(maker))()[0][1], nn.BatchNorm1d)  # noqa: S301
    own, _ = maker_of(asked, "layer", ROWS)
    assert isinstance(pickle.loads(pickle.dumps(own))()[1], nn.LayerNorm)  # noqa: S301


def asked(norm):
    layers = {None: nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
    return nn.Sequential(nn.Linear(6, 16), layers[norm](16), nn.ReLU(), nn.Linear(16, 3))


def asked_by_name(norm=None, width=3):
    return asked(norm)


class Asked(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind


@pytest.mark.parametrize(
    ("make", "takes"),
    [(mlp, False), (asked, True), (asked_by_name, True), (Asked, True), (lambda w=3: mlp(), False)],
)
def test_a_maker_is_asked_for_the_norm_if_it_takes_one(make, takes):
    """One parameter that must be given, or one called norm; a width with a default is neither."""
    assert takes_norm(make) is takes


def test_a_maker_that_takes_the_norm_is_given_it_and_nothing_is_put_in():
    """Where the user places them, they stand where the user wants."""
    for norm in (None, "batch", "layer"):
        maker, paths = maker_of(asked, norm, ROWS)
        assert paths == ()
        assert [type(one) for one in maker()] == [type(one) for one in asked(norm)]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.packed, self.out = nn.Linear(1, 8), nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x):
        q, k, v = self.packed(self.first(x.unsqueeze(-1)).relu()).chunk(3, -1)
        return self.out(((q @ k.transpose(1, 2)).softmax(-1) @ v).mean(1))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(16, 6)), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(functional.linear(x, self.weight).relu())


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.layer(self.layer(x).relu()).relu())


class Reading(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(functional.linear(x, self.layer.weight).relu())


class PassingBy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
        self.order = [self.layer, nn.ReLU(), self.head]

    def forward(self, x):
        for one in self.order:
            x = one(x)
        return x


UNCLEAR = [
    (lambda: asked("layer"), "the model has norm layers of its own"),
    (Attention, "where norm layers belong in such a model is not told by its weights"),
    (Functional, "a hidden weight is not of a Linear or a convolution"),
    (Shared, "a hidden weight is used several times"),
    (lambda: nn.Linear(6, 3), "no weight's output goes through an activation to another weight"),
    (Reading, "the model does not run with norm layers"),
    (PassingBy, "a norm layer is not where the output of its weight goes"),
]


@pytest.mark.parametrize(("make", "what"), UNCLEAR)
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_where_norm_layers_cannot_be_placed_cleanly_the_way_out_is_said(make, what, norm):
    """A norm somewhere would make numbers that look like those of a normed model."""
    with pytest.raises(FaninError, match=what) as found:
        maker_of(make, norm, ROWS)
    assert "give a make_model of one argument" in found.value.fix


def test_batch_norm_over_the_wrong_axis_is_refused():
    """BatchNorm1d takes the second of three axes as features, and where lengths agree, silently."""
    with pytest.raises(FaninError, match=r"batch norm behind a Linear is for outputs \[batch"):
        maker_of(mlp, "batch", torch.randn(9, 16, 6))


def test_without_a_norm_the_maker_is_the_users_own():
    """Nothing is asked of a model that stays as it is."""
    assert maker_of(Attention, None, ROWS) == (Attention, ())
