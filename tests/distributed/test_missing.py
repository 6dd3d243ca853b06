"""New rows under what a checkpoint has, where the tensor is sharded.

On torch's fake process group: rank 1 of 4, which holds rows 3 to 5, and nothing is transported.
"""

import pytest
import torch
import torch.distributed as dist
from tests.distributed.worker import local
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

import fanin
from fanin import FaninError
from fanin.initializers import Custom

RANK, WORLD, WORDS, SEED = 1, 4, 11, 2
TOKENS = torch.arange(6)


@pytest.fixture(scope="module", autouse=True)
def group():
    """A world whose other ranks do not exist."""
    dist.init_process_group("fake", store=FakeStore(), rank=RANK, world_size=WORLD)
    yield
    dist.destroy_process_group()


def net():
    return nn.Sequential(
        nn.Embedding(WORDS, 8, padding_idx=WORDS - 1), nn.Linear(8, 8), nn.Linear(8, WORDS)
    )


def on_meta():
    with torch.device("meta"):
        return net()


def by_columns(model):
    mesh = init_device_mesh("cpu", (WORLD,))
    for layer in model:
        cut = distribute_tensor(layer.weight.detach(), mesh, [Shard(1)], src_data_rank=None)
        layer.weight = nn.Parameter(cut)
    return model


def part(whole, name, axis):
    return whole[name].chunk(WORLD, dim=axis if whole[name].dim() > 1 else 0)[RANK]


@pytest.mark.parametrize("stored_rows", [1, 3, 4, 5, 6, 10])
@pytest.mark.parametrize("by_hand", [False, True], ids=["drawn in parts", "drawn whole"])
def test_each_process_keeps_its_stored_rows_and_draws_its_new_ones(stored_rows, by_hand):
    """Those of one process, wherever the border between old and new lies."""
    plan = fanin.plan(net(), TOKENS)
    if by_hand:
        start = Custom(lambda tensor, layout: nn.init.normal_(tensor))
        plan = plan.replace({"0.weight": start, "2.weight": start})
    whole = net()
    stored = {
        name: tensor[:stored_rows] + 1
        for name, tensor in whole.state_dict().items()
        if not name.startswith("1")
    }
    plan.apply(whole, seed=SEED, missing_from=stored)
    model = fully_shard(on_meta())
    receipt = plan.materialize(model, seed=SEED, missing_from=stored)
    for name, parameter in model.named_parameters():
        wanted = part(whole.state_dict(), name, 0)
        assert torch.equal(local(parameter), wanted), name
    assert receipt.extended == ("0.weight", "2.weight", "2.bias")


def test_columns_of_new_rows_are_drawn():
    """The border crosses every process's part."""
    plan, whole = fanin.plan(net(), TOKENS), net()
    stored = {"0.weight": torch.ones(7, 8), "2.weight": torch.ones(7, 8), "1.bias": torch.ones(8)}
    plan.apply(whole, seed=SEED, missing_from=stored)
    model = by_columns(net())
    plan.materialize(model, seed=SEED, missing_from=stored)
    for index, layer in enumerate(model):
        wanted = part(whole.state_dict(), f"{index}.weight", 1)
        assert torch.equal(local(layer.weight), wanted)


def test_a_stage_takes_its_names_from_a_checkpoint_of_the_whole():
    """Names of other stages are not unexpected there; others are."""
    plan, whole = fanin.plan(net(), TOKENS), net()
    stored = {name: tensor + 1 for name, tensor in whole.state_dict().items()}
    stage = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, WORDS))
    names = {"0": "1", "1": "2"}
    plan.materialize(stage, seed=SEED, part=True, names=names, missing_from=stored)
    assert torch.equal(stage[0].weight, stored["1.weight"])
    assert torch.equal(stage[1].bias, stored["2.bias"])
    with pytest.raises(FaninError, match=r"9\.weight"):
        plan.materialize(
            stage, seed=SEED, part=True, names=names, missing_from=stored | {"9.weight": TOKENS}
        )


def test_a_sharded_state_dict_is_refused():
    """Its parts are those of another mesh, perhaps."""
    plan, model = fanin.plan(net(), TOKENS), by_columns(net())
    with pytest.raises(FaninError, match="sharded"):
        plan.materialize(net(), seed=SEED, missing_from=model.state_dict())


def test_a_checkpoint_of_the_stage_itself_is_not_taken_for_the_wholes():
    """Its ``0`` is the plan's ``1``: another layer's weights would be loaded in silence."""
    plan, stage = fanin.plan(net(), TOKENS), nn.Sequential(nn.Linear(8, 8), nn.Linear(8, WORDS))
    before = {name: tensor.clone() for name, tensor in stage.state_dict().items()}
    with pytest.raises(FaninError, match=r"names of this model") as caught:
        plan.materialize(
            stage, seed=SEED, part=True, names={"0": "1", "1": "2"}, missing_from=before
        )
    assert "0.weight, which is 1.weight in the plan" in caught.value.found
    assert all(torch.equal(before[name], tensor) for name, tensor in stage.state_dict().items())
