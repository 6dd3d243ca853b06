"""`Plan.stream` and `Plan.param_init`: for loaders, the very tensors that `Plan.apply` writes."""

import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import fanin
from fanin import FaninError, Layout
from fanin._plan import plan_from_sites
from fanin._site import Site
from fanin.initializers import Custom, Normal, Orthogonal, kaiming_normal
from fanin.recipes import Keep


class Net(nn.Module):
    """A table with padding, a tied readout, a norm, a weight-normed layer."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 4, padding_idx=1)
        self.fc = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.normed = parametrizations.weight_norm(nn.Linear(4, 4, bias=False))
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.table.weight


def planned(model):
    """The plan as `fanin.plan` makes it, without a run: with padding rows and dtypes."""
    from fanin._plan._decide import decide
    from fanin._plan._make import facts_of
    from fanin._plan._plan import Plan
    from fanin._trace._names import tensors_of
    from fanin.recipes import Recipe

    sites = [
        Site(
            name=one.name,
            layout=fanin.layout(one.owner, one.local),
            role="norm_scale" if isinstance(one.owner, nn.LayerNorm) else "weight",
            tied=tuple(one.tied),
            stored=one.stored,
            dtype=str(one.tensors[0].dtype).removeprefix("torch."),
        )
        for one in tensors_of(model)
    ]
    recipe = Recipe(
        "test", lambda s: Normal(0.1) if s.layout.role == "bias" else kaiming_normal(), ""
    )
    return Plan(decide(sites, recipe, facts_of(model)))


def test_a_stream_gives_the_tensors_that_apply_writes():
    """One at a time, without the model: name, shape, dtype, padding row and bits."""
    model = Net()
    plan = planned(model)
    plan.apply(model, seed=3)
    given = dict(plan.stream(seed=3))
    assert given.keys() == {"table.weight", "fc.weight", "fc.bias"}
    for name, tensor in given.items():
        assert torch.equal(tensor, model.get_parameter(name))
    assert not given["table.weight"][1].any()


def test_a_loaded_plan_gives_the_same_stream():
    """The padding row is in the file: no model is needed where it is read."""
    plan = planned(Net())
    loaded = type(plan).from_json(plan.to_json())
    for (name, tensor), (its_name, other) in zip(
        plan.stream(seed=0), loaded.stream(seed=0), strict=True
    ):
        assert name == its_name
        assert torch.equal(tensor, other)


def test_what_a_stream_leaves_out_is_listed():
    """Kept and parametrized ones do not come, and nobody has to find out."""
    plan = planned(Net())
    left = {entry.name for entry in plan.left_out}
    assert left == {"norm.weight", "norm.bias", "normed.weight"}
    assert left | dict(plan.stream(seed=0)).keys() == {entry.name for entry in plan}


def test_a_model_gives_its_own_names_shapes_and_dtypes():
    """A wrapped bfloat16 model on the meta device, as loaders have it."""
    plan = planned(Net())
    model = nn.DataParallel(Net().to(torch.bfloat16).to("meta"))
    given = dict(plan.stream(model, seed=3))
    plain = {"module.table.weight", "module.fc.weight", "module.fc.bias"}
    # The move to meta has undone the tie: both places are still to be loaded, with one start.
    assert given.keys() == plain | {"module.head.weight"}
    assert torch.equal(given.pop("module.head.weight"), given["module.table.weight"])
    whole = dict(plan.stream(seed=3))
    for name, tensor in given.items():
        assert torch.equal(tensor, whole[name.removeprefix("module.")].bfloat16())


def test_a_dtype_may_be_asked_for():
    """Rounded once from the float32 draw."""
    plan = planned(Net())
    wide, narrow = dict(plan.stream(seed=0)), dict(plan.stream(seed=0, dtype=torch.float16))
    assert all(torch.equal(narrow[name], wide[name].half()) for name in wide)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fc.weight": Keep("loaded")}, None),
        ({"fc.weight": Normal(1e6)}, "do not fit the dtype"),
    ],
)
def test_whatever_is_wrong_is_raised_at_the_call(change, words):
    """Not when half of the model has been loaded."""
    plan = planned(Net()).replace(change)
    if words is None:
        assert "fc.weight" not in dict(plan.stream(seed=0))
        return
    with pytest.raises(FaninError, match=words):
        plan.stream(seed=0, dtype=torch.float16)


def test_a_gap_or_an_unknown_shape_is_raised_at_the_call():
    """The shape is the layout's; where there is none, the model tells."""
    gap = plan_from_sites([Site(name="w", layout=None)], lambda site: None)
    with pytest.raises(FaninError, match="nobody says"):
        gap.stream(seed=0)
    assert list(gap.stream(seed=0, allow_unclaimed=True)) == []
    unknown = gap.replace({"w": Normal(1)})
    with pytest.raises(FaninError, match="does not know the shape"):
        unknown.stream(seed=0)
    model = nn.ParameterDict({"w": torch.empty(2, 3, 4, device="meta")})
    assert dict(unknown.stream(model, seed=0))["w"].shape == (2, 3, 4)
    odd = plan_from_sites(
        [Site(name="w", layout=Layout((2,), "out"), dtype="nn")], lambda s: Normal(1)
    )
    with pytest.raises(FaninError, match="does not know the shape"):
        odd.stream(seed=0)


def test_functions_fill_the_parameters_of_one_module():
    """As torchtitan's `param_init` takes them: local name to a function of one tensor."""
    model = Net()
    plan = planned(model)
    plan.apply(model, seed=3)
    filling = plan.param_init("fc", seed=3)
    assert filling.keys() == {"weight", "bias"}
    for name, fill in filling.items():
        tensor = torch.empty_like(model.fc.get_parameter(name))
        assert fill(tensor) is tensor
        assert torch.equal(tensor, model.fc.get_parameter(name))
    assert not plan.param_init("table", seed=3)["weight"](torch.empty(9, 4))[1].any()
    assert plan.param_init("norm", seed=3) == {}


def test_functions_are_values():
    """They print, compare, and travel to another process."""
    plan = planned(Net())
    filling = plan.param_init("fc", seed=3)["weight"]
    assert pickle.loads(pickle.dumps(filling)) == filling  # noqa: S301
    assert repr(filling).startswith("Filling(fc.weight: w ~ N(0, s²)")
    assert filling != plan.param_init("fc", seed=4)["weight"]


def test_an_unknown_path_is_an_error_with_the_nearest():
    """A misspelt module would start by its own defaults."""
    with pytest.raises(FaninError, match="'table'"):
        planned(Net()).param_init("tabel", seed=0)
    with pytest.raises(FaninError, match="has this path"):
        planned(Net()).param_init("head", seed=0)


def noisy(tensor, layout):
    tensor.copy_(torch.randn(layout.shape))


def test_a_function_of_ones_own_streams_the_bits_that_it_applies():
    """Its random numbers are those of its stream there too."""
    model = Net()
    plan = planned(model).replace({"fc.weight": Custom(noisy), "normed.weight": Orthogonal()})
    plan.apply(model, seed=1)
    assert torch.equal(dict(plan.stream(seed=1))["fc.weight"], model.fc.weight)
    assert torch.equal(plan.param_init("fc", seed=1)["weight"](torch.empty(4, 4)), model.fc.weight)
