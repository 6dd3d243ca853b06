"""What a trace promises of every model: total, ordered, the same each time, in any dtype."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles.trace_models import Model, parameter, rows, tokens
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

from fanin import Residual, Site, Trace, trace
from fanin._site import SiteRole

F = functional


class Block(nn.Module):
    """A pre-norm block with attention and a gated feed-forward."""

    def __init__(self, width):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(width), nn.RMSNorm(width)
        self.qkv, self.o = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.gate, self.up = nn.Linear(width, 16), nn.Linear(width, 16, bias=False)
        self.down = nn.Linear(16, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x):
        q, k, v = self.qkv(self.n1(x)).chunk(3, -1)
        x = x + self.o(F.scaled_dot_product_attention(q, k, v))
        h = self.n2(x)
        return x + self.scale * self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    """Tokens to logits, tied."""

    def __init__(self):
        super().__init__()
        self.table, self.places = nn.Embedding(10, 8), nn.Parameter(torch.randn(1, 5, 8))
        self.blocks = nn.ModuleList(Block(8) for _ in range(2))
        self.end = nn.LayerNorm(8)
        self.head = nn.Linear(8, 10, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("mask", torch.ones(5, 5).tril())

    def forward(self, ids):
        x = self.table(ids) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.end(x))


class Convolutional(nn.Module):
    """ResNet in small, with a parametrized head and a recurrent tail."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.c1, self.n1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.c2, self.n2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.tail = nn.GRU(4, 4, batch_first=True)
        self.head = parametrizations.weight_norm(nn.Linear(4, 2))
        self.idle = nn.Linear(2, 2)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + self.n2(self.c2(F.relu(self.n1(self.c1(x))))))
        return self.head(self.tail(x.flatten(2).transpose(1, 2))[0][:, -1])


class Unnamed(nn.Module):
    """An activation that has no name, twice, and one with a parameter."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.slope = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        x = torch.relu(self.a(x)) ** 3
        return self.c(torch.relu(self.slope * self.b(x)) ** 3)


class Bare(nn.Module):
    """Parameters without layers: experts, a vector, a scalar, an empty one, a list and a dict."""

    def __init__(self):
        super().__init__()
        self.w, self.v, self.s = parameter(3, 6, 6), parameter(6), parameter()
        self.empty = nn.Parameter(torch.zeros(0, 6))
        self.many = nn.ParameterList([parameter(6, 6), parameter(6)])
        self.named = nn.ParameterDict({"a": parameter(6, 6)})

    def forward(self, x):
        x = torch.einsum("bi,eio->bo", x, self.w) * self.v + self.s
        return torch.tanh(x @ self.many[0] + self.many[1]) @ self.named["a"]


MODELS = {
    "decoder": (Decoder, lambda: tokens(2, 5)),
    "convolutional": (Convolutional, lambda: rows(2, 3, 9, 9)),
    "bare": (Bare, lambda: rows(3, 6)),
    "unnamed": (Unnamed, lambda: rows(3, 6)),
    "nothing": (nn.Identity, lambda: rows(3, 6)),
}
everything = pytest.mark.parametrize(("make", "batch"), MODELS.values(), ids=MODELS)


@everything
def test_every_parameter_and_buffer_has_exactly_one_site(make, batch):
    """Total: by its own name, by a tied one, or by what is stored for it."""
    model = make()
    found = trace(model, batch())
    names = [name for site in found for name in (site.name, *site.tied, *site.stored)]
    assert len(names) == len(set(names))
    wanted = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    wanted |= {name for name, _ in model.named_buffers(remove_duplicate=False)}
    computed = {site.name for site in found if site.stored}
    assert set(names) - computed == wanted


@everything
def test_sites_stand_in_the_order_of_the_model_parameters_first(make, batch):
    """As named_parameters gives them, then as named_buffers does; parametrized or not."""
    model = make()
    found = [site.name for site in trace(model, batch())]
    for module in model.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
            # Removed, it is registered last.
            module._parameters = dict(sorted(module._parameters.items(), reverse=True))
    order = [name for name, _ in model.named_parameters()]
    assert found == order + [name for name, _ in model.named_buffers()]


@everything
def test_a_trace_is_the_same_each_time(make, batch):
    """A value: no addresses, no orders of sets, nothing of the batch's numbers."""
    model = make()
    first = trace(model, batch())
    assert trace(model, batch()) == first
    other = torch.zeros_like(batch())
    assert trace(model, other).sites == first.sites


@everything
def test_a_copy_of_the_model_has_the_same_trace(make, batch):
    """Nothing depends on the objects."""
    import copy

    model = make()
    assert trace(copy.deepcopy(model), batch()) == trace(model, batch())


@everything
def test_a_trace_survives_being_pickled(make, batch):
    """Sites with named activations are plain data."""
    import pickle

    found = trace(make(), batch())
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - its own


@everything
def test_the_layout_has_the_shape_of_the_parameter(make, batch):
    """Whatever the run made of it before it used it."""
    model = make()
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}
    shapes |= {name: tuple(b.shape) for name, b in model.named_buffers()}
    for site in trace(model, batch()):
        if site.layout is not None and not site.stored:
            assert (site.name, site.layout.shape) == (site.name, shapes[site.name])


@everything
def test_every_field_agrees_with_the_others(make, batch):
    """A place in a stream for those that have one; a sibling for those that are like one."""
    for site in trace(make(), batch()):
        has_place = site.role in ("residual_out", "shortcut", "branch_scale")
        assert (site.residual is not None) == has_place
        if site.role != "buffer":
            assert (site.uses == 0) == (site.ran_in in ("never", "like another"))
        assert (site.like != "") == (site.ran_in == "like another")
        assert site.name not in site.tied
        assert site.role not in site.other_roles
        assert site.plain_depth <= max(site.depth, site.plain_depth)
        if site.residual is not None:
            assert 1 <= site.residual.index <= site.residual.count


def without_starts(found, *more):
    names = ("dtype", "built", *more)
    keep = [f for f in found.sites[0].__dataclass_fields__ if f not in names] if found.sites else []
    return [tuple(getattr(site, field) for field in keep) for site in found]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@everything
def test_the_dtype_changes_no_fact(make, batch, dtype):
    """Half precision and double run the same operations, on the CPU too."""
    given = batch()
    found = trace(make().to(dtype), given.to(dtype) if given.is_floating_point() else given)
    assert without_starts(found) == without_starts(trace(make(), given))


@everything
def test_autocast_changes_no_fact(make, batch):
    """Weights are cast before they are used, and are the same weights."""
    model = make()
    expected = without_starts(trace(model, batch()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert without_starts(trace(model, batch())) == expected


@everything
def test_the_surroundings_of_the_call_change_no_fact(make, batch):
    """no_grad, inference mode, a default device, frozen parameters, training mode on entry."""
    model = make()
    expected = trace(model, batch())
    with torch.no_grad():
        assert trace(model, batch()) == expected
    with torch.enable_grad():
        assert trace(model, batch()) == expected
    with torch.device("cpu"):
        assert trace(model, batch()) == expected
    assert trace(model.eval(), batch()) == expected
    frozen = trace(model.requires_grad_(False), batch())
    assert without_starts(frozen, "trainable") == without_starts(expected, "trainable")


def test_inference_mode_changes_no_fact():
    """Buffers and parameters made outside of it."""
    model = Decoder()
    expected = trace(model, tokens(2, 5)).sites
    with torch.inference_mode():
        assert trace(model, tokens(2, 5)).sites == expected


def test_a_complex_model_is_traced():
    """Complex weights have the same axes; FNO multiplies them by einsum."""

    def run(m, x):
        spectrum = torch.fft.rfft(x)
        mixed = torch.einsum("bit,iot->bot", spectrum, m.w)
        return m.head(torch.fft.irfft(mixed, n=x.shape[-1]))

    w = nn.Parameter(torch.randn(4, 5, 5, dtype=torch.complex64))
    found = trace(Model(run, w=w, head=nn.Linear(8, 2)), rows(3, 4, 8))
    assert (found["w"].dtype, found["w"].uses, found["w"].role) == ("complex64", 1, "weight")
    assert str(found["w"].layout) == "matrix product [in=4, out=5, batch=5]"
    assert found["head.weight"].role == "readout"


def test_complex_layers_are_traced():
    """Linear layers of complex numbers."""
    model = nn.Sequential(
        nn.Linear(4, 5, dtype=torch.complex64), nn.Linear(5, 2, dtype=torch.complex64)
    )
    found = trace(model, torch.randn(3, 4, dtype=torch.complex64))
    assert [site.role for site in found] == ["weight", "bias", "readout", "bias"]


def test_a_bias_with_two_names_is_that_of_the_product_it_is_added_to():
    """BERT's readout: its weight is the table's, and its bias belongs to the module around it."""

    class Head(nn.Module):
        def __init__(self, table):
            super().__init__()
            self.bias, self.decoder = nn.Parameter(torch.zeros(10)), nn.Linear(8, 10)
            self.decoder.weight, self.decoder.bias = table, self.bias

        def forward(self, x):
            return self.decoder(x)

    for device in ("cpu", "meta"):
        with torch.device(device):
            model = Model(
                lambda m, x: m.head(torch.relu(m.fc(m.table(x)))), table=nn.Embedding(10, 8)
            )
            model.fc = nn.Linear(8, 8)
            model.head = Head(model.table.weight)
        found = trace(model, tokens(3, 4))
        assert found["head.bias"].tied == ("head.decoder.bias",)
        assert (found["head.bias"].role, str(found["head.bias"].layout)) == ("bias", "sum [out=10]")


BATCHES = {
    "a tensor": lambda x: x,
    "a tuple": lambda x: (x,),
    "a mapping": lambda x: {"x": x},
    "nested": lambda x: {"x": [x, {"again": x}]},
}


@pytest.mark.parametrize("form", BATCHES.values(), ids=BATCHES)
def test_a_batch_is_a_tensor_a_tuple_or_a_mapping(form):
    """Positional or keyword arguments, nested as the model wants them."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 2)

        def forward(self, x):
            while not isinstance(x, torch.Tensor):
                x = x[0]
            return self.a(x)

    found = trace(Net(), form(rows(3, 4)))
    assert [(site.role, site.uses) for site in found] == [("readout", 1), ("bias", 1)]
    assert "float32 3x4" in found.batch


def test_a_trace_is_iterable_sized_and_says_how_it_was_made():
    """Its mode, its batch, how many operations were seen."""
    found = trace(nn.Linear(4, 2), rows(3, 4))
    assert isinstance(found, Trace)
    assert (len(found), [site.name for site in found]) == (2, ["weight", "bias"])
    assert (found.model, found.mode, found.batch) == ("Linear", "evaluation", "float32 3x4")
    assert found.operations > 0


def test_every_field_and_role_is_on_the_reference_page():
    """A field that is added is written down."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "sites.md").read_text()
    told = set(re.findall(r"`(\w+)`", page))
    names = [one.name for kind in (Site, Residual) for one in fields(kind)]
    assert {*names, *get_args(SiteRole)} <= told


LAYERS = {
    "linear": lambda: nn.Linear(6, 6),
    "relu": nn.ReLU,
    "norm": lambda: nn.LayerNorm(6),
    "drop": nn.Dropout,
    "prelu": nn.PReLU,
    "tanh": nn.Tanh,
}


@settings(max_examples=40)
@given(st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=8), st.booleans())
def test_any_sequence_is_traced_and_its_last_weight_is_the_readout(names, residual):
    """Random stacks, with or without a residual over all of it."""
    body = nn.Sequential(*(LAYERS[name]() for name in names))
    model = Model(
        lambda m, x: m.head(x + m.body(x) if residual else m.body(x)),
        body=body,
        head=nn.Linear(6, 2),
    )
    found = trace(model, rows(3, 6))
    weights = [site for site in found if site.role in ("weight", "residual_out", "readout")]
    assert len(weights) == names.count("linear") + 1
    assert found["head.weight"].role == "readout"
    assert [site.depth for site in weights if site.name != "head.weight"] == list(
        range(1, len(weights))
    )
    ends_linear = "linear" in names and not {"relu", "prelu", "tanh"} & set(
        names[len(names) - names[::-1].index("linear") :]
    )
    writers = [site.name for site in found if site.role == "residual_out"]
    assert len(writers) == (1 if residual and ends_linear else 0)
