"""Together or one by one: right first, then fast."""

import time

import pytest
import torch
from tests.compare.small import dropping, examples, mlp
from torch import nn

from fanin import FaninError
from fanin._compare import _way
from fanin._compare._data import as_data
from fanin._compare._records import Member, Settings
from fanin._compare._train import Job
from fanin._compare._way import choose_way


def job(make_model=mlp, members=8, **settings):
    return Job(
        make_model=make_model,
        starts={"own": None},
        data=as_data((examples(), examples(32, 1)), size=16),
        settings=Settings(**({"steps": 50} | settings)),
        members=tuple(Member("own", 0.001 * (n + 1), 3) for n in range(members)),
    )


def slowed(monkeypatch, kind, seconds):
    """Steps of this kind take so much longer."""
    step = kind.step

    def slow(self):
        time.sleep(seconds)
        return step(self)

    monkeypatch.setattr(kind, "step", slow)


def test_the_faster_way_is_taken(monkeypatch):
    """Whichever that is on the machine at hand; by how much is said."""
    slowed(monkeypatch, _way.Single, 0.02)
    way, why, seconds = choose_way(job())
    assert way == "together"
    assert why.endswith("times as fast as one by one")
    assert 0 < seconds < 0.02
    slowed(monkeypatch, _way.Stack, 0.4)
    way, why, seconds = choose_way(job())
    assert way == "one by one"
    assert why.endswith("times as fast as together")
    assert seconds > 0.02


def test_long_steps_are_not_tried_in_a_stack(monkeypatch):
    """There is little to gain, and a stack of a large model needs its memory several times."""
    slowed(monkeypatch, _way.Single, 0.06)
    monkeypatch.setattr(_way, "Stack", None)
    way, why, _ = choose_way(job())
    assert way == "one by one"
    assert "of which a stack would save little" in why


def test_one_member_is_no_stack():
    """Nor is there anything to choose."""
    assert choose_way(job(members=1))[:2] == ("one by one", "there is one member")


def test_one_step_is_enough_to_choose():
    """Nothing is asked of the data beyond the steps of a training."""
    asked = []
    one = job(steps=1)
    batches = one.data.batches

    def watched(seed):
        batch = batches(seed)
        return lambda step: (asked.append(step), batch(step))[1]

    from dataclasses import replace

    one = replace(one, data=replace(one.data, batches=watched))
    assert choose_way(one)[0] in ("one by one", "together")
    assert set(asked) == {1}


def test_the_global_generator_is_left_alone():
    """Also by a model that draws."""
    before = torch.get_rng_state()
    choose_way(job(dropping))
    assert torch.equal(before, torch.get_rng_state())


class Remembers(nn.Module):
    """Keeps a buffer by assignment, which a stack does not see."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(6, 3)
        self.register_buffer("level", torch.zeros(()))

    def forward(self, x):
        self.level = self.level.detach() + 1
        return self.out(x) * self.level


def test_a_model_that_has_other_losses_in_a_stack_is_trained_one_by_one():
    """No error says so: the first losses are compared."""
    way, why, _ = choose_way(job(Remembers))
    assert (way, why) == ("one by one", "in a stack the model has other losses")


def test_a_model_that_fails_alone_fails_here():
    """With the member that it was."""

    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(5, 3)

        def forward(self, x):
            return self.out(x)

    with pytest.raises(FaninError, match="shapes cannot be multiplied") as caught:
        choose_way(job(Broken))
    assert caught.value.where.startswith("start own, rate 0.001, seed 3")


def test_a_way_that_is_asked_for_is_taken_however_long_it_takes(monkeypatch):
    """A comparison that is to repeat bit for bit must not hang on the load of the machine."""
    slowed(monkeypatch, _way.Stack, 0.2)
    assert choose_way(job(), "together")[:2] == ("together", "asked for")
    slowed(monkeypatch, _way.Single, 0.02)
    way, why, seconds = choose_way(job(members=2), "one by one")
    assert (way, why) == ("one by one", "asked for")
    assert seconds > 0.02


class Branching(nn.Module):
    """Asks for the sign of a number, which a stack has several of."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        y = self.out(x)
        return y if y.sum() > 0 else 2 * y


@pytest.mark.parametrize(
    ("make_model", "found"),
    [
        (dropping, "draws random numbers"),
        (Branching, "under torch.func.vmap"),
        (Remembers, "losses"),
    ],
)
def test_a_stack_that_would_give_something_else_is_refused(make_model, found):
    """Whoever asks for the way asks for the same results."""
    with pytest.raises(FaninError, match="cannot be trained as a stack") as caught:
        choose_way(job(make_model), "together")
    assert found in caught.value.found
