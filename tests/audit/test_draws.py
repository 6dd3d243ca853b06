"""An audit of a plan is one of the model that the plan would make, and leaves the model alone."""

import random
from statistics import median

import pytest
import torch
from tests.zoo.picture import give_gradients_and_flags, picture
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name
from torch.nn.utils.parametrizations import weight_norm

import fanin
from fanin import audit


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(11, 8), nn.Linear(8, 11)
        self.head.weight = self.table.weight
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)

    def forward(self, ids):
        return self.head(self.layer(self.table(ids)))


MODELS = {
    "a chain": (
        lambda: nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 4)),
        lambda: torch.randn(8, 6),
        lambda: torch.arange(8) % 4,
    ),
    "tied": (
        Tied,
        lambda: torch.arange(12).view(4, 3) % 11,
        lambda: torch.arange(12).view(4, 3) % 11,
    ),
    "recurrent": (
        lambda: nn.LSTM(5, 6, num_layers=2, batch_first=True),
        lambda: torch.randn(4, 7, 5),
        lambda: None,
    ),
    "weight norm": (
        lambda: nn.Sequential(weight_norm(nn.Linear(6, 9)), nn.Tanh(), nn.Linear(9, 4)),
        lambda: torch.randn(8, 6),
        lambda: torch.arange(8) % 4,
    ),
}


@pytest.fixture(params=MODELS)
def case(request):
    """A model that has run and is trained on, its batch and its target."""
    build, batch, target = MODELS[request.param]
    return build(), batch(), target()


def numbers(report):
    """All that was measured, without who drew it."""
    return report.places, report.parameters, report.loss, report.notes, report.findings


def test_the_audit_of_a_plan_is_that_of_the_model_that_it_makes(case):
    """Bit for bit: plan= shows the model the draw, apply writes it."""
    model, batch, target = case
    plan = fanin.plan(model, batch)
    shown = audit(model, batch, target=target, plan=plan, seed=3)
    plan.apply(model, seed=3)
    made = audit(model, batch, target=target)
    assert numbers(shown) == numbers(made)
    assert (shown.seed, shown.draws, shown.plan) == (3, 1, plan.checksum)
    assert (made.seed, made.draws, made.plan) == (None, 1, "")


def test_several_draws_are_the_medians_of_each_one(case):
    """Of every number, over seeds from the given one on."""
    model, batch, target = case
    plan = fanin.plan(model, batch)
    several = audit(model, batch, target=target, plan=plan, seed=5, draws=3)
    each = [audit(model, batch, target=target, plan=plan, seed=5 + i) for i in range(3)]
    assert (several.seed, several.draws) == (5, 3)
    for index, place in enumerate(several.places):
        signals = [one.places[index].signal for one in each]
        assert place.signal.second_moment == median(one.second_moment for one in signals)
        assert place.signal.variance == median(one.variance for one in signals)
        assert place.signal.gradient == median(one.gradient for one in signals)
        assert place.name == each[0].places[index].name
    for index, parameter in enumerate(several.parameters):
        drawn = [one.parameters[index] for one in each]
        assert parameter.second_moment == median(one.second_moment for one in drawn)
    assert several.loss.value == median(one.loss.value for one in each)


def test_the_model_is_bit_for_bit_as_before_after_draws(case):
    """Values, gradients, flags, buffers, hooks and generators."""
    model, batch, target = case
    plan = fanin.plan(model, batch)
    give_gradients_and_flags(model)
    before = picture(model)
    audit(model, batch, target=target, plan=plan, draws=2)
    assert picture(model) == before


def test_the_models_own_memory_is_shown_again_after_an_exception(case):
    """The second of three draws fails in the loss."""
    model, batch, _ = case
    plan = fanin.plan(model, batch)
    left = [1]

    def fails_later(result):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        found = result[0] if isinstance(result, tuple) else result
        return found.square().mean()

    give_gradients_and_flags(model)
    memory = [one.data_ptr() for one in model.parameters()]
    before = picture(model)
    with pytest.raises(KeyboardInterrupt):
        audit(model, batch, loss=fails_later, plan=plan, draws=3)
    assert picture(model) == before
    assert [one.data_ptr() for one in model.parameters()] == memory


def test_progress_is_told_after_each_draw():
    """How many are done, and of how many."""
    model, batch = nn.Linear(6, 4), torch.randn(8, 6)
    told = []
    plan = fanin.plan(model, batch)
    audit(model, batch, plan=plan, draws=3, progress=lambda *counts: told.append(counts))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_plan_that_keeps_a_parameter_shows_the_models_own():
    """Kept is kept, also in a draw."""
    model, batch = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4)), torch.randn(8, 6)
    plan = fanin.plan(model, batch).replace({"0.weight": fanin.recipes.Keep("mine")})
    report = audit(model, batch, plan=plan, seed=1)
    own = audit(model, batch)
    assert report.parameters[0] != own.parameters[2]
    assert report.parameters[0].second_moment == own.parameters[0].second_moment
    assert report.parameters[2].second_moment != own.parameters[2].second_moment


def test_draws_that_run_other_operations_are_no_median():
    """A model whose path depends on its weights: an error that says what to do."""

    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x):
            found = self.layer(x)
            return found.tanh() if self.layer.weight[0, 0] > 0 else found

    model, batch = Forked(), torch.randn(8, 6)
    plan = fanin.plan(model, batch)
    with pytest.raises(fanin.FaninError, match="other operations"):
        audit(model, batch, plan=plan, draws=12)


def test_generators_are_the_same_after_as_before_each_draw():
    """Dropout draws from torch's generator; a plan draws from none."""
    model = nn.Sequential(nn.Linear(6, 9), nn.Dropout(0.5), nn.Linear(9, 4))
    batch = torch.randn(8, 6)
    states = torch.get_rng_state(), random.getstate()
    audit(model, batch, plan=fanin.plan(model, batch), draws=2, loss=lambda y: F.mse_loss(y, y * 0))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
