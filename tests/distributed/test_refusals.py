"""What is not known to be right is refused, and the sharded model stays as it was.

On torch's fake process group: rank 1 of 4, and nothing is transported.
"""

import pytest
import torch
import torch.distributed as dist
from tests.distributed.nets import SEED, by_hand, failing_once
from tests.distributed.worker import local, materialize
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from torch.distributed.tensor.placement_types import _StridedShard
from torch.nn.utils import parametrizations
from torch.testing._internal.distributed.fake_pg import FakeStore

import fanin
from fanin import FaninError
from fanin._plan._local._shards import held
from fanin.initializers import Custom

RANK, WORLD = 1, 4


@pytest.fixture(scope="module", autouse=True)
def group():
    """A world whose other ranks do not exist."""
    dist.init_process_group("fake", store=FakeStore(), rank=RANK, world_size=WORLD)
    yield
    dist.destroy_process_group()


def mesh(*shape):
    return init_device_mesh("cpu", shape, mesh_dim_names=("outer", "inner")[: len(shape)])


def net(width=8):
    return nn.Sequential(nn.Linear(width, 12), nn.ReLU(), nn.Linear(12, width))


def on_meta(make):
    with torch.device("meta"):
        return make()


def planned(make=net, width=8):
    return fanin.plan(make(), torch.randn(3, width))


def cut(shape, placements, on, full):
    stride = torch.empty(full).stride()
    local_part = torch.zeros(shape)
    return DTensor.from_local(
        local_part, on, placements, run_check=False, shape=torch.Size(full), stride=stride
    )


def test_a_partial_sum_is_refused():
    """Its local values are summands: a draw in each would be the wrong sum."""
    tensor = cut((8, 4), [Partial()], mesh(4), (8, 4))
    with pytest.raises(FaninError, match="only sharded and replicated"):
        held(tensor, "weight", by_fsdp=False)


def test_a_shard_of_another_shape_than_its_record_is_refused():
    """The record says two rows, and three are held."""
    tensor = cut((3, 4), [Shard(0)], mesh(4), (8, 4))
    with pytest.raises(FaninError, match="another shape"):
        held(tensor, "weight", by_fsdp=False)


@pytest.mark.parametrize(
    ("rows", "factor", "by_fsdp"), [(9, 2, False), (8, 4, True)], ids=["uneven", "another order"]
)
def test_a_strided_shard_whose_order_is_not_known_is_refused(rows, factor, by_fsdp):
    """torch cuts an uneven one by hand in other places than FSDP does."""
    on = mesh(2, 2)
    tensor = cut((2, 4), [_StridedShard(0, split_factor=factor), Shard(0)], on, (rows, 4))
    with pytest.raises(FaninError, match="how this tensor was cut"):
        held(tensor, "weight", by_fsdp=by_fsdp)


def test_an_even_strided_shard_by_hand_is_known():
    """Rank (0, 1) of 2 x 2: the second half by the inner cut, and its first half by the outer."""
    tensor = cut((2, 4), [_StridedShard(0, split_factor=2), Shard(0)], mesh(2, 2), (8, 4))
    region = held(tensor, "weight", by_fsdp=False)
    assert (region.start, region.count) == ((4, 0), (2, 4))


def test_a_rank_outside_of_the_mesh_draws_nothing():
    """It holds no part."""
    away = dist.device_mesh.DeviceMesh("cpu", [0, 2, 3], _init_backend=False)
    tensor = cut((0,), [Shard(0)], away, (8, 4))
    assert held(tensor, "weight", by_fsdp=False).count == (0, 0)


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.filterwarnings("ignore:DTensor random operators")  # torch 2.6, on any CPU mesh
def test_a_sharded_norm_that_a_hook_computes_is_refused_by_name():
    """torch's older weight norm computes the weight from the parts, which here are shards."""
    make = lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(8, 8)))
    plan, model = planned(make), make()
    cut_both = [distribute_tensor(one.detach(), mesh(4), [Shard(0)]) for one in kept(model)]
    model[0].weight_g, model[0].weight_v = map(nn.Parameter, cut_both)
    with pytest.raises(FaninError, match=r"(?s)parametrized in this way.*0\.weight"):
        materialize(plan, model)


def kept(model):
    return model[0].weight_g, model[0].weight_v


def test_a_sharded_spectral_norm_is_drawn_as_the_whole_one():
    """Its estimate of the largest singular value is made of the whole weight, in each process."""
    make = lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(8, 8)))
    torch.manual_seed(0)
    whole, plan = make(), planned(make)
    torch.manual_seed(0)
    model = fully_shard(make())
    plan.apply(whole, seed=SEED)
    materialize(plan, model)
    names = {name for name, _ in model.named_buffers()}
    assert len(names) == 2
    for name in names:
        assert torch.equal(local(model.get_buffer(name)), whole.get_buffer(name))
    for name, parameter in model.named_parameters():
        assert torch.equal(local(parameter), whole.get_parameter(name).chunk(WORLD)[RANK])


def fsdp1(model, **more):
    return FullyShardedDataParallel(model, device_id=torch.device("cpu"), **more)


@pytest.mark.parametrize("use_orig_params", [True, False])
def test_a_parametrization_under_fsdp1_is_refused_by_name(use_orig_params):
    """Its tensors are pieces of one flat parameter."""
    make = lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 8)))
    plan, model = planned(make), fsdp1(make(), use_orig_params=use_orig_params)
    with pytest.raises(FaninError, match=r"0\.parametrizations\.weight"):
        materialize(plan, model)
    with pytest.raises(FaninError, match="nor compared"):
        plan.verify(model, seed=SEED)


@pytest.mark.parametrize("use_orig_params", [True, False])
def test_a_model_that_fsdp1_holds_whole_at_the_moment_is_refused(use_orig_params):
    """What is written to the gathered weights would be lost, or be stale."""
    plan, model = planned(), fsdp1(net(), use_orig_params=use_orig_params)
    with (
        FullyShardedDataParallel.summon_full_params(model),
        pytest.raises(FaninError, match="at the moment"),
    ):
        materialize(plan, model)


def test_a_tie_that_fsdp1_undid_is_refused():
    """FSDP1 holds each unit's parameters in a memory of its own."""
    plan, model = planned(Tied), Tied()
    model.second.weight = nn.Parameter(model.first.weight.detach().clone())
    with pytest.raises(FaninError, match="ties differ"):
        materialize(plan, fsdp1(model, use_orig_params=True))


def test_a_record_of_fsdp1_that_is_not_what_it_holds_is_refused():
    """Its attributes are torch's own business, and may change."""
    plan, model = planned(), fsdp1(net(), use_orig_params=True)
    flat = model._handle.flat_param
    first = next(one for one in flat._shard_param_infos if one.in_shard)
    moved = first._replace(offset_in_shard=first.offset_in_shard + 1)
    flat._shard_param_infos = tuple(
        moved if one is first else one for one in flat._shard_param_infos
    )
    with pytest.raises(FaninError, match="on record"):
        materialize(plan, model)


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def test_a_tie_that_was_lost_before_fsdp_is_refused():
    """FSDP holds both already: tying the modules' parameters would not tie what it gathers."""
    plan, model = planned(Tied), Tied().to("meta")
    with pytest.raises(FaninError, match="ties differ"):
        materialize(plan, fully_shard(model))


@pytest.mark.filterwarnings("ignore:DTensor random operators")  # torch 2.6, on any CPU mesh
def test_tied_parts_that_are_cut_alike_are_tied_again():
    """`parallelize_module` makes two parameters of one."""
    plan, model = planned(Tied), on_meta(Tied)
    ways = {"first": ColwiseParallel(), "second": ColwiseParallel()}
    parallelize_module(model, mesh(4), ways)
    assert model.first.weight is not model.second.weight
    materialize(plan, model)
    assert model.first.weight is model.second.weight


def test_after_a_failure_a_sharded_model_is_on_meta_and_can_be_filled():
    """FSDP's own record of its shards goes back and forth, too."""
    plan = planned().replace({"2.weight": failing_once()})
    whole, model = net(), fully_shard(on_meta(net))
    with pytest.raises(FaninError, match=r"2\.weight"):
        materialize(plan, model, seed=1)
    assert all(local(one).is_meta for one in model.parameters())
    materialize(plan, model, seed=1)
    plan.apply(whole, seed=1)
    assert torch.equal(local(model[0].weight), whole[0].weight[3:6])
    assert (local(model[2].weight) == 0.5).all()


def test_a_model_that_fsdp_holds_whole_at_the_moment_is_filled_in_its_shards():
    """After a forward pass without resharding the modules show gathered weights."""
    plan, whole = planned(), net()
    model = fully_shard(on_meta(net), reshard_after_forward=False)
    materialize(plan, model, seed=1)
    try:
        model(torch.randn(3, 8))
    except AttributeError:
        pytest.skip(f"FSDP of torch {torch.__version__} does not run on a CPU")
    receipt = materialize(plan, model, seed=2)
    plan.apply(whole, seed=2)
    for name, parameter in model.named_parameters():
        rows = whole.get_parameter(name).chunk(WORLD)[RANK]
        assert torch.equal(local(parameter), rows)
    assert {stamp.state for stamp in receipt.tensors} == {"filled"}


def test_a_padding_row_is_zero_only_where_it_is_held():
    """Row 3 of 8 is the second of rank 1's two."""
    make = lambda: nn.Sequential(nn.Embedding(8, 4, padding_idx=3))
    plan = fanin.plan(make(), torch.arange(6))
    model = fully_shard(on_meta(make))
    materialize(plan, model)
    rows = local(model[0].weight)
    assert not rows[1].any()
    assert rows[0].any()


def test_what_another_process_holds_is_said_to_be_elsewhere():
    """A tensor of which nothing is here proves nothing, whatever the seed."""
    model = fully_shard(nn.Linear(6, 1, bias=False))
    plan = fanin.plan(nn.Linear(6, 1, bias=False), torch.ones(2, 6))
    plan.materialize(model, seed=SEED)
    for seed in (SEED, SEED + 1):
        found = plan.verify(model, seed=seed)
        assert [one.state for one in found.tensors] == ["elsewhere"]
        assert found.ok
        assert "holds nothing of the planned start: 1 elsewhere" in str(found)
        stored = plan.verify(model.state_dict(), seed=seed)
        assert [one.state for one in stored.tensors] == ["elsewhere"]


def test_replicated_and_plain_tensors_are_drawn_whole():
    """As in data parallel training."""
    plan, whole, model = planned(), net(), on_meta(net)
    on = mesh(4)
    part = DTensor.from_local(model[0].weight.detach(), on, [Replicate()], run_check=False)
    model[0].weight = nn.Parameter(part)
    materialize(plan, model, seed=1)
    plan.apply(whole, seed=1)
    for name, parameter in model.named_parameters():
        assert torch.equal(local(parameter), whole.get_parameter(name))


def test_functions_for_one_parameter_fill_what_is_held_of_it():
    """As torchtitan's `init_states` calls them after `fully_shard`; user functions too."""
    make = lambda: nn.Sequential(nn.Embedding(8, 8, padding_idx=3), nn.Linear(8, 12))
    plan = fanin.plan(make(), torch.arange(6)).replace({"1.bias": Custom(by_hand)})
    whole, model = make(), fully_shard(on_meta(make))
    plan.apply(whole, seed=SEED)
    model.to_empty(device="cpu")
    for path in ("0", "1"):
        for name, fill in plan.param_init(path, seed=SEED).items():
            with torch.no_grad():
                fill(getattr(model[int(path)], name))
    for name, parameter in model.named_parameters():
        rows = whole.get_parameter(name).chunk(WORLD)[RANK]
        assert torch.equal(local(parameter), rows), name


def test_a_function_for_a_parameter_whose_cut_it_cannot_know_refuses():
    """FSDP over tensor parallelism, uneven: the tensor does not say who cut it."""
    tensor = cut((2, 8), [_StridedShard(0, split_factor=2), Shard(0)], mesh(2, 2), (9, 8))
    fill = fanin.plan(nn.Sequential(nn.Linear(8, 9)), torch.randn(2, 8)).param_init("0", seed=1)
    with pytest.raises(FaninError, match="how this tensor was cut"):
        fill["weight"](tensor)
