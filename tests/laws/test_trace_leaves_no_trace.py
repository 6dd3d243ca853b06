"""A model that was traced is bit for bit what it was, and so is the world around it."""

import pytest
import torch
from tests.laws.pictures import Careless, picture, same
from tests.oracles.trace_models import Model, rows
from torch import nn
from torch.nn.utils import parametrizations

from fanin import FaninError, trace


class Mixed(nn.Module):
    """Some parts train, some are frozen; batch norm, dropout, spectral norm, a shared layer."""

    def __init__(self):
        super().__init__()
        self.first = parametrizations.spectral_norm(nn.Linear(4, 4))
        self.norm = nn.BatchNorm1d(4)
        self.frozen = nn.BatchNorm1d(4).eval()
        self.drop = nn.Dropout().eval()
        self.again = self.shared = nn.Linear(4, 4)
        self.table = nn.Embedding(5, 4, max_norm=None)

    def forward(self, x):
        h = self.drop(self.frozen(self.norm(self.first(x))))
        return self.shared(torch.relu(self.again(h))) + self.table.weight.sum(0)


class Idle(nn.Module):
    """Half of it runs in training mode only, so that both modes are traced."""

    def __init__(self):
        super().__init__()
        self.always, self.rarely = nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        x = self.norm(self.always(x))
        return self.rarely(x) if self.training else x


MODELS = {"careless": Careless, "mixed": Mixed, "both modes": Idle}
BATCH = rows(8, 4)


class Stopping(nn.Module):
    """The model, and an ending in the middle of it."""

    def __init__(self, model, ending):
        super().__init__()
        self.model, self.last, self.ending = model, nn.Linear(4, 2), ending

    def forward(self, x):
        x = self.model(x)
        if self.ending is not None:
            raise self.ending
        return self.last(x)


ENDINGS = {
    "none": (None, None),
    "error": (RuntimeError("in the middle"), FaninError),
    "Ctrl-C": (KeyboardInterrupt(), KeyboardInterrupt),
    "exit": (SystemExit(), SystemExit),
}


@pytest.mark.parametrize("training", [None, False, True])
@pytest.mark.parametrize("with_gradients", [False, True], ids=["no gradients", "gradients"])
@pytest.mark.parametrize(("ending", "raised"), ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_the_model_and_every_generator_are_as_before(
    make, ending, raised, with_gradients, training
):
    """Flags by module, buffers, attributes, hooks, gradients: also after an error and Ctrl-C."""
    torch.manual_seed(0)
    model = Stopping(make(), ending)
    if with_gradients:
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
    before = picture(model)
    if raised is None:
        trace(model, BATCH, training=training)
    else:
        with pytest.raises(raised):
            trace(model, BATCH, training=training)
    assert same(before, picture(model))


def test_the_test_above_can_fail():
    """A plain run of each of these models shows."""
    for make in MODELS.values():
        model = make()
        before = picture(model)
        model.train()(BATCH)
        assert not same(before, picture(model))


def test_no_mode_of_torch_is_left_on():
    """After an error too: the next operation runs as if nothing had been."""
    from torch.overrides import _get_current_function_mode_stack
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

    trace(nn.Linear(4, 4), BATCH)
    with pytest.raises(FaninError):
        trace(nn.Linear(5, 4), BATCH)
    assert list(_get_current_function_mode_stack()) == []
    assert list(_get_current_dispatch_mode_stack()) == []
    assert torch.is_grad_enabled()


def test_the_batch_is_as_before():
    """Also where the model works in place on what it is given, and is run twice."""
    first = rows(8, 4)
    before = first.clone()
    in_place = Model(lambda m, x: m.a(x.relu_()), a=nn.Linear(4, 4), idle=nn.Linear(2, 2))
    for batch in (first, (first,), {"x": first}):
        if isinstance(batch, dict):
            in_place.run = lambda m, x: m.a(x.mul_(2))
        trace(in_place, batch)
        assert torch.equal(first, before)
    assert not first.requires_grad


def test_the_state_of_a_stateful_layer_is_as_before():
    """Caches that grow with each call, as of keys and values."""

    def run(m, x):
        m.cache = torch.cat([m.cache, m.a(x)])
        return m.cache.sum(0)

    model = Model(run, a=nn.Linear(4, 4))
    model.register_buffer("cache", torch.zeros(1, 4))
    kept = model.cache
    trace(model, BATCH)
    assert model.cache is kept
    assert model.cache.shape == (1, 4)


def test_a_backward_pass_that_is_still_to_come_is_not_disturbed():
    """Tracing between forward and backward."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    loss = model(BATCH).square().mean()
    trace(model, BATCH)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_model_gives_the_same_outputs_after():
    """Bit for bit, dropout included, since the generator is as before."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    torch.manual_seed(3)
    expected = model(BATCH)
    model[2].reset_running_stats()
    torch.manual_seed(3)
    trace(model, BATCH)
    assert torch.equal(model(BATCH), expected)


def test_nothing_of_the_model_is_kept():
    """A trace holds names and numbers, so the model's memory is free when it is deleted."""
    import gc
    import weakref

    model = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2), nn.Softplus(beta=3))
    found = trace(model, BATCH)
    weight, whole = weakref.ref(model[0].weight), weakref.ref(model)
    del model
    gc.collect()
    assert (weight(), whole()) == (None, None)
    assert len(found) == 4
