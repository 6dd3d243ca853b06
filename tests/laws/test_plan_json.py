"""A saved plan is data: it comes back as it was, and nothing in it is ever run."""

import json
import subprocess
import sys
from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fanin import Block, FaninError, Layout
from fanin._plan import Plan, plan_from_sites
from fanin._site import Residual, Site
from fanin.initializers import (
    ICNR,
    Custom,
    Normal,
    Orthogonal,
    ScaledOutputs,
    VarianceScaling,
    Zeros,
    kaiming_normal,
)
from fanin.recipes import Choice, Keep, Recipe

GATES = Layout((30, 20), "out in", blocks=(Block("gate", 10), Block("value", 20)))
LAYOUTS = (
    Layout((30, 20), "out in"),
    Layout((4, 30, 20), "batch out in"),
    Layout((8, 4, 3, 3), "out in kernel kernel", groups=2, taps_per_input=4.5),
    Layout((30,), "out", role="bias", operation="sum"),
    GATES,
    None,
)
DECISIONS = (
    None,
    Keep("loaded"),
    Choice(Zeros, "why", "paper"),
    Choice(Normal(0.02, cut=3), "why", target_std=1.0),
)

residuals = st.builds(
    Residual,
    stream=st.integers(0, 3),
    index=st.integers(1, 9),
    count=st.integers(1, 9),
    norm=st.sampled_from(["none", "pre", "post"]),
    scaled_by=st.sampled_from([(), ("gamma",)]),
)
texts = st.text(max_size=6)
sites = st.builds(
    Site,
    name=st.text(min_size=1, max_size=8),
    layout=st.sampled_from(LAYOUTS),
    role=st.sampled_from(["weight", "residual_out", "bias", "buffer", "elementwise"]),
    module=texts,
    activation=st.sampled_from(["identity", "relu", "gelu(tanh)"]),
    normalized_input=st.booleans(),
    sources=st.lists(texts, max_size=2).map(tuple),
    summands=st.integers(1, 5),
    residual=st.none() | residuals,
    other_roles=st.sampled_from([(), ("readout",)]),
    built=st.sampled_from(["", "zeros", "marked _no_reinit"]),
    trainable=st.booleans(),
)


def planned(found, decision):
    recipe = Recipe("a recipe", lambda site: decision, "w = ²")
    return plan_from_sites(found, recipe, model="Net", mode="training", batch="float32 2x3")


SAMPLE = planned(
    [
        Site(
            name="fc.weight",
            layout=LAYOUTS[0],
            activation="relu",
            residual=Residual(stream=0, index=1, count=2),
        ),
        Site(name="experts", layout=LAYOUTS[1], tied=("same",), stored=()),
    ],
    Choice(kaiming_normal(), "keeps the signal", "He et al. 2015"),
)


@given(st.lists(sites, max_size=4, unique_by=lambda site: site.name), st.sampled_from(DECISIONS))
def test_a_plan_comes_back_as_it_was(found, decision):
    """Sites, decisions, reasons and all."""
    plan = planned(found, decision)
    assert Plan.from_json(plan.to_json()) == plan
    assert Plan.from_json(plan.to_json(indent=2)).checksum == plan.checksum


@pytest.mark.parametrize("factor", [0.5, tuple(range(1, 31))], ids=["tensor", "output"])
def test_a_calibrated_plan_comes_back_with_its_numbers(factor):
    """They are what was measured; the batch is not needed again."""
    plan = planned([Site(name="w", layout=LAYOUTS[0])], Choice(Orthogonal(), "so", target_std=1.0))
    scaled = plan.scaled({"w": factor}, measured={"w": 3.0})
    again = Plan.from_json(scaled.to_json())
    assert again == scaled
    assert not again["w"].awaits_calibration
    assert again["w"].measured == 3.0


def test_a_loaded_plan_draws_the_same_bits(tmp_path):
    """In a model of the same names."""
    model, other = nn.Linear(20, 30, bias=False), nn.Linear(20, 30, bias=False)
    plan = planned([Site(name="weight", layout=LAYOUTS[0])], kaiming_normal("gelu"))
    plan.save(tmp_path / "init.json")
    loaded = Plan.load(str(tmp_path / "init.json"))
    assert loaded.apply(other, seed=4) == plan.apply(model, seed=4)
    assert torch.equal(model.weight, other.weight)


def twice(x):
    return torch.relu(2 * x)


@pytest.mark.parametrize(
    "value",
    [VarianceScaling(twice), Orthogonal(twice), ICNR(VarianceScaling(twice), 2)],
    ids=lambda value: type(value).__name__,
)
def test_a_function_as_gain_is_saved_as_its_number(value):
    """The formula keeps its value, and the bits stay; the function's name is lost."""
    where = Layout((8, 4, 3, 3), "out in kernel kernel")
    plan = planned([Site(name="w", layout=where, activation=twice)], value)
    loaded = Plan.from_json(plan.to_json())
    assert loaded.checksum == plan.checksum
    assert loaded["w"].std == plan["w"].std
    assert loaded["w"].site.activation == "the function twice"
    assert loaded.to_json() == plan.to_json()
    draws = [
        entry.initializer.fill_(torch.empty(where.shape), layout=where, seed=0)
        for entry in (plan["w"], loaded["w"])
    ]
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    "value",
    [Custom(lambda tensor, layout: tensor.zero_()), ScaledOutputs(Custom(twice), (1.0,) * 30)],
    ids=["alone", "inside another"],
)
def test_a_start_that_is_code_is_refused_with_its_parameter(value, tmp_path):
    """And an older file stays as it was."""
    path = tmp_path / "init.json"
    path.write_text("older")
    plan = planned([Site(name="fc.weight", layout=LAYOUTS[0])], value)
    with pytest.raises(FaninError, match=r"it is code[\s\S]*fc\.weight"):
        plan.save(path)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_saving_replaces_the_file_whole(tmp_path):
    """A reader never meets half a plan, and nothing else is left in the folder."""
    path = tmp_path / "init.json"
    path.write_text("older and much longer " * 10_000)
    SAMPLE.save(path)
    assert Plan.load(path) == SAMPLE
    assert list(tmp_path.iterdir()) == [path]


def edited(change):
    whole = json.loads(SAMPLE.to_json())
    change(whole, whole["entries"][0])
    return json.dumps(whole)


def item(path, value):
    def change(whole, first):
        *way, last = path
        place = first
        for step in way:
            place = place[step]
        place[last] = value

    return change


DAMAGED = {
    "another format": lambda whole, first: whole.update(format="a pickle"),
    "no format": lambda whole, first: whole.pop("format"),
    "a later version": lambda whole, first: whole.update(version=2),
    "version true": lambda whole, first: whole.update(version=True),
    "no entries": lambda whole, first: whole.update(entries=None),
    "an unknown field": lambda whole, first: whole.update(hook="os.system"),
    "a field that is no text": lambda whole, first: whole.update(model=["Net"]),
    "an entry that is none": lambda whole, first: whole["entries"].append(3),
    "an unknown field of an entry": item(["seed"], 3),
    "an unknown field of a site": item(["site", "shape"], [3]),
    "an unknown field of a layout": item(["site", "layout", "axis"], 3),
    "no site": lambda whole, first: first.pop("site"),
    "no reason": lambda whole, first: first.pop("why"),
    "an unknown state": item(["state"], "loaded"),
    "an unknown role": item(["site", "role"], "wieght"),
    "an unknown initializer": item(["initializer", "initializer"], "Custom"),
    "an unknown argument": item(["initializer", "function"], "print"),
    "an argument of another type": item(["initializer", "cut"], "os"),
    "an unknown activation": item(["initializer", "gain"], "__import__('os')"),
    "an initializer that does not fit": item(["site", "layout", "axes"], ["channel", "channel"]),
    "no initializer": lambda whole, first: first.pop("initializer"),
    "an initializer of what is kept": item(["state"], "kept"),
    "a shape of text": item(["site", "layout", "shape"], "30"),
    "a negative shape": item(["site", "layout", "shape"], [-30, 20]),
    "a shape without axes": item(["site", "layout", "shape"], [30]),
    "an endless shape": item(["site", "layout", "shape"], [1 << 40, 1 << 40]),
    "endless experts": item(
        ["site", "layout"], {"shape": [1 << 40, 2, 2], "axes": ["batch", "out", "in"]}
    ),
    "a number without end": item(["target_std"], 10**400),
    "a number that is none": item(["target_std"], float("nan")),
    "a factor of text": item(["factor"], ["1"]),
    "a name that is none": item(["site", "name"], 3),
    "a truth that is none": item(["site", "trainable"], 1),
    "two entries of one name": lambda whole, first: whole["entries"].append(first),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_plan_is_a_clear_error(case):
    """It says where in the text, and what was expected; nothing is guessed."""
    with pytest.raises(FaninError) as caught:
        Plan.from_json(edited(DAMAGED[case]))
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"format": "fanin plan"',
        "\x00",
        "[" * 100_000,
        "1" * 5000,
        '"\ud800"',
    ],
    ids=lambda text: text[:10],
)
def test_what_is_no_plan_at_all_is_a_clear_error(text):
    """Also where the reader of JSON itself would run out of depth or digits."""
    with pytest.raises(FaninError, match="not the text of a plan"):
        Plan.from_json(text)


def test_a_file_that_is_no_text_is_a_clear_error(tmp_path):
    """A pickle, for one."""
    path = tmp_path / "plan.json"
    path.write_bytes(b"\x80\x04\x95\xff\xfe")
    with pytest.raises(FaninError, match="UTF-8 text"):
        Plan.load(path)


data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = [field.name for field in fields(Site)]


@settings(max_examples=300)
@given(st.data())
def test_any_value_anywhere_gives_a_plan_or_a_fanin_error(drawn):
    """Never another exception, and never a plan that cannot be printed and saved."""
    whole = json.loads(SAMPLE.to_json())
    place = drawn.draw(
        st.sampled_from(
            [
                whole,
                whole["entries"],
                whole["entries"][0],
                whole["entries"][0]["site"],
                whole["entries"][0]["site"]["layout"],
                whole["entries"][0]["site"]["residual"],
                whole["entries"][0]["initializer"],
            ]
        )
    )
    value = drawn.draw(data)
    if isinstance(place, list):
        place.append(value)
    else:
        place[drawn.draw(st.sampled_from([*place, *KEYS]))] = value
    try:
        plan = Plan.from_json(json.dumps(whole))
    except FaninError:
        return
    assert plan == Plan.from_json(plan.to_json())
    assert str(plan)


@given(st.text(max_size=300))
def test_any_text_is_read_without_running_anything(text):
    """A plan or a FaninError."""
    with pytest.raises(FaninError):
        Plan.from_json(text)


def test_reading_a_plan_imports_nothing_and_opens_nothing():
    """Audited by Python itself: whatever names the text holds."""
    text = edited(item(["site", "module"], "os.system")).replace("Net", "__import__('subprocess')")
    code = """
import sys
from fanin._plan import Plan
text = sys.stdin.read()
events = []
sys.addaudithook(lambda event, arguments: events.append(event))
Plan.from_json(text)
bad = {"import", "exec", "open", "pickle.find_class", "os.system", "subprocess.Popen"}
sys.exit(repr(bad.intersection(events)) if bad.intersection(events) else 0)
"""
    found = subprocess.run([sys.executable, "-c", code], input=text, text=True, check=False)
    assert found.returncode == 0


def test_a_file_that_is_not_there_is_named(tmp_path):
    """With the directory that it is looked for in."""
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(FaninError, match="no such file") as caught:
            Plan.load(path)
        assert str(path) in caught.value.found


def test_a_directory_that_is_not_there_is_named_and_not_made(tmp_path):
    """Nothing is left behind, neither a file nor a part of one."""
    with pytest.raises(FaninError, match="no directory to save the plan in") as caught:
        Plan(()).save(tmp_path / "none" / "plan.json")
    assert str(tmp_path / "none") in caught.value.found
    assert list(tmp_path.iterdir()) == []
