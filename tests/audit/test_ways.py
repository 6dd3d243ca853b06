"""However a model is called, wrapped or computed again: the same numbers; and how it fails."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import fanin
from fanin import FaninError, audit


def total(result):
    """A loss whose gradient differs from entry to entry."""
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)
    return (result * weights).sum()


def chain():
    return nn.Sequential(
        nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ELU()
    )


def test_evaluation_is_used_where_a_model_cannot_train_on_the_batch():
    """Batch norm of one value per channel refuses; the report says which mode it was."""
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    report = audit(model, torch.randn(1, 6))
    assert report.mode == "evaluation"
    assert any("training" in note for note in report.notes)
    assert audit(model, torch.randn(4, 6)).mode == "training"


def test_an_audit_agrees_with_itself():
    """Nothing in it depends on what ran before."""
    model, x = chain(), torch.randn(7, 6)
    assert audit(model, x) == audit(model, x)


class Checkpointed(nn.Module):
    """Computes its middle again in the backward pass, if asked to."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.again = nn.Linear(6, 8), nn.Linear(8, 3), False
        self.middle = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(0.3))

    def forward(self, x):
        x = self.first(x)
        x = checkpoint(self.middle, x, use_reentrant=False) if self.again else self.middle(x)
        return self.last(x)


def test_activations_that_are_computed_again_are_measured_once():
    """Gradient checkpointing changes memory, and no number."""
    model, x = Checkpointed(), torch.randn(7, 6)
    plain = audit(model, x, loss=total)
    model.again = True
    again = audit(model, x, loss=total)
    assert again.places == plain.places
    assert again.parameters == plain.parameters


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_are_measured_wherever_the_audit_is_called(context):
    """An evaluation loop is a usual place for it."""
    model, x = chain(), torch.randn(7, 6)
    expected = audit(model, x, loss=total)
    with context():
        assert audit(model, x, loss=total).places == expected.places


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")]
)
def test_places_of_a_wrapped_model_have_the_names_of_the_model(wrap):
    """As its parameters have in a plan."""
    model, x = chain(), torch.randn(7, 6)
    expected = [one.name for one in audit(model, x, loss=total).places]
    assert [one.name for one in audit(wrap(model), x, loss=total).places] == expected


# Errors: what, where, what was found, the way out.


def failing(result):
    raise KeyError("labels")


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(4, 3)

    def forward(self, x):
        return self.second(self.first(x))


ERRORS = {
    "no model": (lambda: audit(lambda x: x, torch.ones(2, 3)), "not a model"),
    "meta": (lambda: audit(nn.Linear(3, 3, device="meta"), torch.ones(2, 3)), "without values"),
    "lazy": (lambda: audit(nn.LazyLinear(3), torch.ones(2, 3)), "lazy"),
    "the loss fails": (
        lambda: audit(nn.Linear(3, 3), torch.ones(2, 3), loss=failing),
        "the loss failed",
    ),
    "the loss is no scalar": (
        lambda: audit(nn.Linear(3, 3), torch.ones(2, 3), loss=lambda result: result),
        "not one number",
    ),
    "the loss is no tensor": (
        lambda: audit(nn.Linear(3, 3), torch.ones(2, 3), loss=lambda result: 1.0),
        "not one number",
    ),
    "draws without a plan": (
        lambda: audit(nn.Linear(3, 3), torch.ones(2, 3), draws=3),
        "only a plan",
    ),
    "no draws": (lambda: audit(nn.Linear(3, 3), torch.ones(2, 3), draws=0), "at least one draw"),
    "no such optimizer": (
        lambda: audit(nn.Linear(3, 3), torch.ones(2, 3), optimizer="lion"),
        "no such optimizer",
    ),
    "the model fails": (lambda: audit(Broken(), torch.ones(2, 6)), "failed on this batch"),
    "a target that fits nothing": (
        lambda: audit(nn.Linear(3, 3), torch.ones(2, 3), target=torch.ones(5)),
        "no loss can be inferred",
    ),
    "nothing that has a gradient": (
        lambda: audit(nn.Identity(), {"input": torch.ones(2, dtype=torch.int64)}),
        "gradient",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_says_what_where_what_was_found_and_the_way_out(case):
    """Four beats, none of them empty."""
    call, what = ERRORS[case]
    with pytest.raises(fanin.FaninError, match=what) as caught:
        call()
    error = caught.value
    assert all((error.what, error.where, error.found, error.fix))


def test_an_error_inside_the_model_is_the_cause_and_its_module_is_named():
    """The user's own traceback is what he has to read."""
    with pytest.raises(fanin.FaninError) as caught:
        audit(Broken(), torch.ones(2, 6))
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "second" in caught.value.where


def test_an_error_inside_the_loss_is_the_cause():
    """As for the model."""
    with pytest.raises(fanin.FaninError) as caught:
        audit(nn.Linear(3, 3), torch.ones(2, 3), loss=failing)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"plan": "steady"}, "this is not a plan"),
        ({"limits": {}}, "these are not limits"),
        ({"training": "eval"}, "this is not a mode"),
        ({"spectrum": "yes"}, "this is no yes or no"),
        ({"seed": "a"}, "this is not a seed"),
        ({"draws": 0}, "there must be at least one draw"),
        ({"draws": 1.5}, "there must be at least one draw"),
        ({"learning_rate": "0.1"}, "this is not a learning rate"),
        ({"learning_rate": -1.0}, "this is not a learning rate"),
        ({"learning_rate": float("nan")}, "this is not a learning rate"),
        ({"optimizer": "lion"}, "there is no such optimizer"),
    ],
    ids=lambda one: str(one)[:30],
)
def test_an_argument_of_the_wrong_kind_is_named(arguments, what):
    """Before anything runs."""
    with pytest.raises(FaninError, match=what):
        audit(nn.Linear(6, 4), torch.randn(8, 6), **arguments)


def test_an_empty_batch_is_an_error():
    """There is nothing to measure."""
    with pytest.raises(FaninError, match="the batch is empty"):
        audit(nn.Linear(6, 4), torch.randn(0, 6))


def test_rounding_behind_a_layer_is_no_trouble():
    """Its slope is zero nearly everywhere, as of every quantizer."""

    class Rounding(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x):
            h = self.first(x)
            return self.second(h + (h.round() - h).detach())

    assert len(audit(Rounding(), torch.randn(8, 6)).layers) == 2
