"""What the plan saw no values of: its module fills it, whatever it computes it from."""

import pytest
import torch
from tests.distributed.nets import SEED
from tests.distributed.worker import materialize
from torch import nn

import fanin
from fanin import FaninError
from fanin._plan._local._rebuild import rebuilt
from fanin._trace._names import tensors_of
from fanin.recipes import Keep

TOKENS = torch.zeros(2, 6, dtype=torch.int64)
PACKED = getattr(torch, "float4_e2m1fn_x2", torch.bool)
"""Two numbers in a byte, which torch calls a float; older ones do not have it."""


class Alibi(nn.Module):
    """A table multiplied in place by another one of the module."""

    def __init__(self):
        super().__init__()
        self.register_buffer("slopes", torch.empty(4))
        self.register_buffer("bias", torch.empty(4, 5, 5))
        self.reset_parameters()

    def reset_parameters(self):
        self.slopes.copy_(2.0 ** (-2 * torch.arange(1, 5)))
        steps = torch.arange(5)
        self.bias.copy_((steps[None] - steps[:, None]).expand(4, 5, 5))
        self.bias.mul_(self.slopes[:, None, None])

    def forward(self, x):
        return x + self.bias.mean()


class Rotary(nn.Module):
    """A table computed from another one, on that one's device."""

    def __init__(self):
        super().__init__()
        self.register_buffer("inverse", torch.empty(4))
        self.register_buffer("cos", torch.empty(6, 4), persistent=False)
        self.reset_parameters()

    def reset_parameters(self):
        self.inverse.copy_(100.0 ** -(torch.arange(4, device=self.inverse.device) / 4))
        self.cos.copy_((torch.arange(6)[:, None] * self.inverse).cos())

    def forward(self, x):
        return x + self.cos.mean()


class Decay(nn.Module):
    """A declared start that is a multiple of a table."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.empty(8))
        self.rate = nn.Parameter(torch.empty(8))
        self.reset_parameters()

    def reset_parameters(self):
        with torch.no_grad():
            self.scale.copy_(torch.arange(1.0, 9))
            self.rate.fill_(3).mul_(self.scale)

    def forward(self, x):
        return x * self.rate


def net():
    parts = [nn.Embedding(9, 8), Alibi(), Rotary(), Decay(), nn.BatchNorm1d(6), nn.Linear(8, 3)]
    return nn.Sequential(*parts)


def on_meta(make=net):
    with torch.device("meta"):
        return make()


def planned(model):
    return fanin.plan(model, TOKENS).replace({"3.rate": Keep("Its module declares it.")})


def require_as_built(model):
    built = net()
    found = {**dict(model.named_buffers()), "3.rate": model[3].rate}
    for name, tensor in {**dict(built.named_buffers()), "3.rate": built[3].rate}.items():
        assert torch.equal(found[name], tensor), name


def test_tables_that_are_computed_from_each_other_are_as_in_a_built_model():
    """torch leaves ``real.mul_(meta)`` undone without a word."""
    model = on_meta()
    materialize(planned(model), model)
    require_as_built(model)


class Scaled(nn.Module):
    """A table that is a multiple of another one, which the module is given."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.empty(3))
        self.register_buffer("steps", torch.empty(3))

    def reset_parameters(self):
        self.steps.copy_(torch.arange(3.0)).mul_(self.scale)

    def forward(self, x):
        return x + self.steps


def test_a_table_with_memory_counts_with_its_values_for_one_without():
    """Whoever computed it before the call meant it."""
    model = on_meta(lambda: nn.Sequential(nn.Linear(3, 3), Scaled()))
    plan = fanin.plan(model, torch.zeros(2, 3))
    with pytest.raises(FaninError, match=r"1\.scale"):
        plan.materialize(model, seed=0)
    model[1].scale = torch.tensor([5.0, 6, 7])
    materialize(plan, model)
    assert model[1].scale.tolist() == [5, 6, 7]
    assert model[1].steps.tolist() == [0, 6, 14]


class Beside(nn.Module):
    """A table in a module that owns a weight of which no machine has the memory."""

    def __init__(self, words=10**13):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(words, 4))
        self.register_buffer("steps", torch.empty(4))
        self.reset_parameters()

    def reset_parameters(self):
        self.steps.copy_(torch.arange(4.0))

    def forward(self, x):
        return nn.functional.embedding(x, self.weight) + self.steps


def test_a_table_is_filled_without_memory_for_the_weights_beside_it():
    """Only what is computed from them needs it."""
    model = on_meta(Beside)
    (target,) = [one for one in tensors_of(model) if one.local == "steps"]
    found = rebuilt(target, None)
    assert found is not None
    assert found.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", [torch.inference_mode, lambda: torch.device("meta")])
def test_the_callers_modes_do_not_reach_into_the_model(mode):
    """A start made in inference mode could not be trained; one on meta would be none."""
    model = on_meta()
    plan = planned(model)
    with mode():
        materialize(plan, model)
        assert plan.verify(model, seed=SEED).ok
    require_as_built(model)
    assert not any(tensor.is_inference() for tensor in model.state_dict(keep_vars=True).values())
    model(TOKENS).sum().backward()
    assert model[5].weight.grad is not None


def test_what_to_empty_leaves_in_a_buffer_is_no_start():
    """torch's own step after fully_shard gives memory, and nobody fills the statistics."""
    model = on_meta()
    plan = planned(model)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in model.buffers():
            tensor.fill_(7)
        model[3].rate.copy_(net()[3].rate)
    materialize(plan, model)
    require_as_built(model)


def test_a_buffer_is_kept_by_a_rule():
    """The way to say that what is there is meant."""
    model = on_meta()
    plan = planned(model).replace({"4.running_var": Keep("Loaded before.")})
    model[4].to_empty(device="cpu")
    model[4].running_var.fill_(7)
    materialize(plan, model)
    assert (model[4].running_var == 7).all()
    assert (model[4].running_mean == 0).all()


@pytest.mark.parametrize("device", ["meta", "nowhere", "cuda:77", object(), None])
def test_a_device_that_is_not_there_is_refused_first(device):
    """An error of fanin's, and the model is as it was: the same objects."""
    model = on_meta()
    plan = planned(model)
    before = model.state_dict(keep_vars=True)
    with pytest.raises(FaninError, match="device") as caught:
        plan.materialize(model, seed=0, device=device)
    assert "device=" in caught.value.where
    with pytest.raises(FaninError, match="device"):
        plan.stream(seed=0, device=device)
    assert all(before[k] is v for k, v in model.state_dict(keep_vars=True).items())


@pytest.mark.parametrize("dtype", [torch.int8, "bf16", PACKED])
def test_a_dtype_that_takes_no_floats_is_refused_first(dtype, tmp_path):
    """By the two calls that give parameters a dtype."""
    model = on_meta()
    plan = planned(model)
    before = model.state_dict(keep_vars=True)
    with pytest.raises(FaninError, match="no dtype for parameters"):
        plan.materialize(model, seed=0, dtype=dtype)
    with pytest.raises(FaninError, match="no dtype for parameters"):
        fanin.write_checkpoint(plan, model, tmp_path / "start", seed=0, dtype=dtype)
    assert all(before[k] is v for k, v in model.state_dict(keep_vars=True).items())


@pytest.mark.parametrize("seed", [2**64, -1, 0.5, "0"])
def test_a_seed_that_is_none_is_refused_before_there_is_memory(seed):
    """Afterwards the model would be another one."""
    model = on_meta()
    plan = planned(model)
    with pytest.raises(FaninError, match="seed"):
        plan.materialize(model, seed=seed)
    assert all(tensor.is_meta for tensor in model.state_dict().values())


def test_a_failed_start_leaves_the_same_parameters():
    """An optimizer may hold them."""
    model = on_meta()
    plan = planned(model).replace({"5.weight": lambda tensor, layout: 1 / 0})
    before = dict(model.named_parameters())
    with pytest.raises((FaninError, ZeroDivisionError)):
        plan.materialize(model, seed=0)
    assert all(tensor is before[name] for name, tensor in model.named_parameters())
    assert all(tensor.is_meta for tensor in model.parameters())


def test_a_lazy_layer_is_refused_by_name():
    """It has no shape yet."""
    model = nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(3))
    plan = fanin.plan(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)), torch.zeros(2, 4))
    for call in (plan.materialize, plan.verify):
        with pytest.raises(FaninError, match="lazy") as caught:
            call(model, seed=0)
        assert caught.value.where == "1.weight"


def test_a_tie_that_to_empty_undid_is_tied_again():
    """`to_empty` makes two parameters of a tied one on meta."""

    def make():
        table, head = nn.Embedding(9, 8), nn.Linear(8, 9, bias=False)
        head.weight = table.weight
        return nn.Sequential(table, head)

    plan = fanin.plan(make(), TOKENS)
    model = make()
    model[1].weight = nn.Parameter(torch.zeros(9, 8))
    materialize(plan, model)
    assert model[0].weight is model[1].weight
