"""A model that was looked at is bit for bit what it was, however the look ended."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from fanin import FaninError
from fanin._observe import observing, run


class Counting(nn.Module):
    """Keeps what users keep: counters, caches, a generator of its own, tensors that no one owns."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.calls = 0
        self.cache = {}
        self.seen = []
        self.loose = torch.zeros(4)
        self.generator = torch.Generator().manual_seed(1)
        self.register_buffer("total", torch.zeros(4))
        self.register_buffer("unset", None)

    def forward(self, x):
        self.calls += 1
        self.fresh = x
        self.cache["last"] = x
        self.seen.append(x)
        self.loose += 1
        self.total = self.total + x.detach().sum(0)
        self.unset = x.detach()
        self.inner.extra = nn.Identity()
        self.inner.register_forward_hook(lambda *_: None)
        self.inner.weight.requires_grad_(False)
        random.random()
        np.random.rand()  # noqa: NPY002 - the global generator is what this test is about
        torch.rand((), generator=self.generator)
        return self.inner(nn.functional.dropout(x)) + self.loose


def norms():
    frozen = nn.BatchNorm1d(4).eval()
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), frozen, nn.Dropout(), nn.PReLU())


MODELS = {
    "norms, one frozen": norms,
    "spectral norm": lambda: nn.Sequential(spectral_norm(nn.Linear(4, 4)), nn.Dropout()),
    "shared": lambda: nn.Sequential(*[nn.Linear(4, 4)] * 3),
    "everything a user may keep": Counting,
    "recurrent": lambda: nn.GRU(4, 4, num_layers=2, dropout=0.5),
}
BATCH = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


def picture(model):
    """All that can be compared of a model and of the world around it."""
    world = [torch.get_rng_state(), random.getstate(), *np.random.get_state()[1:]]  # noqa: NPY002
    modules = {}
    for name, module in model.named_modules():
        shown = {}
        for key, value in vars(module).items():
            entries = dict(value) if isinstance(value, dict) else value
            shown[key] = list(entries) if isinstance(entries, list) else entries
        modules[name] = shown
    values = {name: value.clone() for name, value in model.state_dict().items()}
    loose = {
        name: vars(m)["loose"].clone() for name, m in model.named_modules() if "loose" in vars(m)
    }
    own = {
        n: vars(m)["generator"].get_state() for n, m in model.named_modules() if hasattr(m, "calls")
    }
    grads = [(p.grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    return world, modules, values, loose, own, grads


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one is other or (isinstance(other, torch.Tensor) and torch.equal(one, other))
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one is other or one == other


def look(model, ending):
    with observing(model, training=True):
        output = run(model, BATCH)
        output = output[0] if isinstance(output, tuple) else output
        output.sum().backward()
        if ending is not None:
            raise ending


@pytest.mark.parametrize("ending", [None, ValueError, KeyboardInterrupt], ids=str)
@pytest.mark.parametrize("with_gradients", [False, True], ids=["no gradients", "gradients"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_the_model_and_every_generator_are_as_before(make, with_gradients, ending):
    """Flags, buffers, attributes, hooks, gradients: also after an exception and Ctrl-C."""
    torch.manual_seed(0)
    model = make()
    if with_gradients:
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
    before = picture(model)
    if ending is None:
        look(model, None)
    else:
        with pytest.raises(ending):
            look(model, ending)
    assert same(before, picture(model))


def test_the_test_above_can_fail():
    """Without `observing` each of these models shows that it was run."""
    for make in MODELS.values():
        model = make()
        before = picture(model)
        output = run(model.train(), BATCH)
        (output[0] if isinstance(output, tuple) else output).sum().backward()
        assert not same(before, picture(model))


def test_a_backward_pass_that_is_still_to_come_is_not_disturbed():
    """Buffers that did not change are not written to."""
    model = norms().eval()
    loss = model(BATCH).sum()
    with observing(model):
        model(BATCH)
    loss.backward()
    assert model[0].weight.grad is not None


def test_each_mode_can_be_asked_for():
    """None leaves every module in its own."""
    model = norms()
    for training, expected in {
        None: [True, False],
        True: [True, True],
        False: [False, False],
    }.items():
        with observing(model, training=training):
            assert [model[1].training, model[2].training] == expected
    assert [model[1].training, model[2].training] == [True, False]


def test_a_lazy_model_is_refused_and_stays_lazy():
    """Its first run would shape it, which cannot be undone."""
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(FaninError, match="lazy"), observing(model):
        pytest.fail("the block must not run")
    assert isinstance(model[0], nn.LazyLinear)


def test_a_model_that_changes_its_own_parameters_is_reported():
    """Parameters are not copied, so this is told and not undone."""

    class Drifting(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                self.weight.mul_(0.9)
            return super().forward(x)

    model = Drifting(4, 4)
    with pytest.raises(FaninError, match="changes its own parameters") as caught, observing(model):
        model(BATCH)
    assert caught.value.found == "weight"


def test_a_batch_is_a_tensor_a_tuple_or_a_mapping():
    """The same three everywhere a model is run."""
    model = nn.Bilinear(4, 4, 2)
    one = run(model, (BATCH, BATCH))
    assert torch.equal(one, run(model, {"input1": BATCH, "input2": BATCH}))
    assert torch.equal(run(nn.Identity(), BATCH), BATCH)
