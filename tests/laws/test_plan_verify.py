"""`Plan.verify`: whatever holds the planned start is equal, and whatever does not is told apart."""

import json
import subprocess
import sys
from math import prod

import pytest
import torch
from tests.conformance.test_initializers import ALL
from tests.distributed.nets import TOKENS, Net
from tests.laws.test_missing import on_meta, shifted, write_safetensors
from torch import nn
from torch.nn.utils import parametrizations

import fanin
from fanin import FaninError, Verification
from fanin._plan import Entry
from fanin._plan._proof import _held as held
from fanin._plan._proof._held import Tally
from fanin._plan._proof._verification import Comparison
from fanin._site import Site
from fanin.initializers import Orthogonal
from fanin.recipes import Choice, Keep

SEED = 4


def net():
    return nn.Sequential(
        nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 20)
    )


def planned():
    return fanin.plan(net(), torch.ones(2, 12), recipe=fanin.recipes.kaiming)


def started(plan=None):
    model = net()
    (plan or planned()).apply(model, seed=SEED)
    return model


@pytest.fixture(params=[7, 1 << 20], ids=["seven at a time", "many at once"])
def most(request, monkeypatch):
    """The parts in which a tensor is drawn again."""
    monkeypatch.setattr(held, "_MOST", request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_what_apply_wrote_is_equal_in_every_dtype(dtype, most):
    """The draw is rounded once, whether the model had the dtype then or was cast later."""
    plan, model = fanin.plan(Net(), TOKENS), Net()
    plan.apply(model, seed=SEED)
    if dtype != torch.float64:
        assert plan.verify(model.to(dtype), seed=SEED).ok
    model = Net().to(dtype)
    plan.apply(model, seed=SEED)
    found = plan.verify(model, seed=SEED)
    assert found.ok
    assert {one.state for one in found.tensors} == {"equal", "not drawn"}
    assert sum(one.elements for one in found.tensors) == sum(
        prod(entry.site.layout.shape) for entry in plan if entry.state == "filled"
    )


class Holder(nn.Module):
    """A module of one parameter of any layout."""

    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))


@pytest.mark.parametrize(("initializer", "layout"), ALL)
def test_every_initializer_is_verified(initializer, layout, most):
    """Also those that are drawn whole; and one wrong entry is found."""
    site = Site(name="weight", layout=layout)
    entry = Entry(site=site, decision=Choice(initializer, "a test"), by="recipe")
    plan, model = fanin.Plan((entry,)), Holder(layout.shape)
    plan.apply(model, seed=SEED)
    assert plan.verify(model, seed=SEED).ok
    with torch.no_grad():
        model.weight.view(-1)[-2] += 1e-3
    found = plan.verify(model, seed=SEED)
    assert found.tensors[0].differing == 1
    first = found.tensors[0].first
    assert model.weight[first] == model.weight.view(-1)[-2]


def one_ulp(model):
    weight = model[2].weight
    weight[3, 5] = torch.nextafter(weight[3, 5], torch.tensor(9.0))


def one_bit_of_zero(model):
    model[2].bias[3] = -0.0


def not_a_number(model):
    model[2].weight[0, 0] = torch.nan


def one_step(model):
    with torch.enable_grad():
        loss = model(torch.ones(3, 12)).square().mean()
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        loss.backward()
    optimizer.step()


def swapped(model):
    model[2], model[4] = model[4], model[2]


def another_recipe(model):
    fanin.plan(model, torch.ones(2, 12), recipe=fanin.recipes.xavier).apply(model, seed=SEED)


FAULTS = {
    "one ulp": (one_ulp, "only 1 of 400"),
    "the sign of a zero": (one_bit_of_zero, "only 1 of 20"),
    "not a number": (not_a_number, "only 1 of 400"),
    "another seed": (lambda model: planned().apply(model, seed=7), "seed 7 gives these numbers"),
    "an unlikely seed": (lambda model: planned().apply(model, seed=99991), "another seed"),
    "another recipe": (another_recipe, "under another law"),
    "scaled": (lambda model: [p.mul_(0.5) for p in model.parameters()], "0.5 times the planned"),
    "swapped layers": (swapped, "holds the start of 4.weight"),
    "one optimizer step": (one_step, "near the planned start"),
    "cast and cast back": (lambda model: model.bfloat16().float(), "as bfloat16 holds it"),
    "torch's own start": (lambda model: [model[i].reset_parameters() for i in (0, 2, 4)], "std"),
    "never filled": (lambda model: [p.fill_(torch.nan) for p in model.parameters()], "NaN"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_the_start_is_told_apart_with_its_likely_cause(fault):
    """Each fault, and what is said of it."""
    spoil, cause = FAULTS[fault]
    plan, model = planned(), started()
    with torch.no_grad():
        spoil(model)
    found = plan.verify(model, seed=SEED)
    assert not found.ok
    assert found.different
    assert cause in found.cause
    with pytest.raises(FaninError, match="does not hold the planned start") as error:
        found.raise_if_different()
    assert found.different[0].name in error.value.found


def test_a_difference_says_how_many_where_and_how_much():
    """By the index into the whole tensor."""
    plan, model = planned(), started()
    with torch.no_grad():
        model[2].weight[7, 3:6] += torch.tensor([0.5, 0.25, -0.125])
    (one,) = plan.verify(model, seed=SEED).different
    assert (one.name, one.differing, one.elements, one.first) == ("2.weight", 3, 400, (7, 3))
    assert one.largest == pytest.approx(0.5, abs=1e-6)
    assert one.found == model[2].weight[7, 3].item()
    assert one.planned == pytest.approx(one.found - 0.5, abs=1e-6)


def test_orthogonal_starts_are_equal_to_a_millionth_and_not_beyond():
    """Matrix products differ so much between machines."""
    plan = planned().replace({"2.weight": Orthogonal(), "4.weight": 0.5 * Orthogonal()})
    model = started(plan)
    with torch.no_grad():
        model[2].weight[0, 0] += 5e-7
    assert plan.verify(model, seed=SEED).ok
    with torch.no_grad():
        model[2].weight[0, 0] += 2e-6
    (one,) = plan.verify(model, seed=SEED).different
    assert (one.name, one.differing, one.tolerance) == ("2.weight", 1, 1e-6)
    assert plan.verify(started(plan).bfloat16(), seed=SEED).ok


def test_looking_changes_nothing():
    """Neither the model, nor torch's generator, nor a gradient."""
    plan = planned().replace({"2.weight": lambda tensor, layout: nn.init.normal_(tensor)})
    model = started(plan)
    model(torch.ones(2, 12)).sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    versions = [parameter._version for parameter in model.parameters()]
    state = torch.get_rng_state()
    assert plan.verify(model, seed=SEED).ok
    assert torch.equal(state, torch.get_rng_state())
    assert versions == [parameter._version for parameter in model.parameters()]
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_tensors_that_are_not_contiguous_are_verified():
    """As channels_last."""
    image = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3))
    plan = fanin.plan(image, torch.ones(1, 3, 9, 9))
    plan.apply(image, seed=SEED)
    assert plan.verify(image.to(memory_format=torch.channels_last), seed=SEED).ok


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile], ids=["DataParallel", "compile"])
def test_wrapped_models_are_verified(wrap):
    """Names without prefixes."""
    assert planned().verify(wrap(started()), seed=SEED).ok


def test_nothing_is_said_of_what_is_kept():
    """It comes from the model, which may have anything there."""
    plan = planned().replace({"2.*": Keep("loaded later")})
    model = started(plan)
    found = plan.verify(model, seed=SEED)
    assert found.ok
    assert found.not_drawn == ("2.weight", "2.bias")
    assert "2 not drawn" in str(found)


@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_a_parametrized_weight_is_verified_through_what_is_kept_for_it():
    """Also after a run, which moves the buffers of spectral norm and not its weight."""
    make = lambda: nn.Sequential(
        parametrizations.weight_norm(nn.Linear(5, 6)),
        parametrizations.spectral_norm(nn.Linear(6, 6)),
        nn.utils.weight_norm(nn.Linear(6, 3)),
    )
    plan, model = fanin.plan(make(), torch.ones(2, 5)), make()
    plan.apply(model, seed=SEED)
    model.train()(torch.ones(2, 5))
    assert plan.verify(model, seed=SEED).ok
    with torch.no_grad():
        model[0].parametrizations.weight.original0[2] *= 1.01
    assert [one.name for one in plan.verify(model, seed=SEED).different] == ["0.weight"]


def test_a_model_without_values_or_of_other_names_is_an_error():
    """There is nothing to compare."""
    plan = planned()
    with pytest.raises(FaninError, match="no values to compare"):
        plan.verify(on_meta(net), seed=SEED)
    with pytest.raises(FaninError, match="another model"):
        plan.verify(net()[:3], seed=SEED)


def test_a_part_of_the_model_is_verified_as_it_was_materialized():
    """A stage of a pipeline, under its own names."""
    plan = planned()
    stage = nn.Sequential(*net()[2:])
    names = {"0": "2", "2": "4"}
    plan.materialize(stage, seed=SEED, part=True, names=names)
    found = plan.verify(stage, seed=SEED, part=True, names=names)
    assert found.ok
    assert {one.name for one in found.tensors} == {"2.weight", "2.bias", "4.weight", "4.bias"}


def test_a_state_dict_and_a_file_are_verified_like_the_model(tmp_path):
    """Without a model; ties under either name, prefixes or none."""
    plan, model = fanin.plan(Net(), TOKENS), Net()
    plan.apply(model, seed=SEED)
    state = model.state_dict()
    assert plan.verify(state, seed=SEED).ok
    assert plan.verify({f"module.{name}": one for name, one in state.items()}, seed=SEED).ok
    one_name = {name: one for name, one in state.items() if name != "table.weight"}
    path = write_safetensors(tmp_path / "m.safetensors", one_name)
    found = plan.verify(path, seed=SEED)
    assert found.ok
    assert found.checked == str(path)
    assert not plan.verify(shifted(model), seed=SEED).ok


def test_a_checkpoint_of_a_part_is_verified_by_its_names():
    """`part` and `names` are for a stage's own state dict as they are for the stage."""
    plan, model = planned(), started()
    own = nn.Sequential(*model[2:]).state_dict()
    stage = {f"stage.{name}": tensor for name, tensor in own.items()}
    names = {"stage.0": "2", "stage.2": "4"}
    found = plan.verify(stage, seed=SEED, part=True, names=names)
    assert found.ok
    assert [one.name for one in found.tensors] == list(stage)
    states = [one.state for one in plan.verify(stage, seed=SEED, names=names).tensors]
    assert states == ["missing"] * 2 + ["equal"] * 4
    assert not plan.verify(stage, seed=SEED + 1, part=True, names=names).ok
    with pytest.raises(FaninError, match="nothing of this name"):
        plan.verify(stage, seed=SEED, part=True, names={"stages.0": "2"})


@pytest.mark.parametrize("state", [{}, {"1.weight": torch.ones(20)}], ids=["empty", "kept alone"])
def test_a_part_that_has_nothing_drawn_is_no_proof(state):
    """A stage that lost all its weights would pass."""
    model = nn.Sequential(nn.Linear(12, 20), nn.LayerNorm(20))
    plan = fanin.plan(model, torch.ones(2, 12))
    with pytest.raises(FaninError, match="nothing that the plan draws"):
        plan.verify(state, seed=SEED, part=True)


def test_a_stored_tensor_without_values_is_an_error():
    """As for the model: it is not wrong, it is not there."""
    state = {name: tensor.to("meta") for name, tensor in started().state_dict().items()}
    with pytest.raises(FaninError, match="no values to compare"):
        planned().verify(state, seed=SEED)


def test_a_kept_parameter_that_the_checkpoint_lacks_is_missing():
    """What is not there is not kept; a buffer may be one that no state dict has."""
    model = nn.Sequential(nn.Linear(12, 20), nn.LayerNorm(20), nn.BatchNorm1d(20))
    plan = fanin.plan(model, torch.ones(2, 12))
    plan.apply(model, seed=SEED)
    state = model.state_dict()
    assert plan.verify(state, seed=SEED).ok
    del state["1.weight"]
    (one,) = plan.verify(state, seed=SEED).different
    assert (one.name, one.state) == ("1.weight", "missing")


def test_a_checkpoint_that_lacks_or_adds_names_is_not_the_start():
    """Each is told by name."""
    plan, state = planned(), started().state_dict()
    found = plan.verify({**state, "extra": torch.ones(2)}, seed=SEED)
    assert not found.ok
    assert found.unexpected == ("extra",)
    assert "extra" in str(found)
    del state["2.weight"]
    (one,) = plan.verify(state, seed=SEED).different
    assert (one.name, one.state) == ("2.weight", "missing")


@pytest.mark.parametrize(
    ("value", "why"),
    [(torch.zeros(3, 3), "shape (3, 3), planned (20, 20)"), (torch.ones(20, 20).int(), "int32")],
)
def test_a_stored_tensor_of_another_kind_is_different(value, why):
    """And says why."""
    plan, state = planned(), started().state_dict()
    (one,) = plan.verify(state | {"2.weight": value}, seed=SEED).different
    assert why in one.why
    assert why in str(plan.verify(state | {"2.weight": value}, seed=SEED))


def test_what_could_not_be_compared_is_no_proof():
    """A parametrized tensor in a file: only its model knows what it means."""
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(5, 6)))
    plan = fanin.plan(model, torch.ones(2, 5))
    plan.apply(model, seed=SEED)
    found = plan.verify(model.state_dict(), seed=SEED)
    assert not found.ok
    assert [one.state for one in found.different] == ["not compared"]


def test_there_is_no_start_without_a_seed():
    """And none is taken from torch's generator."""
    plan, model = planned(), net()
    state = torch.get_rng_state()
    with pytest.raises(FaninError, match="receipt"):
        plan.verify(model, seed=None)
    assert torch.equal(state, torch.get_rng_state())


def test_a_plan_that_is_not_yet_calibrated_is_refused():
    """It has no numbers to compare with."""
    plan = fanin.plan(net(), torch.ones(2, 12), recipe=fanin.recipes.lsuv)
    with pytest.raises(FaninError, match="has not been measured"):
        plan.verify(net(), seed=SEED)


def test_the_record_is_a_value_and_json():
    """Numbers that are not finite are texts there."""
    plan, model = planned(), started()
    assert plan.verify(model, seed=SEED) == plan.verify(model, seed=SEED)
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    found = plan.verify(model, seed=SEED)
    data = json.loads(found.to_json())
    assert (data["seed"], data["plan"]) == (SEED, plan.checksum)
    (one,) = [one for one in data["tensors"] if one["state"] == "different"]
    assert (one["found"], one["largest"], one["first"]) == ("nan", "nan", [0, 0])


def test_the_text_names_what_differs():
    """The numbers, the index, and the cause."""
    one = Comparison("2.weight", "different", 400, 1, 0.5, (3, 5), 1.5, 1.0)
    found = Verification(4, "a1b2", "Net", (Comparison("0.weight", "equal", 6), one), (), "a step")
    assert str(found) == "\n".join(
        [
            "Net does NOT hold the planned start: 1 different, 1 equal (seed 4, plan a1b2)",
            "",
            "tensor    differ   of  at most by  first",
            "--------  ------  ---  ----------  ----------------------",
            "2.weight       1  400       0.500  [3, 5]: 1.5, planned 1",
            "",
            "likely: a step",
        ]
    )


def test_complex_numbers_are_compared_by_their_bits():
    """Both parts of each."""
    tally, value = Tally(0.0), torch.tensor([1 + 2j, 3 + 4j])
    other = value.clone()
    other[1] += 1e-6j
    whole = held.Region.whole((2,))
    tally.add(value, other, held.Place(whole, None, whole))
    assert tally.result("w").differing == 1


BOUNDED = """
import resource, torch, fanin
from torch import nn
torch.set_num_threads(1)
model = nn.Sequential(*(nn.Linear(4096, 4096, bias=False) for _ in range(3)))
plan = fanin.plan(nn.Sequential(*(nn.Linear(4096, 4096, bias=False, device="meta")
    for _ in range(3))), torch.ones(1, 4096, device="meta"), recipe=fanin.recipes.kaiming)
plan.apply(model, seed=0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert plan.verify(model, seed=0).ok
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_does_not_follow_the_size_of_a_tensor():
    """Tensors of 67 MB are drawn again in parts of 1 MB."""
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20_000  # kB
