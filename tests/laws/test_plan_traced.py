"""From a model and a batch to its start, through the trace: what users call."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from fanin import FaninError
from fanin._plan import Plan, initialize, plan
from fanin.initializers import Constant, Normal, Zeros
from fanin.recipes import Recipe, gpt2, kaiming, lsuv


class Block(nn.Module):
    """One pre-norm block of a GPT, as those who write it by hand do."""

    def __init__(self, width, *, scale=False):
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.between = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 1e-5)) if scale else 1.0

    def forward(self, x):
        h = self.before(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.gamma * self.down(functional.gelu(self.up(self.between(x))))


class Net(nn.Module):
    """A small language model with all that is special about starts."""

    def __init__(self, blocks=("a", "b", "c"), width=16, words=50):
        super().__init__()
        self.words = nn.Embedding(words, width, padding_idx=0)
        self.places = nn.Parameter(torch.randn(8, width) * 0.02)
        self.blocks = nn.ModuleDict({name: Block(width, scale=name == "c") for name in blocks})
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight
        self.register_buffer("angles", torch.arange(8.0))

    def forward(self, tokens):
        x = self.words(tokens) + self.places
        for block in self.blocks.values():
            x = block(x)
        return self.head(self.norm(x))


TOKENS = torch.randint(1, 50, (2, 8), generator=torch.Generator().manual_seed(0))


def bits(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_one_line_starts_a_model():
    """Every tensor is accounted for, special starts survive, and the first pass is finite."""
    model = Net()
    before = bits(model)
    done = initialize(model, TOKENS, recipe=gpt2, seed=0)
    names = {name for name, _ in model.named_parameters()} | {"angles"}
    assert {entry.name for entry in done} == names
    assert done.coverage().ok
    assert done.receipt.seed == 0
    assert {stamp.name for stamp in done.receipt.tensors} == names
    kept = ("places", "blocks.c.gamma", "norm.weight", "angles")
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in kept)
    assert all(done[name].by == "kept start" for name in kept)
    assert not model.words.weight[0].any()
    assert model.head.weight is model.words.weight
    assert torch.isfinite(model(TOKENS)).all()


def test_planning_changes_nothing():
    """Looking at a model leaves it as it was, and draws nothing."""
    model = Net()
    before, state = bits(model), torch.get_rng_state()
    found = plan(model, TOKENS, recipe=gpt2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert found.receipt is None
    assert found.model == "Net"


def test_the_roles_of_the_trace_are_keys_of_rules():
    """In a GPT the residual writers are the attention's output and the down projection."""
    found = plan(Net(("a", "b")), TOKENS, recipe=gpt2).replace({"role:residual_out": Zeros})
    ruled = {entry.name for entry in found if entry.by == "rule"}
    local = ("attention.out_proj.weight", "down.weight")
    assert ruled == {f"blocks.{name}.{one}" for name in "ab" for one in local}


@pytest.mark.parametrize("blocks", ["ab", "cba", "abcd"])
def test_same_named_parameters_start_alike_in_other_models(blocks):
    """Blocks removed, reordered and inserted: where the numbers are equal, so are the bits."""
    recipe = Recipe("flat", lambda site: Normal(0.02) if site.layout else None, "N(0, 0.02²)")
    model, other = Net("abc"), Net(blocks)
    initialize(model, TOKENS, recipe=recipe, seed=0)
    found = initialize(other, TOKENS, recipe=recipe, seed=0)
    one, two = model.state_dict(), other.state_dict()
    drawn = [entry.name for entry in found if entry.state == "filled" and entry.name in one]
    assert len(drawn) > 10
    assert all(torch.equal(one[name], two[name]) for name in drawn)


def test_a_parameter_that_nobody_filled_is_shouted():
    """Seeded: `torch.empty` in a constructor, which is raw memory."""
    model = Net()
    model.places = nn.Parameter(torch.full((8, 16), torch.nan))
    found = plan(model, TOKENS, recipe=gpt2)
    assert [entry.name for entry in found.unclaimed] == ["places"]
    assert "UNCLAIMED" in str(found)
    before = bits(model)
    with pytest.raises(FaninError, match="places"):
        initialize(model, TOKENS, recipe=gpt2, seed=0)
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name != "places")
    done = found.replace({"places": Normal(0.02)})
    done.apply(model, seed=0)
    assert torch.isfinite(model.places).all()


def test_a_meta_model_is_planned_and_its_plan_fills_a_real_one():
    """The buffer is kept, norms start as norms do, and what was made by hand is unclaimed."""
    found = plan(Net().to("meta"), TOKENS.to("meta"), recipe=gpt2)
    assert {entry.name for entry in found.unclaimed} == {"places", "blocks.c.gamma"}
    assert found["norm.weight"].initializer == Constant(1)
    done = found.replace({"places": 0, "*.gamma": 1e-5})
    assert done.apply(Net().to("meta")).seed is None
    # The move has undone the tie, which a loader undoes again.
    model = Net()
    model.head = nn.Linear(16, 50, bias=False)
    receipt = done.apply(model, seed=0)
    assert {stamp.state for stamp in receipt.tensors} == {"filled", "kept"}


def test_a_saved_plan_starts_the_next_model(tmp_path):
    """No batch and no run: names, shapes and numbers are in the file."""
    model, other = Net(), Net()
    done = initialize(model, TOKENS, recipe=gpt2, seed=1)
    done.save(tmp_path / "plan.json")
    loaded = Plan.load(tmp_path / "plan.json")
    loaded.apply(other, seed=1)
    drawn = [entry.name for entry in loaded if entry.state == "filled"]
    assert all(torch.equal(model.state_dict()[n], other.state_dict()[n]) for n in drawn)
    assert not done.diff(loaded)


def test_a_recipe_that_measures_is_calibrated_by_initialize():
    """The outputs have the std that was asked for, and the plan has the numbers."""
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
    x = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))
    assert plan(model, x, recipe=lsuv)["2.weight"].awaits_calibration
    done = initialize(model, x, recipe=lsuv, seed=0)
    assert not done["2.weight"].awaits_calibration
    assert model(x).std(correction=0).item() == pytest.approx(1, rel=1e-4)
    twin = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
    assert done.apply(twin, seed=0) == done.receipt


def test_initialize_without_a_seed_obeys_torch():
    """`torch.manual_seed` rules, also where a calibration needs the numbers first."""
    x = torch.randn(8, 20)
    for recipe in (kaiming, lsuv):
        made = []
        for _ in "ab":
            model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
            torch.manual_seed(5)
            initialize(model, x, recipe=recipe)
            made.append(bits(model))
        assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_every_parameter_is_explained():
    """In words, with its numbers, and an unknown name gives the nearest."""
    found = plan(Net(), TOKENS, recipe=gpt2)
    for entry in found:
        text = found.explain(entry.name)
        assert text.startswith(entry.name)
        assert "Why: " in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 80
    assert "padding" in found.explain("head.weight")
    with pytest.raises(FaninError, match=r"blocks\.a\.down\.weight"):
        found.explain("blocks.a.dwon.weight")


class Two(nn.Module):
    """What takes two arguments."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 2)

    def forward(self, x, y):
        return self.first(x) + y


@pytest.mark.parametrize("make", [plan, initialize])
def test_a_second_batch_is_told_to_be_a_part_of_the_first(make):
    """Python's own error counts arguments, and says nothing of tuples."""
    model, x, y = Two(), torch.ones(4, 3), torch.ones(4, 2)
    before = bits(model)
    with pytest.raises(FaninError, match="a model runs on one batch") as caught:
        make(model, x, y)
    assert "(model, (x, y))" in caught.value.fix
    assert all(torch.equal(value, before[name]) for name, value in bits(model).items())
    assert make(model, (x, y)).coverage().ok


def test_the_name_of_a_recipe_is_refused_with_the_way_to_look_it_up():
    """Strings name recipes on the command line alone."""
    with pytest.raises(FaninError, match="not a recipe") as caught:
        plan(nn.Linear(3, 2), torch.ones(4, 3), recipe="kaiming")
    assert "fanin.recipes.named('kaiming')" in caught.value.fix


@pytest.mark.parametrize("factors", [0.5, [("first.weight", 0.5)], "first.weight"], ids=repr)
def test_factors_without_names_are_refused(factors):
    """A number alone does not say whose it is."""
    found = plan(Two(), (torch.ones(4, 3), torch.ones(4, 2)), recipe=kaiming)
    with pytest.raises(FaninError, match="mapping from a name to a number"):
        found.scaled(factors)
    with pytest.raises(FaninError, match="mapping from a name to a number"):
        found.scaled({"first.weight": 2.0}, measured=factors)


def test_a_factor_given_by_hand_is_not_said_to_be_measured():
    """Nor is a factor of one said at all."""
    found = plan(Two(), (torch.ones(4, 3), torch.ones(4, 2)), recipe=kaiming)
    for factor, said in ((0, "factor of 0"), (0.5, "factor of 0.500")):
        text = " ".join(found.scaled({"first.weight": factor}).explain("first.weight").split())
        assert said in text
        assert "calibrated" not in text
        assert "measured" not in text
    assert "Scaled." in str(found.scaled({"first.weight": 0.5}))
    once = found.scaled({"first.weight": 1})
    assert once.explain("first.weight") == found.explain("first.weight")
    assert str(once) == str(found)


def test_calibrated_is_said_once():
    """By the sentence of the calibration, and not again beside it."""
    model, inputs = nn.Sequential(nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 9)), torch.randn(50, 9)
    found = plan(model, inputs, recipe=lsuv).calibrate(model, inputs)
    text = " ".join(str(found).split())
    assert "Measured with seed 0" in text
    assert "alibrated" not in text
    assert found.explain("0.weight").count("calibrated") == 1


def test_a_glob_is_explained_match_by_match_up_to_ten():
    """A model has hundreds of one kind, and a screen fifty lines."""
    model = nn.Sequential(*(nn.Linear(3, 3) for _ in range(13)))
    found = plan(model, torch.ones(4, 3), recipe=kaiming)
    few = found.explain("1?.weight").split("\n\n")
    assert few == [found.explain(f"{index}.weight") for index in (10, 11, 12)]
    many = found.explain("*.weight").split("\n\n")
    assert many[:-1] == [found.explain(f"{index}.weight") for index in range(10)]
    assert many[-1] == "And 3 more, from 10.weight on."
    with pytest.raises(FaninError, match="no such parameter"):
        found.explain("*.wieght")


def test_a_bias_of_a_recurrent_layer_is_no_weight():
    """torch hands the layer one list of both."""
    model = nn.LSTM(4, 3, batch_first=True)
    text = plan(model, torch.randn(2, 5, 4), recipe=kaiming).explain("bias_ih_l0")
    assert "is a bias" in text
    assert "also" not in text


def test_a_packed_weight_that_is_used_in_parts_runs_once():
    """Three uses of thirds are no three runs."""
    model, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(2, 5, 8)
    found = plan(model, (x, 2 * x, x + 1), recipe=kaiming)
    assert found["in_proj_weight"].site.uses == 1
    assert " runs " not in " ".join(found.explain("in_proj_weight").split())


def test_a_packed_weight_whose_parts_run_twice_runs_twice():
    """Shared attention runs in each of its layers."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            for _ in range(2):
                x = x + self.attention(x, 2 * x, x + 1)[0]
            return x

    found = plan(Twice(), torch.randn(2, 5, 8), recipe=kaiming)
    assert "It runs 2 times in one pass." in found.explain("attention.in_proj_weight")
