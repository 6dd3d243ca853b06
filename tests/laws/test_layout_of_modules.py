"""How a parameter is found in a module, what is read there, and that looking changes nothing."""

from inspect import isclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from fanin import FaninError, layout


def test_names_may_be_dotted():
    """From the model down, as named_parameters writes them."""
    model = nn.Sequential(nn.Linear(3, 4), nn.TransformerEncoderLayer(4, 2, 8))
    assert layout(model, "1.self_attn.out_proj.weight") == layout(nn.Linear(4, 4))
    for name, parameter in model.named_parameters():
        assert layout(model, name).shape == parameter.shape


@pytest.mark.parametrize(
    ("name", "found"),
    [("0.wieght", "0.weight|weight"), ("1.weight", "0"), ("0", "0.weight"), ("", "0.weight")],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, found):
    """A module in place of its parameter included."""
    with pytest.raises(FaninError, match="there is no such") as caught:
        layout(nn.Sequential(nn.Linear(3, 4)), name)
    assert any(near in caught.value.fix for near in found.split("|"))


def test_lazy_parameters_are_refused_until_they_have_a_shape():
    """After one batch they are like any other."""
    layer = nn.LazyLinear(4)
    with pytest.raises(FaninError, match="a lazy parameter has no shape yet"):
        layout(layer)
    layer(torch.zeros(2, 3))
    assert layout(layer) == layout(nn.Linear(3, 4))


def test_meta_modules_have_the_layouts_of_real_ones():
    """A layout needs no memory: only shapes are read."""
    make = lambda device: nn.TransformerEncoderLayer(8, 2, 16, device=device)
    meta, real = make("meta"), make("cpu")
    for name, _ in real.named_parameters():
        assert layout(meta, name) == layout(real, name)


class TwoTensors(nn.Linear):
    """A subclass with parameters that torch's Linear does not know."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.scale = nn.Parameter(torch.ones(4))
        self.low_rank = nn.Parameter(torch.ones(4, 2))
        self.experts = nn.Parameter(torch.ones(2, 4, 3))


def test_unknown_parameters_of_one_and_two_axes_are_taken_as_documented():
    """In a module of another kind, and in a subclass of a known one."""
    module = TwoTensors()
    assert layout(module) == layout(nn.Linear(3, 4))
    assert not layout(module, "scale").has_fans
    assert layout(module, "low_rank").axes == ("out", "in")


def test_unknown_parameters_of_three_axes_are_asked_about():
    """(experts, out, in), (heads, in, out) and (out, in, kernel) all look alike."""
    with pytest.raises(FaninError, match="the axes of this parameter are not known"):
        layout(TwoTensors(), "experts")


def test_the_linear_layer_of_gpt_2_is_known_to_be_the_other_way_round():
    """By its class, and only there: another class of that name is not."""
    for home, axes in (("transformers.pytorch_utils", ("in", "out")), ("mine", ("out", "in"))):
        kind = type("Conv1D", (nn.Module,), {"__module__": home})
        layer = kind()
        layer.weight = nn.Parameter(torch.ones(3, 12))
        assert layout(layer).axes == axes


# --- looking changes nothing ---------------------------------------------------------------------


class Masked(nn.Module):
    """A parametrization with a tensor that is no buffer, and random numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.mask = torch.ones(4, 3)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask * torch.rand(())


class LowRank(nn.Module):
    """Two tensors of other shapes than their product."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left @ right

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return weight[:, :2].clone(), weight[:2].clone()


def _registered(parametrization: nn.Module) -> nn.Module:
    layer = nn.Linear(3, 4)
    parametrize.register_parametrization(layer, "weight", parametrization)
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: parametrizations.weight_norm(nn.Linear(3, 4)),
        lambda: parametrizations.spectral_norm(nn.Linear(3, 4)),
        lambda: parametrizations.orthogonal(nn.Linear(3, 4)),
        lambda: _registered(Masked()),
        lambda: _registered(LowRank()),
    ],
    ids=["weight_norm", "spectral_norm", "orthogonal", "masked", "low rank"],
)
def test_the_layout_of_a_parametrized_weight_leaves_the_layer_as_it_was(make):
    """To read a weight under spectral_norm takes a power iteration, so it is not read."""
    layer = make()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    owned = {name: id(value) for name, value in layer.named_parameters()}
    plain = nn.Linear(3, 4)
    numbers = torch.get_rng_state()
    assert layout(layer) == layout(plain)
    after = layer.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert owned == {name: id(value) for name, value in layer.named_parameters()}
    assert torch.equal(numbers, torch.get_rng_state())
    assert layer.training


def test_the_layout_of_a_parametrized_weight_costs_no_arithmetic():
    """Meta tensors stand in for the values, so a large orthogonal weight is not factorized."""
    calls = []

    class Watched(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            calls.append(weight.device.type)
            return weight

    layer = _registered(Watched())
    calls.clear()
    layout(layer)
    assert calls == ["meta"]


# --- all of torch.nn -----------------------------------------------------------------------------

ARGUMENTS = {
    "Linear": (4, 6),
    "Bilinear": (2, 3, 4),
    "Embedding": (4, 6),
    "EmbeddingBag": (4, 6),
    "MultiheadAttention": (4, 2),
    **dict.fromkeys(("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"), (4, 6)),
    **{f"Conv{n}d": (4, 6, 3) for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": (4, 6, 3) for n in (1, 2, 3)},
    **{f"BatchNorm{n}d": (4,) for n in (1, 2, 3)},
    **{f"InstanceNorm{n}d": (4, 1e-5, 0.1, True) for n in (1, 2, 3)},
    "SyncBatchNorm": (4,),
    "GroupNorm": (2, 4),
    "LayerNorm": ((3, 4),),
    "RMSNorm": ((3, 4),),
    "PReLU": (4,),
}
NO_LAYERS = {"RNNBase", "RNNCellBase"}


def _owns_parameters(kind: type) -> bool:
    starts = [vars(base).get("__init__") for base in kind.__mro__ if base is not object]
    return any(start is not None and "Parameter" in start.__code__.co_names for start in starts)


def test_every_layer_of_torch_that_owns_parameters_is_known():
    """A layer that a new torch brings fails here, and is then read, not guessed at."""
    owners = {
        name
        for name, kind in vars(nn).items()
        if isclass(kind) and issubclass(kind, nn.Module) and _owns_parameters(kind)
    }
    assert {name for name in owners if not name.startswith("Lazy")} - NO_LAYERS == set(ARGUMENTS)


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_every_parameter_of_every_layer_has_a_layout_of_its_own(kind):
    """Weights have fans; biases, norms and slopes say what they are."""
    layer = getattr(nn, kind)(*ARGUMENTS[kind])
    for name, parameter in layer.named_parameters():
        where = layout(layer, name)
        assert where.shape == parameter.shape
        assert where.operation != "a parameter"
        elementwise = "bias" in name or where.role in ("norm_scale", "norm_shift", "slope")
        assert where.has_fans == (not elementwise)
