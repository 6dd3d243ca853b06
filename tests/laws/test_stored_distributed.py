"""Checkpoints of torch.distributed.checkpoint as a source: verified and completed."""

import gc
import warnings
import weakref

import pytest
import torch
import torch.distributed.checkpoint as dcp
from tests.distributed.nets import TOKENS, Net
from torch import nn

import fanin
from fanin import FaninError
from fanin._plan._stored._distributed import Distributed

SEED = 4


def net():
    return nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 20), nn.Linear(20, 20))


def planned():
    return fanin.plan(net(), torch.ones(2, 12), recipe=fanin.recipes.kaiming)


def saved(folder, state):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no process group
        dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder


@pytest.fixture
def started(tmp_path):
    model = net()
    planned().apply(model, seed=SEED)
    return saved(tmp_path / "start", model.state_dict())


def test_a_start_in_this_format_is_verified(started):
    """As any other; another seed is another start."""
    plan = planned()
    assert plan.verify(started, seed=SEED).ok
    different = {one.name for one in plan.verify(str(started), seed=0).different}
    assert different == {"0.weight", "2.weight", "3.weight"}


def test_one_number_that_differs_is_found(tmp_path):
    """By name and place."""
    model, plan = net(), planned()
    plan.apply(model, seed=SEED)
    with torch.no_grad():
        model[2].weight[3, 5] += 1e-7
    (one,) = plan.verify(saved(tmp_path / "other", model.state_dict()), seed=SEED).different
    assert (one.name, one.differing, one.first) == ("2.weight", 1, (3, 5))


def test_tied_tensors_and_buffers_are_verified(tmp_path):
    """Each is stored under all its names."""
    model = Net()
    plan = fanin.plan(model, TOKENS)
    plan.apply(model, seed=SEED)
    assert plan.verify(saved(tmp_path / "net", model.state_dict()), seed=SEED).ok


def test_one_tensor_is_in_memory_at_a_time(started, monkeypatch):
    """The format is for models that no process has room for."""
    read, most = [], []
    get = Distributed.__getitem__

    def counted(self, name):
        gc.collect()
        most.append(sum(one() is not None for one in read))
        tensor = get(self, name)
        read.append(weakref.ref(tensor))
        return tensor

    monkeypatch.setattr(Distributed, "__getitem__", counted)
    assert planned().verify(started, seed=SEED).ok
    assert len(read) == 6
    assert max(most) <= 1


def test_what_it_has_is_loaded_and_the_rest_is_drawn(tmp_path):
    """With the numbers of a whole start."""
    model, plan = net(), planned()
    plan.apply(model, seed=SEED)
    whole = model.state_dict()
    some = {name: tensor + 1 for name, tensor in whole.items() if name.startswith("2.")}
    with torch.device("meta"):
        model = net()
    receipt = plan.materialize(
        model, seed=SEED, missing_from=saved(tmp_path / "some", some | {"step": 7})
    )
    assert receipt.loaded == ("2.weight", "2.bias")
    assert all(
        torch.equal(tensor, some.get(name, whole[name]))
        for name, tensor in model.state_dict().items()
    )


@pytest.mark.parametrize("wrap", [lambda part: part, lambda part: {"app": part}])
def test_of_a_training_the_model_is_taken(wrap, tmp_path):
    """As of a file of a training: names in a folder cannot be changed."""
    model, plan = net(), planned()
    plan.apply(model, seed=SEED)
    training = {"model": model.state_dict(), "step": 3, "optimizer": {"a": torch.zeros(2)}}
    assert plan.verify(saved(tmp_path / "training", wrap(training)), seed=SEED).ok


def test_a_model_whose_names_begin_with_model_is_whole(tmp_path):
    """As transformers has them: `model.` is no part of a training there."""
    model = nn.Module()
    model.model, model.head = nn.Linear(12, 20), nn.Linear(20, 5)
    state = model.state_dict()
    assert set(Distributed(saved(tmp_path / "model", state))) == set(state)


@pytest.mark.parametrize("file", [".metadata", "__0_0.distcp"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_one_is_an_error_that_names_it(started, file, share):
    """Whatever torch raises."""
    path = started / file
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(FaninError, match="cannot be read") as caught:
        planned().verify(started, seed=SEED)
    assert str(started) in caught.value.where
