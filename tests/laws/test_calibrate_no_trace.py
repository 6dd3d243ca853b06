"""A calibration measures a model and changes nothing of it, however it ends."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import fanin
from fanin import FaninError, recipes
from fanin._text import number

INPUTS = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))


class Ending(nn.Module):
    """Ends as it is told, in the middle of its run."""

    ending = None

    def forward(self, x):
        if self.ending is not None:
            raise self.ending
        return x


def plain():
    return nn.Sequential(nn.Linear(8, 8), Ending(), nn.Dropout(), nn.Linear(8, 8))


def norms():
    frozen = nn.BatchNorm1d(8).eval()
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), Ending(), frozen, nn.Linear(8, 8))


def parametrized():
    return nn.Sequential(weight_norm(nn.Linear(8, 8)), Ending(), spectral_norm(nn.Linear(8, 8)))


def shared():
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.ReLU(), Ending(), layer)


def tied_by_memory():
    model = nn.Sequential(nn.Linear(8, 8, bias=False), Ending(), nn.Linear(8, 8, bias=False))
    model[2].weight.data = model[0].weight.data
    return model


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.end, self.rnn = Ending(), nn.LSTM(8, 8, num_layers=2, dropout=0.5)

    def forward(self, x):
        return self.end(self.rnn(x)[0])


MODELS = {one.__name__: one for one in (plain, norms, parametrized, shared, tied_by_memory, Steps)}


def picture(model):
    """Every tensor by object, memory and values, modes, hooks, attributes, generators.

    What a parameter counts as writes is compared too; of a buffer that changed in the run the
    values were put back, which is a write.
    """
    tensors = [
        (id(t), t.data_ptr(), t.stride(), t.requires_grad, id(t.grad))
        for t in [*model.parameters(), *model.buffers()]
    ]
    tensors += [parameter._version for parameter in model.parameters()]
    values = {name: tensor.tolist() for name, tensor in model.state_dict().items()}
    modules = [
        (name, [(key, id(value)) for key, value in vars(module).items()])
        for name, module in model.named_modules()
    ]
    modules += [
        (module.training, len(module._forward_hooks), len(module._forward_pre_hooks))
        for module in model.modules()
    ]
    return tensors, values, modules, torch.get_rng_state().tolist()


@pytest.mark.parametrize("ending", [None, RuntimeError("no"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_the_model_is_bit_for_bit_as_before(make, training, ending):
    """Parameters show copies while it runs; also an exception and Ctrl-C bring theirs back."""
    model = make()
    plan = fanin.plan(model, INPUTS, recipe=recipes.lsuv)
    (end,) = (module for module in model.modules() if isinstance(module, Ending))
    end.ending = ending
    before = picture(model)
    if ending is None:
        plan.calibrate(model, INPUTS, training=training)
    else:
        expected = FaninError if isinstance(ending, Exception) else type(ending)
        with pytest.raises(expected):
            plan.calibrate(model, INPUTS, training=training)
    assert picture(model) == before


def test_the_test_above_can_fail():
    """A run by itself shows: of generators, buffers, gradients."""
    for make in (plain, norms, parametrized):
        model = make().train()
        before = picture(model)
        model(INPUTS).sum().backward()
        assert picture(model) != before


def test_a_backward_pass_that_is_still_to_come_is_not_disturbed():
    """The memory that it remembers is neither written nor exchanged."""
    model = plain().eval()
    plan = fanin.plan(model, INPUTS, recipe=recipes.lsuv)
    model(INPUTS).sum().backward()
    expected = model[0].weight.grad.clone()
    model.zero_grad()
    loss = model(INPUTS).sum()
    plan.calibrate(model, INPUTS)
    loss.backward()
    assert torch.equal(model[0].weight.grad, expected)


def test_models_that_are_tied_by_memory_alone_are_calibrated_as_tied():
    """Both parameters show the one copy; else the second would run on the old weights."""
    model = tied_by_memory()
    plan = fanin.plan(model, INPUTS, recipe=recipes.lsuv).calibrate(model, INPUTS)
    plan.apply(model, seed=0)
    with torch.no_grad():
        std = float(model(INPUTS).std(correction=0))
    assert f"at the other 1 the std is {number(std)}" in plan["0.weight"].why


def test_a_model_that_catches_everything_is_still_told_on():
    """What is not finite ends the calibration, though the model goes on."""

    class Careless(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x):
            try:
                return self.layer(x / 0)
            except ValueError:
                return x

    model = Careless()
    plan = fanin.plan(model, INPUTS, recipe=recipes.lsuv)
    with pytest.raises(FaninError, match="not finite") as caught:
        plan.calibrate(model, INPUTS)
    assert caught.value.where.startswith("layer.weight")


def test_a_plan_that_is_calibrated_is_another_value():
    """Plans do not change."""
    model = plain()
    plan = fanin.plan(model, INPUTS, recipe=recipes.lsuv)
    before = plan.to_json()
    assert plan.calibrate(model, INPUTS) != plan
    assert plan.to_json() == before
