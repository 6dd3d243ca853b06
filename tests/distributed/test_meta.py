"""A model on the meta device, in one process: memory, the draws of `Plan.apply`, nothing lost."""

import pytest
import torch
from tests.distributed.nets import TOKENS, UNEVEN, Net, failing_once
from tests.distributed.worker import materialize
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrizations

import fanin
from fanin import FaninError
from fanin._plan._local._view import View
from fanin._plan._materialize import _Bare, _refuse_forgotten
from fanin.initializers import Normal
from fanin.recipes import Keep


def mlp():
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))


def image():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.PReLU(), nn.Conv2d(8, 4, 3, groups=2)
    )


def normed():
    first = parametrizations.weight_norm(nn.Linear(20, 30))
    return nn.Sequential(first, nn.ReLU(), nn.Linear(30, 5))


def double():
    return mlp().double()


NETS = {
    "perceptron": (mlp, torch.randn(8, 20)),
    "convolutions, batch norm, PReLU": (image, torch.randn(2, 3, 9, 9)),
    "tied tables, LSTM, buffers": (Net, TOKENS),
    "weight norm": (normed, torch.randn(8, 20)),
    "float64": (double, torch.randn(8, 20).double()),
}


def on_meta(make):
    with torch.device("meta"):
        return make()


def tensors(model):
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@pytest.mark.parametrize(("make", "batch"), NETS.values(), ids=NETS)
def test_a_meta_model_becomes_what_apply_makes_of_a_built_one(make, batch):
    """Bit for bit, with buffers and kept starts, and the receipt is the same."""
    built, model = make(), on_meta(make)
    plan = fanin.plan(built, batch)
    applied = plan.apply(built, seed=1)
    state = torch.get_rng_state()
    assert materialize(plan, model, seed=1) == applied
    assert torch.equal(state, torch.get_rng_state())
    wanted = tensors(built)
    assert tensors(model).keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in tensors(model).items())
    assert torch.equal(model.eval()(batch), built.eval()(batch))


@pytest.mark.parametrize("kind", [kind for kind in NETS if kind != "tied tables, LSTM, buffers"])
def test_a_plan_of_the_meta_model_itself_fills_it(kind):
    """Norms have no values to keep there: the plan fills them; buffers come from their modules."""
    make, batch = NETS[kind]
    model = on_meta(make)
    receipt = materialize(fanin.plan(model, batch), model)
    assert {stamp.state for stamp in receipt.tensors} <= {"filled", "kept"}
    assert all(tensor.isfinite().all() for tensor in tensors(model).values())


def test_a_dtype_rounds_the_draw_once_and_leaves_buffers():
    """As `apply` on a model of that dtype; running statistics stay float32."""
    built, model = image(), on_meta(image)
    plan = fanin.plan(built, torch.randn(2, 3, 9, 9))
    plan.apply(built.bfloat16(), seed=1)
    materialize(plan, model, seed=1, dtype=torch.bfloat16)
    assert all(
        torch.equal(found, wanted)
        for found, wanted in zip(model.parameters(), built.parameters(), strict=True)
    )
    assert model[1].running_var.dtype == torch.float32


def test_ties_that_the_move_to_meta_undid_are_tied_again():
    """`model.to("meta")` makes two parameters of one; the plan knows that they are one."""
    plan = fanin.plan(Net(), TOKENS)
    model = Net().to("meta")
    assert model.head.weight is not model.table.weight
    materialize(plan, model)
    assert model.head.weight is model.table.weight
    assert sum(1 for name, _ in model.named_parameters() if name == "head.weight") == 0


def test_tensors_with_memory_stay_as_they_are():
    """`to_empty` would overwrite them: here they are the same objects with the same numbers."""
    plan = fanin.plan(mlp(), torch.randn(8, 20)).replace({"2.*": Keep("loaded")})
    model = on_meta(mlp)
    model[2] = nn.Linear(30, 5)
    weight, before = model[2].weight, model[2].weight.detach().clone()
    receipt = materialize(plan, model, dtype=torch.bfloat16)
    assert model[2].weight is weight
    assert torch.equal(weight, before)
    assert receipt["2.weight"].state == "kept"
    assert model[0].weight.dtype == torch.bfloat16


def test_a_model_with_memory_is_filled_in_place():
    """What was sharded with its memory, or never was on meta, needs none."""
    plan = fanin.plan(mlp(), torch.randn(8, 20))
    model, other = mlp(), mlp()
    weight, address = model[0].weight, model[0].weight.data_ptr()
    assert materialize(plan, model, seed=2) == plan.apply(other, seed=2)
    assert model[0].weight is weight
    assert weight.data_ptr() == address


def test_marks_on_parameters_and_settings_of_modules_survive():
    """torch makes new parameters of meta ones, and forgets what was written on the old."""
    plan = fanin.plan(mlp(), torch.randn(8, 20))
    model = on_meta(mlp)
    model[0].weight.no_decay = True
    model[0].bias.requires_grad_(False)
    materialize(plan, model)
    assert model[0].weight.no_decay
    assert [one.requires_grad for one in model.parameters()] == [True, False, True, True]


class Positions(nn.Module):
    """A buffer that its module computes once, in its constructor, and a layer."""

    def __init__(self, fill=None):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("angles", torch.arange(4.0), persistent=False)
        self.fill = fill

    def forward(self, x):
        return self.fc(x + self.angles)


class Guesses(Positions):
    """Its reset draws: what it says is not what the plan kept."""

    def reset_parameters(self):
        self.angles.normal_()


class Reads(Positions):
    """Its reset reads what it should write."""

    def reset_parameters(self):
        self.angles.add_(1)


class Spends(Positions):
    """Its reset leaves traces on the module."""

    def reset_parameters(self):
        self.resets = getattr(self, "resets", 0) + 1
        self.fc.weight.zero_()
        self.angles = torch.arange(4.0)


@pytest.mark.parametrize("make", [Positions, Guesses, Reads])
def test_a_buffer_that_nobody_knows_is_named_and_the_model_stays_on_meta(make):
    """Memory that happens to hold numbers is no RoPE table."""
    plan = fanin.plan(make(), torch.randn(2, 4))
    model = on_meta(make)
    with pytest.raises(FaninError, match="angles"):
        materialize(plan, model)
    assert all(tensor.is_meta for tensor in tensors(model).values())


def test_an_unknown_buffer_that_is_allowed_is_nan_and_unclaimed():
    """For hosts that fill their buffers afterwards: what they forget is seen."""
    plan = fanin.plan(Positions(), torch.randn(2, 4))
    model = on_meta(Positions)
    receipt = materialize(plan, model, allow_unclaimed=True)
    assert model.angles.isnan().all()
    assert receipt["angles"].state == "unclaimed"
    assert receipt["fc.weight"].state == "filled"


def test_a_buffer_computed_before_is_kept():
    """The way out that the error names."""
    plan = fanin.plan(Positions(), torch.randn(2, 4))
    model = on_meta(Positions)
    model.angles = torch.arange(4.0)
    receipt = materialize(plan, model)
    assert torch.equal(model.angles, torch.arange(4.0))
    assert receipt["angles"].state == "kept"


def test_a_module_is_asked_for_its_buffer_beside_the_model():
    """Its reset runs on a twin: it writes nothing else, and leaves no trace."""
    plan = fanin.plan(Spends(), torch.randn(2, 4)).replace({"fc.*": Keep("loaded")})
    model = on_meta(Spends)
    model.fc = nn.Linear(4, 4)
    before, settings = model.fc.weight.detach().clone(), set(vars(model))
    materialize(plan, model)
    assert torch.equal(model.angles, torch.arange(4.0))
    assert torch.equal(model.fc.weight, before)
    assert set(vars(model)) == settings


def test_a_start_that_the_plan_saw_goes_before_what_the_module_resets_to():
    """A last norm scale set to zero after the construction is zero here too."""
    built = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    nn.init.zeros_(built[1].weight)
    plan = fanin.plan(built, torch.randn(2, 4))
    model = on_meta(lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)))
    assert plan["1.weight"].state == "kept"
    materialize(plan, model)
    assert not model[1].weight.any()


def test_a_kept_start_that_the_module_resets_to_something_else_is_refused():
    """The plan saw 0.5 and the module's reset gives 1."""
    built = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    nn.init.constant_(built[1].weight, 0.5)
    plan = fanin.plan(built, torch.randn(2, 4))
    model = on_meta(lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)))
    with pytest.raises(FaninError, match=r"1\.weight"):
        materialize(plan, model)


def test_after_a_failure_the_model_is_on_meta_as_before():
    """Ties that were undone are undone again; the next call does all of it."""
    plan = fanin.plan(Net(), TOKENS).replace({"own.weight": failing_once()})
    model = Net().to("meta")
    with pytest.raises(FaninError, match=r"own\.weight"):
        materialize(plan, model, dtype=torch.float16)
    assert all(tensor.is_meta for tensor in tensors(model).values())
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert model.head.weight is not model.table.weight
    materialize(plan, model)
    assert (model.own.weight == 0.5).all()


def test_what_cannot_be_done_is_refused_first():
    """No seed, a dtype of whole numbers, fake tensors, a gradient without values."""
    plan = fanin.plan(mlp(), torch.randn(8, 20))
    model = on_meta(mlp)
    with pytest.raises(FaninError, match="same seed"):
        materialize(plan, model, seed=None)
    with pytest.raises(FaninError, match="dtype"):
        materialize(plan, model, dtype=torch.int32)
    with FakeTensorMode():
        fake = mlp()
    with pytest.raises(FaninError, match="fake tensor"):
        materialize(plan, fake)
    model(torch.ones(2, 20, device="meta")).sum().backward()
    with pytest.raises(FaninError, match="gradient"):
        materialize(plan, model)
    model.zero_grad()
    with pytest.raises(FaninError, match="become zero"):
        materialize(plan.replace({"0.weight": Normal(1e-9)}), model, dtype=torch.float16)
    assert all(tensor.is_meta for tensor in tensors(model).values())


def test_memory_that_nobody_fills_is_an_error_that_names_it():
    """The last net: whatever was given memory must be planned or rebuilt."""
    model = mlp()
    with pytest.raises(FaninError, match=r"2\.bias"):
        _refuse_forgotten(View(model), [model[2].bias], [], _Bare({}))


@pytest.mark.parametrize("swap", [False, True])
def test_ties_and_objects_hold_with_torchs_swapping(swap):
    """With `set_swap_module_params_on_conversion` parameters stay the same objects."""
    plan = fanin.plan(Net(**UNEVEN), TOKENS)
    model = on_meta(lambda: Net(**UNEVEN))
    before = model.table.weight
    torch.__future__.set_swap_module_params_on_conversion(swap)
    try:
        materialize(plan, model)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    assert model.head.weight is model.table.weight
    assert (model.table.weight is before) is swap
