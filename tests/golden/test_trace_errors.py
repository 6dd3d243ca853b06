"""What a trace says when it cannot be made, word for word."""

import pytest
import torch
from tests.oracles.trace_models import Model, rows
from torch import nn

from fanin import FaninError, trace


def refusal(model, batch):
    with pytest.raises(FaninError) as caught:
        trace(model, batch)
    return str(caught.value)


def net():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def test_a_batch_of_the_wrong_shape():
    """Which module failed, with what torch said."""
    assert refusal(net(), rows(3, 5)) == (
        "the model failed on this batch\n"
        "  where: Sequential, in '0'\n"
        "  found: RuntimeError: mat1 and mat2 shapes cannot be multiplied (3x5 and 6x8); "
        "the batch was float32 3x5\n"
        "  fix:   give what the model is called with: a tensor, a tuple (not a list) of "
        "positional arguments, or a mapping of keyword arguments; a mapping that is one argument: "
        "(batch,)"
    )


def test_an_argument_that_the_model_does_not_know():
    """The model itself failed, so no module is named."""
    assert refusal(net(), {"x": rows(3, 6)}) == (
        "the model failed on this batch\n"
        "  where: Sequential\n"
        "  found: TypeError: Sequential.forward() got an unexpected keyword argument 'x'; "
        "the batch was {x: float32 3x6}\n"
        "  fix:   give what the model is called with: a tensor, a tuple (not a list) of "
        "positional arguments, or a mapping of keyword arguments; a mapping that is one argument: "
        "(batch,)"
    )


def test_a_failure_deep_inside_names_the_module():
    """The innermost one that was running."""

    def fail(m, x):
        raise ValueError("no such thing\nmore lines")

    outer = nn.Sequential(nn.Linear(6, 6), nn.ModuleDict({"deep": nn.Identity()}))
    outer[1] = Model(lambda m, x: m.deep(x), deep=Model(fail))
    assert refusal(outer, rows(3, 6)).splitlines()[1:3] == [
        "  where: Sequential, in '1.deep'",
        "  found: ValueError: no such thing; the batch was float32 3x6",
    ]


def test_a_model_on_meta_that_reads_values():
    """A way out that works: a small one, and the plan by name."""
    with torch.device("meta"):
        model = Model(
            lambda m, x: m.b(x) if m.a(x).sum() > 0 else x, a=nn.Linear(6, 6), b=nn.Linear(6, 6)
        )
    text = refusal(model, rows(3, 6)).splitlines()
    assert text[:2] == ["the model cannot run without data", "  where: Model"]
    assert text[2].startswith("  found: RuntimeError: ")
    assert text[3] == (
        "  fix:   it reads values of tensors, or runs what has no meta form: trace a small model "
        "of the same architecture on real data, and apply the plan by name"
    )


def test_a_lazy_model():
    """Its first run would shape it."""
    assert refusal(nn.Sequential(nn.LazyLinear(3)), rows(3, 6)) == (
        "a lazy parameter would get its shape from this run\n"
        "  where: Sequential\n"
        "  found: 0.weight, 0.bias\n"
        "  fix:   run the model once on a batch first"
    )


def test_a_model_that_changes_its_own_parameters():
    """The one thing that is not undone, so it is said."""

    def run(m, x):
        with torch.no_grad():
            m.a.weight.mul_(0.9)
        return m.a(x)

    assert refusal(Model(run, a=nn.Linear(6, 3)), rows(3, 6)) == (
        "the model changes its own parameters when it runs\n"
        "  where: Model\n"
        "  found: a.weight\n"
        "  fix:   run it in eval mode if that stops it, or look at a copy of the model"
    )


def test_a_name_that_the_model_does_not_have():
    """The nearest ones are offered."""
    found = trace(net(), rows(3, 6))
    with pytest.raises(FaninError) as caught:
        found["0.wieght"]
    assert str(caught.value) == (
        "there is no such parameter\n"
        "  where: the trace of Sequential\n"
        "  found: '0.wieght'\n"
        "  fix:   use one of: 0.weight, 2.weight, 0.bias, 2.bias"
    )


def test_the_cause_is_kept():
    """A traceback shows where in the model it happened."""
    with pytest.raises(FaninError) as caught:
        trace(net(), rows(3, 5))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_what_is_no_model_is_refused():
    """A function, a class or a state dict has no parameters to look at."""
    for wrong in (lambda x: x, nn.Linear, net().state_dict()):
        with pytest.raises(FaninError, match="not a model"):
            trace(wrong, rows(3, 6))
