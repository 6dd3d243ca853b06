"""A parametrized weight is one site, under its own name, whatever is stored for it."""

import warnings

import pytest
import torch
from tests.oracles.trace_models import Model, parameter, roles, rows, sites, writers
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

from fanin import layout

F = functional


def old_weight_norm(layer, name="weight"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer, name)


STORED = {
    "weight_norm": (
        parametrizations.weight_norm,
        ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ),
    "spectral_norm": (parametrizations.spectral_norm, ("parametrizations.weight.original",)),
    "orthogonal": (parametrizations.orthogonal, ("parametrizations.weight.original",)),
    "orthogonal, by Cayley": (
        lambda layer: parametrizations.orthogonal(layer, orthogonal_map="cayley"),
        ("parametrizations.weight.original",),
    ),
    "old weight_norm": (old_weight_norm, ("weight_v", "weight_g")),
    "old spectral_norm": (nn.utils.spectral_norm, ("weight_orig",)),
}
LAYERS = {
    "Linear": (lambda: nn.Linear(6, 4), (3, 6)),
    "Conv2d": (lambda: nn.Conv2d(6, 4, 3), (3, 6, 5, 5)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(6, 4, 4, stride=2), (3, 6, 5)),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize(("wrap", "stored"), STORED.values(), ids=STORED)
def test_the_weight_is_one_site_by_its_own_name(wrap, stored, layer, training):
    """Direction and length, or the original, are kept in its place and are no sites themselves."""
    make, batch = layer
    plain = make()
    model = nn.Sequential(wrap(make()), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    model(rows(*batch))
    found = sites(model, rows(*batch), training=training)
    site = found["0.weight"]
    assert site.stored == tuple(f"0.{name}" for name in stored)
    names = [name for name, one in found.items() if one.role != "buffer"]
    assert names == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert (site.role, site.uses, site.module) == ("weight", 1, type(plain).__name__)
    assert site.layout == layout(plain)
    assert site.activation_after == "relu"
    assert found["0.bias"].role == "bias"


def test_a_parametrized_weight_is_found_by_its_stored_names_too():
    """A trace is asked by any name that the model knows."""
    import fanin

    model = parametrizations.weight_norm(nn.Linear(6, 4))
    found = fanin.trace(model, rows(3, 6))
    for name in ("weight", "parametrizations.weight.original0"):
        assert found[name].name == "weight"


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_parametrized_weight_has_a_place_in_a_stream(wrap):
    """Parametrization changes how a weight is stored, not what it does."""

    def build(form):
        parts = {"up": form(nn.Linear(6, 8)), "down": form(nn.Linear(8, 6))}
        return Model(lambda m, x: x + m.down(F.relu(m.up(x))), **parts)

    plain, wrapped = build(lambda layer: layer), build(wrap)
    assert writers(wrapped, rows(3, 6)) == writers(plain, rows(3, 6)) == ["down.weight"]


def test_every_tensor_of_an_lstm_may_be_normalized():
    """WeightDrop and weight-normed recurrent layers parametrize one of several weights."""
    lstm = parametrizations.weight_norm(nn.LSTM(5, 4), "weight_hh_l0")
    found = sites(lstm, rows(7, 2, 5))
    site = found["weight_hh_l0"]
    assert (site.role, site.uses) == ("recurrent", 1)
    assert site.layout == layout(nn.LSTM(5, 4), "weight_hh_l0")


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).transpose(-1, -2)


class LowRank(nn.Module):
    """W + B A, as LoRA writes it as a parametrization, with parameters of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.b = parameter(2, 6), parameter(4, 2, value=0.0)

    def forward(self, w):
        return w + self.b @ self.a


def test_a_user_s_parametrization_is_one_too():
    """Any module registered on a weight."""
    model = nn.Linear(4, 4)
    parametrize.register_parametrization(model, "weight", Symmetric())
    found = sites(model, rows(3, 4))
    assert list(found) == ["weight", "bias"]
    assert found["weight"].role == "readout"


def test_parameters_of_a_parametrization_are_sites_of_their_own():
    """They are drawn too; nothing is left out."""
    model = nn.Linear(6, 4)
    parametrize.register_parametrization(model, "weight", LowRank())
    found = sites(model, rows(3, 6))
    assert set(found) == {
        "weight", "bias", "parametrizations.weight.0.a", "parametrizations.weight.0.b",
    }  # fmt: skip
    assert found["weight"].role == "readout"
    assert found["parametrizations.weight.0.b"].built == "zeros"
    assert all(site.uses == 1 for site in found.values())


def test_a_chain_of_parametrizations_is_one():
    """Spectral norm of a symmetric matrix."""
    model = nn.Linear(4, 4)
    parametrize.register_parametrization(model, "weight", Symmetric())
    parametrizations.spectral_norm(model)
    found = sites(model, rows(3, 4))
    assert [n for n, s in found.items() if s.role != "buffer"] == ["weight", "bias"]


def test_a_cached_parametrization_is_seen():
    """With parametrize.cached the weight is computed once and used often."""

    def run(m, x):
        with parametrize.cached():
            return m.layer(m.layer(x))

    model = Model(run, layer=parametrizations.spectral_norm(nn.Linear(4, 4)))
    assert sites(model, rows(3, 4))["layer.weight"].uses == 2


def test_buffers_of_a_parametrization_are_buffers():
    """The vectors of a power iteration are state."""
    found = roles(parametrizations.spectral_norm(nn.Linear(6, 4)), rows(3, 6))
    assert found["weight"] == "readout"
    buffers = [name for name, role in found.items() if role == "buffer"]
    assert buffers == ["parametrizations.weight.0._u", "parametrizations.weight.0._v"]


def test_a_lora_adapter_writes_beside_its_weight():
    """``W x + B A x``: A reads, B is added to the output of W, no stream."""

    def run(m, x):
        return m.head(F.relu(m.w(x) + m.b(m.a(x)) * 2.0))

    model = Model(
        run, w=nn.Linear(6, 4), a=nn.Linear(6, 2, bias=False), b=nn.Linear(2, 4, bias=False),
        head=nn.Linear(4, 3),
    )  # fmt: skip
    nn.init.zeros_(model.b.weight)
    model.w.weight.requires_grad_(False)
    found = sites(model, rows(3, 6))
    assert {n: s.role for n, s in found.items() if "weight" in n} == {
        "w.weight": "weight", "a.weight": "weight", "b.weight": "weight", "head.weight": "readout",
    }  # fmt: skip
    assert found["b.weight"].built == "zeros"
    assert (found["w.weight"].summands, found["b.weight"].summands) == (2, 2)
    assert (found["w.weight"].trainable, found["b.weight"].trainable) == (False, True)


def test_a_weight_normed_by_hand_is_a_weight_and_its_length_is_elementwise():
    """``g v / |v|`` as two parameters of a user's own module."""
    model = Model(
        lambda m, x: F.linear(x, m.g * m.v / m.v.norm(dim=1, keepdim=True)),
        g=parameter(4, 1), v=parameter(4, 6),
    )  # fmt: skip
    found = sites(model, rows(3, 6))
    assert (found["v"].role, str(found["v"].layout)) == ("readout", "matrix product [out=4, in=6]")
    assert (found["g"].role, found["g"].uses) == ("elementwise", 1)


def test_a_hyper_network_s_weights_are_products():
    """A weight that another layer computed is no parameter: only the layer that made it is."""

    def run(m, x):
        made = m.maker(m.code).view(4, 6)
        return F.linear(x, made)

    model = Model(run, code=parameter(1, 3), maker=nn.Linear(3, 24))
    found = sites(model, rows(3, 6))
    assert found["maker.weight"].uses == 1
    assert found["code"].uses == 1


def test_old_weight_norm_leaves_its_computed_weight_alone():
    """The old form keeps the computed weight as an attribute, which a run replaces."""
    with pytest.warns(FutureWarning):
        model = nn.utils.weight_norm(nn.Linear(6, 4))
    before = model.weight
    sites(model, rows(3, 6))
    assert model.weight is before
    assert torch.equal(model.weight, before)
