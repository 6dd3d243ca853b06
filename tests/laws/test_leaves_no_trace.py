"""A model that was looked at is bit for bit what it was, however the look ended."""

import pytest
import torch
from tests.laws.pictures import Careless, picture, same
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from fanin import FaninError
from fanin._observe import observing, run


def norms():
    frozen = nn.BatchNorm1d(4).eval()
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), frozen, nn.Dropout(), nn.PReLU())


MODELS = {
    "norms, one frozen": norms,
    "spectral norm": lambda: nn.Sequential(spectral_norm(nn.Linear(4, 4)), nn.Dropout()),
    "shared": lambda: nn.Sequential(*[nn.Linear(4, 4)] * 3),
    "everything a user may keep": Careless,
    "recurrent": lambda: nn.GRU(4, 4, num_layers=2, dropout=0.5),
}
BATCH = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


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
