"""On the meta device nothing is computed, and the sites are the same."""

import pytest
import torch
from tests.laws.test_trace_laws import MODELS, Decoder, without_starts
from tests.oracles.trace_models import Model, parameter, rows, sites, tokens
from torch import nn
from torch.nn import functional

from fanin import FaninError, trace

F = functional

everything = pytest.mark.parametrize(("make", "batch"), MODELS.values(), ids=MODELS)


def on_meta(make):
    with torch.device("meta"):
        return make()


def facts(found):
    """All but what is read from values."""
    names = [f for f in found.sites[0].__dataclass_fields__ if f != "built"] if found.sites else []
    return [{name: getattr(site, name) for name in names} for site in found]


@everything
def test_a_model_on_meta_has_the_sites_of_the_same_model_with_data(make, batch):
    """All facts but `built`, which is read from values that are not there."""
    found = trace(on_meta(make), batch())
    assert facts(found) == facts(trace(make(), batch()))
    assert {site.built for site in found} <= {""}


@everything
def test_a_model_moved_to_meta_is_the_same(make, batch):
    """``model.to("meta")`` and a batch there."""
    model = make().to("meta")
    if isinstance(model, Decoder):
        # Moving parameters to meta makes new ones, so torch unties them.
        model.head.weight = model.table.weight
    found = trace(model, batch().to("meta"))
    assert facts(found) == facts(trace(make(), batch()))


@everything
def test_real_buffers_among_meta_parameters_are_no_hindrance(make, batch):
    """Accelerate leaves buffers where they are: frequencies and masks are real."""
    model = on_meta(make)
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)
    kept = dict(model.named_buffers())
    found = trace(model, batch())
    assert without_starts(found) == without_starts(trace(make(), batch()))
    assert all(one is kept[name] for name, one in model.named_buffers())


def test_a_model_partly_on_meta_is_traced_and_left_so():
    """Some weights loaded, some not."""
    model = Decoder()
    model.blocks[0].to("meta")
    before = {name: (id(p), p.device.type) for name, p in model.named_parameters()}
    found = trace(model, tokens(2, 5))
    assert {name: (id(p), p.device.type) for name, p in model.named_parameters()} == before
    assert without_starts(found) == without_starts(trace(Decoder(), tokens(2, 5)))


def test_a_start_that_is_on_the_device_is_read_among_meta_ones():
    """What has values has a declared start; what has none says nothing."""
    model = Decoder()
    model.blocks[0].to("meta")
    found = trace(model, tokens(2, 5))
    assert found["blocks.0.scale"].built == ""
    assert found["blocks.1.scale"].built == "constant 1e-05"


def test_a_model_on_meta_stays_there():
    """No tensor got memory, no parameter was exchanged."""
    model = on_meta(Decoder)
    before = [id(p) for p in model.parameters()]
    trace(model, tokens(2, 5))
    assert [id(p) for p in model.parameters()] == before
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert {b.device.type for b in model.buffers()} == {"meta"}


def test_tensors_that_the_model_makes_in_forward_follow_it():
    """Masks and positions without a device argument."""

    def run(m, ids):
        places = torch.arange(ids.shape[1])
        mask = torch.full((ids.shape[1],) * 2, float("-inf")).triu(1)
        h = m.table(ids) + m.places(places)
        return m.head((h @ h.mT + mask).softmax(-1) @ h)

    def make():
        return Model(
            run, table=nn.Embedding(10, 6), places=nn.Embedding(5, 6), head=nn.Linear(6, 2)
        )

    found = trace(on_meta(make), tokens(2, 5))
    assert facts(found) == facts(trace(make(), tokens(2, 5)))


def test_tensors_kept_as_attributes_follow_it_too():
    """Users keep masks as plain attributes, which no device move finds."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 2, device="meta")
            self.shift = torch.ones(4)

        def forward(self, x):
            return self.a(x + self.shift)

    model = Net()
    kept = model.shift
    assert [site.uses for site in trace(model, rows(3, 4))] == [1, 1]
    assert model.shift is kept


def test_a_fake_batch_is_no_batch_of_numbers():
    """FakeTensorMode: shapes without data, made by the caller."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        model = Decoder()
        batch = torch.zeros(2, 5, dtype=torch.long)
        found = trace(model, batch)
    assert without_starts(found) == without_starts(trace(Decoder(), tokens(2, 5)))


def test_a_big_model_takes_no_memory():
    """Two weights of 64 GB each, and what lies between them."""
    model = on_meta(
        lambda: nn.Sequential(nn.Linear(2**17, 2**17), nn.GELU(), nn.Linear(2**17, 2**17))
    )
    found = trace(model, torch.empty(4096, 2**17, device="meta"))
    assert found["2.weight"].activation == "gelu"


DEMANDING = {
    "item": lambda m, h: h * h.sum().item(),
    "branch": lambda m, h: h if h.sum() > 0 else -h,
    "nonzero": lambda m, h: h[h[:, 0] > -9],
    "tolist": lambda m, h: h + len(h[0].tolist()),
    "numpy": lambda m, h: h + float(h.numpy().sum()),
    "int of a tensor": lambda m, h: h[: 1 + int(h.abs().sum())],
    "unique": lambda m, h: torch.unique(h, dim=0),
    "a loop over rows that were picked": lambda m, h: [h[i] for i in h.argmax(-1)],
}


@pytest.mark.parametrize("run", DEMANDING.values(), ids=DEMANDING)
def test_a_model_that_needs_data_gets_a_way_out_on_meta_and_runs_with_data(run):
    """An error in four beats that says what to do, and what failed."""

    def make():
        return Model(lambda m, x: run(m, m.a(x)), a=nn.Linear(4, 2))

    model = on_meta(make)
    with pytest.raises(FaninError, match="cannot run without data") as caught:
        trace(model, rows(3, 4))
    assert "trace a small model" in caught.value.fix
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert trace(make(), rows(3, 4))["a.weight"].uses == 1


def test_what_a_model_decides_by_its_input_alone_needs_no_weights():
    """Positions, lengths and masks keep their values, so that a model may look at them."""

    def run(m, ids):
        length = int((ids >= 0).sum(-1).max())
        if ids[0, 0] < 0:
            ids = -ids
        mask = torch.ones(length, length).tril()
        h = m.table(ids[:, :length])
        if mask.all():
            h = -h
        return m.head(h[torch.arange(2), ids.argmax(-1).tolist()])

    def make():
        return Model(run, table=nn.Embedding(10, 6), head=nn.Linear(6, 2))

    assert facts(trace(on_meta(make), tokens(2, 5))) == facts(trace(make(), tokens(2, 5)))


def test_a_lazy_model_is_refused():
    """Its first run would shape it, which is not undone."""
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(FaninError, match="lazy"):
        trace(model, rows(3, 4))
    assert isinstance(model[0], nn.LazyLinear)


def test_declared_starts_are_read_with_data_alone():
    """Zeros on meta are no zeros."""
    model = nn.Linear(4, 2)
    nn.init.zeros_(model.weight)
    assert sites(model, rows(3, 4))["weight"].built == "zeros"
    assert sites(model.to("meta"), rows(3, 4))["weight"].built == ""


def test_marks_are_read_on_meta_too():
    """They are attributes, not values."""
    model = Model(lambda m, x: x @ m.w, w=nn.Parameter(parameter(4, 2).to("meta")))
    model.w._no_reinit = True
    assert sites(model, rows(3, 4))["w"].built == "marked _no_reinit"
