"""A model that was audited is bit for bit what it was, however the audit ended."""

import sys
from collections import deque
from copy import deepcopy

import pytest
import torch
from tests.zoo.picture import give_gradients_and_flags, picture
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import fanin._observe
from fanin import FaninError, audit


class Stop(Exception):  # noqa: N818 - no error of the model
    """What a part fails with."""


class Counting(nn.Module):
    """Keeps what users keep: counters, caches, buffers that are replaced, hooks."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.calls, self.cache, self.seen = 0, {}, []
        self.register_buffer("total", torch.zeros(6))

    def forward(self, x):
        self.calls += 1
        self.cache["last"] = x
        self.seen.append(x)
        self.total = self.total + x.detach().sum(0)
        self.inner.register_forward_hook(lambda *_: None)
        return self.inner(F.dropout(x)) + torch.rand(6)


def norms():
    frozen = nn.BatchNorm1d(6).eval()
    return nn.Sequential(
        nn.Linear(6, 6), nn.BatchNorm1d(6), frozen, nn.Dropout(), nn.ReLU(inplace=True),
        nn.Linear(6, 4),
    )  # fmt: skip


def tied():
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    second.bias.requires_grad_(requires_grad=False)
    return nn.Sequential(first, nn.ReLU(), second)


MODELS = {
    "norms": norms,
    "tied, partly frozen": tied,
    "everything a user may keep": lambda: nn.Sequential(Counting(), nn.Linear(6, 4)),
    "recurrent": lambda: nn.GRU(6, 5, num_layers=2, dropout=0.5),
    "attention": lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True),
    "parametrized": lambda: nn.Sequential(
        spectral_norm(nn.Linear(6, 6)), weight_norm(nn.Linear(6, 4))
    ),
}


def whole(model):
    """The picture of a model, with the hooks of its tensors."""
    hooks = {
        f"hooks of {name}": [
            list((getattr(one, kind, None) or {}).items())
            for kind in ("_backward_hooks", "_post_accumulate_grad_hooks")
        ]
        for name, one in model.named_parameters()
    }
    return picture(model) | hooks


def squared(result):
    found = result[0] if isinstance(result, tuple) else result
    return found.square().mean()


@pytest.fixture(params=MODELS)
def model(request):
    """A model with gradients, mixed flags, and hooks of the user's on modules and tensors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = MODELS[request.param]()
        give_gradients_and_flags(found)
        found.register_forward_hook(lambda *_: None)
        for parameter in found.parameters():
            if parameter.requires_grad:
                parameter.register_hook(lambda gradient: gradient)
                parameter.register_post_accumulate_grad_hook(lambda _: None)
        yield found


@pytest.fixture
def batch(model):
    is_sequence = isinstance(model, (nn.GRU, nn.TransformerEncoderLayer))
    return torch.randn(8, 5, 6) if is_sequence else torch.randn(8, 6)


@pytest.mark.parametrize("training", [None, True, False])
def test_an_audited_model_is_as_before(model, batch, training):
    """Values, buffers, gradients that were there, flags, hooks, attributes and generators."""
    before = whole(model)
    audit(model, batch, loss=squared, training=training)
    assert whole(model) == before


def test_the_batch_is_as_before(model):
    """Also where the model writes into what it is given, and its tensors want gradients."""

    class Writing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x, known):
            known["x"] = x
            return self.layer(x.mul_(2) if not x.requires_grad else x)

    for wants in (False, True):
        x = torch.randn(8, 6, requires_grad=wants)
        values, known = x.detach().clone(), {}
        audit(Writing(), (x, known), loss=squared)
        assert torch.equal(x, values)
        assert x.grad is None
        assert x.requires_grad == wants
        assert known == {}


def modules_called(model, batch):
    """How often a module starts to run in one forward pass."""
    count = [0]

    def see(*_):
        count[0] += 1

    handles = [module.register_forward_pre_hook(see) for module in model.modules()]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    return count[0]


def fail_at(model, at, raised):
    """Let the ``at``-th module that starts to run raise."""
    left = [at]

    def fail(*_):
        left[0] -= 1
        if left[0] == 0:
            raise raised

    for module in model.modules():
        module.register_forward_pre_hook(fail)


@pytest.mark.parametrize("raised", [Stop, KeyboardInterrupt])
@pytest.mark.parametrize("last", [False, True])
def test_it_is_as_before_after_a_module_raised(model, batch, last, raised):
    """The first module, and the last, when everything else has been seen."""
    if isinstance(model[0] if isinstance(model, nn.Sequential) else None, Counting):
        model[0].calls = 0
    fail_at(model, modules_called(model, batch) if last else 1, raised())
    before = whole(model)
    with pytest.raises((fanin.FaninError, KeyboardInterrupt)):
        audit(model, batch, loss=squared, training=True)
    assert whole(model) == before


@pytest.mark.parametrize("raised", [Stop, KeyboardInterrupt])
def test_it_is_as_before_after_the_loss_raised(model, batch, raised):
    """When the whole forward pass has been measured."""

    def failing(_result):
        raise raised

    before = whole(model)
    with pytest.raises((fanin.FaninError, KeyboardInterrupt)):
        audit(model, batch, loss=failing, training=True)
    assert whole(model) == before


@pytest.mark.parametrize("raised", [RuntimeError, ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("gradients", [0, 2])
def test_it_is_as_before_after_the_backward_pass_raised(model, batch, gradients, raised):
    """At its start, and when some parameters have their gradients."""
    left = [gradients]

    def fail(_gradient):
        left[0] -= 1
        if left[0] < 0:
            raise raised

    def hooked(result):
        found = squared(result)
        found.register_hook(fail)
        return found

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_hook(fail)
    before = whole(model)
    if raised is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            audit(model, batch, loss=hooked, training=True)
    else:
        report = audit(model, batch, loss=hooked, training=True)
        assert any("the backward pass failed" in note for note in report.notes)
    assert whole(model) == before


class Interrupting:
    """Counts the calls of functions in one file, and interrupts one of them as Ctrl-C would."""

    def __init__(self, path, at):
        self.path, self.left = path, at

    def __call__(self, frame, event, _argument):
        if event == "call" and frame.f_code.co_filename == self.path:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    def run(self, work):
        """Whether ``work`` was interrupted."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            work()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


def test_it_is_as_before_after_an_interrupt_while_it_is_restored():
    """Ctrl-C does not wait for a good moment: at steps of remembering and of restoring."""
    model, batch = norms(), torch.randn(8, 6)
    give_gradients_and_flags(model)
    before, path = whole(model), fanin._observe.__file__

    def work():
        audit(model, batch, loss=squared, spectrum=False)

    counting = Interrupting(path, -1)
    assert not counting.run(work)
    steps = -1 - counting.left
    moments = range(steps, 0, -5)
    interrupted = 0
    for at in moments:
        interrupted += Interrupting(path, at).run(work)
        assert whole(model) == before, f"{at} of {steps}"
    assert interrupted > len(moments) // 2 > 10


class Hooking(nn.Module):
    """Sets hooks on its own parameters when it runs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x):
        self.layer.weight.register_hook(lambda gradient: gradient * 2)
        self.layer.bias.register_post_accumulate_grad_hook(lambda _: None)
        return self.layer(x)


def test_hooks_that_a_model_sets_on_its_parameters_do_not_stay():
    """As those on modules."""
    model, batch = Hooking(), torch.randn(8, 6)
    before = whole(model)
    audit(model, batch, loss=squared)
    assert whole(model) == before


def test_an_optimizer_that_steps_in_the_backward_pass_does_not_step():
    """A hook of the user's after each gradient; it is put aside, and is there again."""
    model, batch = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 4)), torch.randn(8, 6)
    told = []

    def step(parameter):
        told.append(parameter)
        with torch.no_grad():
            parameter -= parameter.grad

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    before = whole(model)
    audit(model, batch, loss=squared)
    assert whole(model) == before
    assert not told
    squared(model(batch)).backward()
    assert len(told) == 4


def test_a_model_that_changes_its_parameters_is_refused():
    """Not undone, as parameters are not copied; said."""

    class Drifting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x):
            with torch.no_grad():
                self.layer.weight.mul_(0.9)
            return F.linear(x, self.layer.weight.clone(), self.layer.bias)

    with pytest.raises(fanin.FaninError, match="changes its own parameters"):
        audit(Drifting(), torch.randn(8, 6), loss=squared)


class Averaging(nn.Module):
    """Writes the mean of its inputs into a buffer, and keeps books in containers of all kinds."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)
        self.register_buffer("average", torch.zeros(6))
        self.seen, self.kept, self.recent = set(), {"means": [1]}, deque([1, 2], maxlen=2)

    def forward(self, x):
        self.average.mul_(0.9).add_(x.mean(0))
        self.seen.add(len(self.seen))
        self.kept["means"].append(x.mean())
        self.recent.append(3)
        return self.layer(x - self.average)


def test_a_buffer_written_from_the_input_keeps_no_graph_of_the_run():
    """It could else neither be copied nor trained with."""
    model = Averaging()
    audit(model, torch.randn(8, 6), loss=squared, spectrum=True)
    assert not model.average.requires_grad
    assert model.average.grad_fn is None
    deepcopy(model)


def test_sets_deques_and_lists_in_dictionaries_are_as_before():
    """They are a module's books as much as its lists are."""
    model = Averaging()
    audit(model, torch.randn(8, 6), loss=squared)
    assert (model.seen, model.kept, list(model.recent)) == (set(), {"means": [1]}, [1, 2])
    assert model.recent.maxlen == 2


def test_modules_of_the_loss_keep_no_gradient():
    """A critic that judges the output is no part of the model."""
    critic = nn.Linear(4, 1)
    audit(nn.Linear(6, 4), torch.randn(8, 6), loss=lambda result: critic(result).mean())
    assert critic.weight.grad is None


def test_a_model_of_inference_tensors_is_left_without_hooks():
    """Restoring goes on after a step that fails."""
    with torch.inference_mode():
        model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4))
    with pytest.raises(FaninError, match="the model failed on this batch"):
        audit(model, torch.randn(8, 6), loss=squared)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
