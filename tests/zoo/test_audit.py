"""The audit leaves every architecture bit for bit as it was, and finds healthy starts healthy."""

import importlib.util
import warnings

import pytest
import torch
from tests.zoo.compare import run
from tests.zoo.healthy import audited, warned
from tests.zoo.packages import load
from tests.zoo.picture import give_gradients_and_flags, picture
from tests.zoo.registry import ARCHITECTURES

import fanin
from fanin import audit
from fanin._trace._record import results_in

# What other people's packages warn of is theirs.
pytestmark = [pytest.mark.filterwarnings("ignore")]


def require(package):
    """Skip, visibly, where the package is not installed; fail where it is and cannot be used."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    load(package)


EVERY = [
    pytest.param(one, id=name, marks=[] if one.package == "torch" else [pytest.mark.slow])
    for name, one in ARCHITECTURES.items()
]


@pytest.fixture(scope="module", params=EVERY)
def seen(request):
    """A model with gradients, mixed flags and hooks of its own, its batch, and what it looks like.

    It is built once: each test leaves it as it was, which is what is tested.
    """
    require(request.param.package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, batch = request.param.build(), request.param.batch()
    give_gradients_and_flags(model)
    give_hooks(model)
    return model, batch, whole(model)


def give_hooks(model):
    """Hooks of the user's own, on modules and on parameters, which stay."""
    next(model.children(), model).register_forward_hook(lambda *_: None)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda gradient: gradient)
            parameter.register_post_accumulate_grad_hook(lambda _: None)


def whole(model):
    """The picture of a model, and the hooks on its parameters."""
    hooks = {}
    for name, parameter in model.named_parameters():
        after = getattr(parameter, "_post_accumulate_grad_hooks", None) or {}
        hooks[f"hooks of {name}"] = (
            list((parameter._backward_hooks or {}).values()),
            list(after.values()),
            vars(parameter).keys(),
        )
    return picture(model) | hooks


def differing(before, after):
    """The names of what is not as it was."""
    return [name for name in before | after if before.get(name) != after.get(name)]


class Stop(Exception):  # noqa: N818 - no error of the model
    """What a part fails with."""


RAISED = [Stop, KeyboardInterrupt]


def test_an_audited_model_is_as_before_bit_for_bit(seen):
    """Values, gradients, flags, buffers, attributes, hooks and generators; and the batch."""
    model, batch, before = seen
    given = [(one, one.clone()) for one in results_in(batch)]
    audit(model, batch)
    assert not differing(before, whole(model))
    assert all(torch.equal(one, kept) for one, kept in given)


@pytest.mark.parametrize("raised", RAISED)
def test_it_is_as_before_after_the_last_module_raised(seen, raised):
    """When everything else has been seen."""
    model, batch, before = seen
    calls, left = 0, None

    def count(*_):
        nonlocal calls
        calls += 1
        if calls == left:
            raise raised

    handles = [module.register_forward_pre_hook(count) for module in model.modules()]
    try:
        with fanin._observe.observing(model, training=False), torch.no_grad():
            run(model, batch)
        calls, left = 0, calls
        with pytest.raises((fanin.FaninError, KeyboardInterrupt)):
            audit(model, batch, training=False)
    finally:
        for handle in handles:
            handle.remove()
    assert not differing(before, whole(model))


@pytest.mark.parametrize("raised", RAISED)
def test_it_is_as_before_after_the_loss_raised(seen, raised):
    """When the whole forward pass has been measured."""
    model, batch, before = seen

    def failing(_result):
        raise raised

    with pytest.raises((fanin.FaninError, KeyboardInterrupt)):
        audit(model, batch, loss=failing, training=False)
    assert not differing(before, whole(model))


@pytest.mark.parametrize("raised", RAISED)
def test_it_is_as_before_after_the_backward_pass_raised(seen, raised):
    """When two parameters have their gradients and the others have not."""
    model, batch, before = seen
    left = 2

    def fail(_gradient):
        nonlocal left
        left -= 1
        if left < 0:
            raise raised

    handles = [one.register_hook(fail) for one in model.parameters() if one.requires_grad]
    try:
        if raised is KeyboardInterrupt:
            with pytest.raises(KeyboardInterrupt):
                audit(model, batch, training=False)
        else:
            report = audit(model, batch, training=False)
            assert any("the backward pass failed" in note for note in report.notes)
    finally:
        for handle in handles:
            handle.remove()
    assert not differing(before, whole(model))


WARNED = {
    "MobileViT": (
        "its package draws the scales of batch norms from N(0, 0.02), and fanin keeps norms as "
        "they are: each gives an E x² of 1/2500, and the transformers get next to no gradient"
    ),
    "GRU, both ways": (
        "read at the last step, where the backward direction has seen one input: its recurrent "
        "weight never matters"
    ),
}
"""Healthy starts of which the audit warns, and why it is right."""


def test_few_architectures_are_warned_of():
    """At most 2 %, each looked at."""
    assert len(WARNED) <= 0.02 * len(ARCHITECTURES)
    assert WARNED.keys() <= ARCHITECTURES.keys()


@pytest.mark.parametrize("architecture", EVERY)
def test_a_healthy_start_is_found_healthy(architecture):
    """fanin's default start of each architecture, on its batch, with default arguments."""
    require(architecture.package)
    found = warned(audited(architecture))
    assert bool(found) == (architecture.name in WARNED), found
