"""What a calibration says in the plan, whom it leaves alone and why, and what it refuses."""

from math import sqrt

import pytest
import torch
from torch import nn
from torch.nn import functional

import fanin
from fanin import FaninError, recipes
from fanin._plan._entry import Entry
from fanin._text import number
from fanin.initializers import Normal, Orthogonal, Zeros
from fanin.recipes import Choice


def batch(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def net():
    return nn.Sequential(
        nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 8)
    )


def planned(model, inputs, recipe=recipes.lsuv):
    return fanin.plan(model, inputs, recipe=recipe)


class Language(nn.Module):
    """A table that is the readout as well, a residual branch, a norm."""

    def __init__(self, width=16):
        super().__init__()
        self.table = nn.Embedding(30, width)
        self.norm, self.up = nn.LayerNorm(width), nn.Linear(width, 32)
        self.down = nn.Linear(32, width)
        self.head = nn.Linear(width, 30, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids):
        x = self.table(ids)
        x = x + self.down(functional.relu(self.up(self.norm(x))))
        return self.head(x)


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x):
        return x + self.down(functional.relu(self.up(x)))


IDS = torch.arange(30).view(3, 10)


def test_the_plan_says_on_what_batch_in_which_mode_and_with_which_seed():
    """Numbers without them could not be checked."""
    model, inputs = net(), batch(64, 16)
    plan = planned(model, inputs).calibrate(model, inputs, seed=7, training=True)
    wanted = "Measured with seed 7 on float32 64x16 in training mode."
    assert wanted in plan["2.weight"].why
    assert "its output had std" in plan.explain("2.weight")
    assert "float32 64x16 in training mode" in " ".join(str(plan).split())


def test_a_calibrated_plan_saves_and_loads():
    """Its numbers are data, those by output too."""
    model, inputs = net(), batch(64, 16)
    for per in ("tensor", "output"):
        plan = planned(model, inputs).calibrate(model, inputs, per=per)
        loaded = fanin.Plan.from_json(plan.to_json())
        assert loaded == plan
        assert loaded.apply(model, seed=0) == plan.apply(model, seed=0)


@pytest.mark.parametrize("per", ["tensor", "output"])
def test_calibrating_again_changes_nothing(per):
    """And does not say it twice."""
    model, inputs = net(), batch(64, 16)
    once = planned(model, inputs).calibrate(model, inputs, per=per)
    twice = once.calibrate(model, inputs, per=per)
    for name in ("0.weight", "2.weight", "4.weight"):
        assert once[name].why == twice[name].why
        assert torch.allclose(
            torch.tensor(once[name].factor), torch.tensor(twice[name].factor), rtol=1e-5
        )


def test_initialize_calibrates_where_the_recipe_measures():
    """One line: plan, calibrate, apply, with one seed."""
    model, inputs = net(), batch(64, 16)
    fanin.initialize(model, inputs, recipe=recipes.lsuv, seed=3)
    assert abs(float(model(inputs).detach().std(correction=0)) - 1) < 1e-5


def test_a_plan_that_asks_is_calibrated_where_it_asks():
    """A rule that gives a number of its own is not overruled."""
    model, inputs = net(), batch(64, 16)
    plan = planned(model, inputs).replace({"4.weight": Normal(0.01)}).calibrate(model, inputs)
    assert plan["4.weight"].initializer == Normal(0.01)
    assert (
        "Not calibrated: the plan asks for no std here; its output had std" in plan["4.weight"].why
    )
    assert plan["2.weight"].factor is not None


def test_a_plan_that_does_not_ask_is_calibrated_everywhere():
    """To 1; a residual writer to its share."""
    model = nn.Sequential(*(Branch() for _ in range(3)), nn.Linear(16, 4))
    plan = planned(model, batch(64, 16), recipes.kaiming).calibrate(model, batch(64, 16))
    assert plan["1.up.weight"].factor * plan["1.up.weight"].measured == pytest.approx(1)
    share = plan["1.down.weight"].factor * plan["1.down.weight"].measured
    assert share == pytest.approx(1 / sqrt(3))


@pytest.mark.parametrize("std", [0.5, 2])
def test_a_target_for_all(std):
    """In place of 1; what the choices ask for does not count then."""
    model, inputs = net(), batch(64, 16)
    plan = fanin.plan(model, inputs, recipe=recipes.lsuv)
    found = plan.calibrate(model, inputs, target=std)
    for name in ("0.weight", "2.weight", "4.weight"):
        assert found[name].factor * found[name].measured == pytest.approx(std)


def test_a_target_by_site():
    """A function says for each weight what it is to have, or that it is to be left alone."""
    model, inputs = net(), batch(64, 16)
    plan = planned(model, inputs, recipes.kaiming)
    asked = {"0.weight": 3.0, "2.weight": None, "4.weight": 0.1}
    found = plan.calibrate(model, inputs, target=lambda site: asked[site.name])
    assert found["0.weight"].factor * found["0.weight"].measured == pytest.approx(3)
    assert found["4.weight"].factor * found["4.weight"].measured == pytest.approx(0.1)
    assert found["2.weight"].factor is None
    assert "the target function leaves it out" in found["2.weight"].why


def test_tables_and_ties_are_measured_and_not_scaled():
    """What is drawn is what a lookup gives; a tied readout would be changed behind its back."""
    plan = planned(Language(), IDS, recipes.kaiming).calibrate(Language(), IDS)
    table = plan["table.weight"]
    assert table.factor is None
    assert (
        "a row is looked up, so that what is drawn is the output; its output had std" in table.why
    )


@pytest.mark.parametrize("per", ["tensor", "output"])
def test_a_table_is_scaled_where_its_choice_asks(per):
    """Each output of a table is a column; its readout then sees the scaled rows."""
    model = Language()
    rule = {"table.weight": Choice(Normal(0.02), "small", target_std=0.5)}
    plan = planned(model, IDS, recipes.kaiming).replace(rule).calibrate(model, IDS, per=per)
    plan.apply(model, seed=0)
    output = model.table(IDS).detach()
    found = output.std((0, 1), correction=0) if per == "output" else output.std(correction=0)
    assert torch.allclose(found, torch.tensor(0.5), rtol=1e-5)
    assert "Calibrated at its first use; at the other 1" in plan["table.weight"].why


@pytest.mark.parametrize("per", ["tensor", "output"])
def test_a_table_is_measured_where_it_is_looked_up(per):
    """Its outputs as a readout are others; there they are only told."""

    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(30, 16)

        def forward(self, ids):
            nearest = functional.linear(batch(10, 16), self.table.weight).argmax(0)
            return self.table(ids) + nearest.sum() * 0

    model = Backwards()
    rule = {"table.weight": Choice(Normal(0.02), "small", target_std=1.0)}
    plan = planned(model, IDS, recipes.kaiming).replace(rule).calibrate(model, IDS, per=per)
    plan.apply(model, seed=0)
    found = model(IDS).detach().std((0, 1) if per == "output" else (0, 1, 2), correction=0)
    assert torch.allclose(found, torch.ones(()), rtol=1e-5)


def test_a_start_at_zero_is_left_there():
    """Zero has no scale; the branch that it ends adds nothing to the stream, as was meant."""
    model, inputs = net(), batch(64, 16)
    plan = planned(model, inputs, recipes.kaiming).replace({"4.weight": Zeros})
    found = plan.calibrate(model, inputs)
    assert found["4.weight"].initializer == Zeros
    assert "it starts at zero, and zero has no scale" in found["4.weight"].why


class Experts(nn.Module):
    """Four layers, of which the batch reaches two."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(16, 16)
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))

    def forward(self, x):
        x = self.stem(x)
        return self.experts[0](x[:30]), self.experts[2](x[30:])


def test_experts_without_input_have_the_mean_factor_of_their_siblings():
    """At factor 1 they would be of another size than those that a router sends tokens to."""
    model, inputs = Experts(), batch(64, 16) * torch.linspace(1, 9, 64)[:, None]
    plan = planned(model, inputs).calibrate(model, inputs)
    ran = plan["experts.0.weight"].factor, plan["experts.2.weight"].factor
    assert ran[0] != pytest.approx(ran[1], rel=0.01)
    for name in ("experts.1.weight", "experts.3.weight"):
        assert plan[name].factor == pytest.approx(sqrt(ran[0] * ran[1]))
        assert "it did not run, and has the mean factor of its siblings" in plan[name].why
    plan.apply(model, seed=0)


def test_the_nearest_siblings_count():
    """Those of the same layer; the layers' factors differ."""
    model = nn.Sequential(Experts(), Bridge(), Experts())
    inputs = batch(64, 16)
    plan = planned(model, inputs).calibrate(model, inputs)
    for layer in (0, 2):
        ran = [plan[f"{layer}.experts.{expert}.weight"].factor for expert in (0, 2)]
        assert plan[f"{layer}.experts.1.weight"].factor == pytest.approx(sqrt(ran[0] * ran[1]))
    assert plan["2.experts.1.weight"].factor != pytest.approx(plan["0.experts.1.weight"].factor)


class Bridge(nn.Module):
    def forward(self, parts):
        return functional.relu(torch.cat(parts))


class Picked(nn.Module):
    """Each row of the input is multiplied with the expert that it picks."""

    def __init__(self):
        super().__init__()
        self.experts = nn.Parameter(torch.randn(4, 16, 24))

    def forward(self, x):
        picked = self.experts[torch.arange(len(x)) % 3]
        return torch.bmm(x[:, None] * (1 + torch.arange(len(x)) % 3)[:, None, None], picked)[:, 0]


@pytest.mark.parametrize("per", ["tensor", "output"])
def test_experts_that_are_copied_out_row_by_row(per):
    """The copy is known as the experts' own entries, in another order."""
    model, inputs = Picked(), batch(66, 16)
    planned(model, inputs).calibrate(model, inputs, per=per).apply(model, seed=0)
    output = model(inputs).detach()
    for expert in range(3):
        found = output[expert::3].std(0 if per == "output" else (0, 1), correction=0)
        assert torch.allclose(found, torch.ones(()), atol=1e-5)


class Stacked(nn.Module):
    def __init__(self):
        super().__init__()
        self.experts = nn.Parameter(torch.randn(4, 16, 24))

    def forward(self, x):
        return [functional.linear(x[i :: i + 1] * (i + 1), self.experts[i].T) for i in (0, 1, 3)]


@pytest.mark.parametrize("per", ["tensor", "output"])
def test_a_stack_of_experts_is_one_parameter_with_a_factor_for_each(per):
    """Also when each is cut out of it; the one that got nothing has the mean of the others."""
    model, inputs = Stacked(), batch(64, 16)
    plan = planned(model, inputs).calibrate(model, inputs, per=per)
    plan.apply(model, seed=0)
    for output in model(inputs):
        found = output.detach().std(0 if per == "output" else (0, 1), correction=0)
        assert torch.allclose(found, torch.ones(()), atol=1e-5)
    missing = {"tensor": "1 of its 4 parts", "output": "24 of its 96 outputs"}[per]
    assert f"{missing} gave nothing to measure: they have the mean factor" in plan["experts"].why
    factors = torch.tensor(plan["experts"].factor).view(4, 24)
    ran = factors[[0, 1, 3]]
    assert torch.allclose(factors[2], ran.log().mean().exp().expand(24))


def test_a_weight_that_cannot_be_followed_is_said_to_be_left():
    """Divided by its own norm, its scale has no effect; nothing is claimed of it."""

    class Cosine(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Linear(16, 16), nn.Parameter(torch.randn(10, 16))

        def forward(self, x):
            return functional.linear(self.stem(x), functional.normalize(self.head))

    model, inputs = Cosine(), batch(64, 16)
    plan = planned(model, inputs)
    found = plan.calibrate(model, inputs)
    assert found["head"].factor in (None, 1)
    assert "Not calibrated: it is used through" in found["head"].why
    assert found["stem.weight"].factor is not None


def test_the_inverse_of_a_weight_is_not_a_multiple_of_it():
    """It becomes smaller as the weight becomes larger."""

    class Inverse(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(12, 16) + 1)

        def forward(self, x):
            return functional.linear(x, torch.ones(12, 16) / self.weight)

    layout = fanin.Layout((12, 16), "out in")
    site = fanin.Site(name="weight", layout=layout)
    plan = fanin.Plan((Entry(site=site, decision=Choice(Normal(1.0), "", "", 1.0), by="recipe"),))
    found = plan.calibrate(Inverse(), batch(64, 16))
    assert "Not calibrated: it is used through" in found["weight"].why


def test_a_copy_that_is_kept_and_used_again_is_scaled_too():
    """A cast before a loop: its second use must see the factor of the first."""

    class Looped(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(16, 16))

        def forward(self, x):
            kept = self.weight * 2
            return functional.linear(functional.linear(x, kept), kept)

    model, inputs = Looped(), batch(64, 16)
    for per in ("tensor", "output"):
        plan = planned(model, inputs).calibrate(model, inputs, per=per)
        plan.apply(model, seed=0)
        std = float(model(inputs).detach().std(correction=0))
        assert f"at the other 1 the std is {number(std)}." in plan["weight"].why


def test_a_multiple_of_a_weight_is_followed():
    """Equalized learning rates, masks, styles: linear in the weight, so its factor is exact."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(12, 16))
            self.register_buffer("mask", torch.ones(12, 16).tril())

        def forward(self, x):
            return functional.linear(x, (self.weight * self.mask / 4).to(torch.float64).float())

    model, inputs = Scaled(), batch(64, 16)
    for per, axes in {"tensor": (0, 1), "output": 0}.items():
        planned(model, inputs).calibrate(model, inputs, per=per).apply(model, seed=0)
        found = model(inputs).detach().std(axes, correction=0)
        assert torch.allclose(found, torch.ones(()), atol=1e-5)


def test_zeros_all_over_are_an_error_that_names_the_weight():
    """No factor makes something of nothing."""
    model = net()
    with pytest.raises(FaninError, match="signal is lost") as caught:
        planned(model, batch(64, 16)).calibrate(model, torch.zeros(64, 16))
    assert caught.value.where == "0.weight"


def test_a_zero_in_the_middle_is_said_and_passed():
    """A gamma that starts at zero ends the branch, and what reads the branch gets nothing."""

    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.gamma = nn.Linear(16, 16), nn.Parameter(torch.zeros(16))
            self.squeeze, self.last = nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x):
            branch = self.first(x) * self.gamma
            return self.last(x + branch * torch.sigmoid(self.squeeze(branch)))

    model, inputs = Squeezed(), batch(64, 16)
    plan = planned(model, inputs).calibrate(model, inputs)
    assert "its output is zero, or the same for all inputs" in plan["squeeze.weight"].why
    assert plan["squeeze.weight"].factor == 1
    assert plan["last.weight"].factor != 1
    plan.apply(model, seed=0)


def test_an_expert_with_one_token_is_no_lost_signal():
    """By output it has one number for each, at the end of the model as anywhere."""
    model, inputs = Experts(), batch(31, 16)
    plan = planned(model, batch(64, 16)).calibrate(model, inputs, per="output")
    assert "each output was a single number" in plan["experts.2.weight"].why
    assert isinstance(plan["experts.0.weight"].factor, tuple)


def test_one_input_has_no_spread_by_output():
    """As a whole it has one, over the outputs."""
    model = net()
    plan = planned(model, batch(64, 16))
    plan.calibrate(model, batch(1, 16))
    with pytest.raises(FaninError, match="signal is lost"):
        plan.calibrate(model, batch(1, 16), per="output")


def with_biases(model, inputs):
    """What a dead batch leaves is the biases, and they differ from output to output."""
    return planned(model, inputs).replace({"*.bias": Normal(1.0)})


IMAGES = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.Flatten()
)
DEAD = {
    "zeros": (net, torch.zeros(64, 16)),
    "one row of zeros": (net, torch.zeros(1, 16)),
    "rows that are the same": (net, batch(1, 16).repeat(64, 1)),
    "images of zeros": (lambda: IMAGES, torch.zeros(4, 3, 8, 8)),
    "one image of zeros": (lambda: IMAGES, torch.zeros(1, 3, 8, 8)),
    "images that are the same": (lambda: IMAGES, torch.ones(4, 3, 8, 8)),
    "named zeros": (net, {"input": torch.zeros(64, 16)}),
}


@pytest.mark.parametrize("per", ["tensor", "output"])
@pytest.mark.parametrize("name", DEAD)
def test_a_dead_batch_is_refused_where_biases_and_borders_leave_a_spread(name, per):
    """A weight divided by what biases leave would be of no size that a batch has to do with."""
    make, inputs = DEAD[name]
    model = make()
    alive = batch(*(inputs["input"] if isinstance(inputs, dict) else inputs).shape)
    plan = with_biases(model, alive)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(FaninError, match="signal is lost") as caught:
        plan.calibrate(model, inputs, per=per)
    assert caught.value.where == "0.weight"
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_signal_that_ends_on_the_way_is_refused_though_biases_go_on():
    """Everything behind would be calibrated on the biases alone."""
    model = nn.Sequential(nn.Linear(16, 16), nn.Threshold(1e6, 0.0), nn.Linear(16, 8), nn.Tanh())
    model.append(nn.Linear(8, 8))
    inputs = batch(64, 16)
    with pytest.raises(FaninError, match="signal is lost") as caught:
        with_biases(model, inputs).calibrate(model, inputs)
    assert caught.value.where == "2.weight"


def test_a_branch_that_is_the_same_for_all_inputs_is_calibrated():
    """As that of one time step for the whole batch; its spread is over the outputs."""

    class Conditioned(nn.Module):
        def __init__(self):
            super().__init__()
            self.time, self.first, self.last = (nn.Linear(16, 16) for _ in range(3))

        def forward(self, x):
            first = self.first(x)
            return self.last(first + self.time(torch.ones_like(x)))

    model, inputs = Conditioned(), batch(64, 16)
    found = planned(model, inputs).calibrate(model, inputs)
    assert found["time.weight"].measured > 0


def test_ids_of_zero_are_no_batch_of_zeros():
    """They are looked up, and their row is not zero."""
    model = nn.Sequential(nn.Embedding(10, 16), nn.Flatten(0, 1), nn.Linear(16, 4))
    ids = torch.zeros(1, 1, dtype=torch.int64)
    found = planned(model, ids).calibrate(model, ids)
    assert found["2.weight"].measured > 0


def test_draws_side_by_side_are_those_of_one_after_the_other():
    """Each is a function of the seed and its name, whichever thread makes it."""
    layers = [nn.Linear(128, 128) for _ in range(6)]
    model, inputs = nn.Sequential(*layers), batch(64, 128)
    plan, threads = planned(model, inputs), torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        together = plan.calibrate(model, inputs, seed=5)
        assert torch.get_num_threads() == 4
        torch.set_num_threads(1)
        alone = plan.calibrate(model, inputs, seed=5)
    finally:
        torch.set_num_threads(threads)
    for entry in alone:
        if entry.factor is not None:
            assert together[entry.name].factor == pytest.approx(entry.factor, rel=1e-5)
    with torch.inference_mode():
        assert plan.calibrate(model, inputs, seed=5)["0.weight"].factor is not None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_an_error_that_names_the_weight(value):
    """A factor of it would be nonsense in every layer behind."""
    model = net()
    plan, inputs = planned(model, batch(64, 16)), batch(64, 16)
    inputs[3, 5] = value
    with pytest.raises(FaninError, match="not finite") as caught:
        plan.calibrate(model, inputs)
    assert caught.value.where == "0.weight, use 1"
    assert caught.value.found.startswith("32 of 2048 numbers")


def test_a_model_without_values_is_refused_with_the_way_out():
    """It is planned on the meta device, and calibrated where there is memory."""
    model = net().to("meta")
    plan = fanin.plan(model, batch(64, 16).to("meta"), recipe=recipes.lsuv)
    with pytest.raises(FaninError, match="without values") as caught:
        plan.calibrate(model, batch(64, 16).to("meta"))
    assert "built with memory" in caught.value.fix
    real = net()
    plan.calibrate(real, batch(64, 16)).apply(real, seed=0)
    assert abs(float(real(batch(64, 16)).detach().std(correction=0)) - 1) < 1e-5


def test_a_batch_that_does_not_fit_is_said_to_be_the_reason():
    """With the weight after which it failed."""
    model = nn.Sequential(nn.Linear(16, 8), nn.Unflatten(1, (2, 4)), nn.Linear(4, 3), nn.Flatten(0))
    plan = planned(model, batch(64, 16))
    with pytest.raises(FaninError, match="failed on this batch") as caught:
        plan.calibrate(model, batch(64, 17))
    assert "float32 64x17" in caught.value.found


@pytest.mark.parametrize("target", [0, -1.0, float("nan"), float("inf"), "one", True])
def test_a_target_is_a_positive_number(target):
    """Also where a function gives it."""
    model, inputs = net(), batch(64, 16)
    plan = planned(model, inputs)
    with pytest.raises(FaninError, match="not a positive number"):
        plan.calibrate(model, inputs, target=target)
    with pytest.raises(FaninError, match="not a positive number"):
        plan.calibrate(model, inputs, target=lambda site: target)


def test_there_are_two_ways_to_measure():
    """And a third is an error that names them."""
    model, inputs = net(), batch(64, 16)
    with pytest.raises(FaninError) as caught:
        planned(model, inputs).calibrate(model, inputs, per="row")
    assert "tensor, output" in caught.value.fix


def test_kept_starts_biases_and_norms_are_not_touched():
    """A calibration scales what is drawn, and nothing else."""
    model = Language()
    plan = planned(model, IDS)
    found = plan.calibrate(model, IDS)
    for entry in plan:
        if entry.site.role in ("bias", "norm_scale", "norm_shift", "buffer"):
            assert found[entry.name] == entry


def test_other_starts_keep_their_kind():
    """The factor goes into the initializer, whatever it is."""
    model, inputs = net(), batch(64, 16)
    rules = {
        "0.weight": Choice(Orthogonal(), "q", target_std=1.0),
        "2.weight": Choice(Normal(3), "n", target_std=1.0),
    }
    plan = planned(model, inputs).replace(rules).calibrate(model, inputs)
    assert isinstance(plan["0.weight"].initializer, Orthogonal)
    assert plan["2.weight"].initializer == Normal(3 * plan["2.weight"].factor)
