"""`Plan.replace`: which parameters a rule names, which rule wins, and what is refused."""

from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin import FaninError, Layout
from fanin._plan import plan_from_sites
from fanin._site import Site
from fanin.initializers import Constant, Normal, Orthogonal, Zeros
from fanin.recipes import Choice, Keep, Recipe

WIDE = Layout((30, 20), "out in")
RECIPE = Recipe("ones", lambda site: Constant(1), "w = 1")


def site(name, role="weight", **fields):
    layout = None if role == "buffer" else WIDE
    return Site(name=name, layout=layout, role=role, **fields)


MODEL = (
    site("wte.weight", "embedding", tied=("head.weight",), other_roles=("readout",)),
    *(site(f"h.{index}.down.weight", "residual_out") for index in range(3)),
    *(site(f"h.{index}.up.weight") for index in range(3)),
    site("h.0.gamma", "branch_scale", built="constant 1e-05"),
    site("conv.weight", stored=("conv.parametrizations.weight.original0",)),
    site("bn.running_mean", "buffer"),
)
PLAN = plan_from_sites(MODEL, RECIPE)


def filled_by_rule(plan):
    return {entry.name for entry in plan if entry.by == "rule"}


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("wte.weight", {"wte.weight"}),
        ("head.weight", {"wte.weight"}),
        ("*.down.weight", {f"h.{index}.down.weight" for index in range(3)}),
        ("h.[01].up.weight", {"h.0.up.weight", "h.1.up.weight"}),
        ("h.?.gamma", {"h.0.gamma"}),
        ("role:residual_out", {f"h.{index}.down.weight" for index in range(3)}),
        ("role:buffer", {"bn.running_mean"}),
        ("bn.running_mean", {"bn.running_mean"}),
        ("*.original0", {"conv.weight"}),
        (lambda one: one.role == "branch_scale", {"h.0.gamma"}),
        ("*", {one.name for one in MODEL} - {"bn.running_mean"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_names_these_parameters(key, names):
    """Globs cross dots and mean parameters; a kept start gives way; buffers are named in full."""
    changed = PLAN.replace({key: Zeros})
    assert filled_by_rule(changed) == names
    assert all(changed[name].initializer == Zeros for name in names)
    rest = {one.name for one in MODEL} - names
    assert all(changed[name] == PLAN[name] for name in rest)


letters = st.text("ab.*?", min_size=1, max_size=5)
names = st.lists(st.text("ab.", min_size=1, max_size=5), min_size=1, max_size=6, unique=True)


@given(names, st.lists(letters, min_size=1, max_size=4, unique=True))
def test_the_first_key_that_matches_wins_and_a_useless_key_is_refused(found, keys):
    """The whole rule book, against a model of three lines."""
    plan = plan_from_sites([site(name) for name in found], RECIPE)
    rules = {key: Constant(10 + index) for index, key in enumerate(keys)}
    expected = {
        name: next((rules[key] for key in keys if fnmatchcase(name, key)), Constant(1))
        for name in found
    }
    if set(rules.values()) <= set(expected.values()):
        changed = plan.replace(rules)
        assert {entry.name: entry.initializer for entry in changed} == expected
    else:
        with pytest.raises(FaninError, match=r"matches nothing|nothing left to match"):
            plan.replace(rules)


def test_a_later_replace_goes_before_an_earlier_one():
    """A plan is changed step by step."""
    changed = PLAN.replace({"*": Zeros}).replace({"*.down.weight": Normal(1)})
    assert changed["h.1.down.weight"].initializer == Normal(1)
    assert changed["h.1.up.weight"].initializer == Zeros


def test_the_plan_itself_stays():
    """It is a value."""
    before = replace(PLAN)
    PLAN.replace({"*": Zeros})
    assert before == PLAN


@pytest.mark.parametrize(
    ("value", "initializer"),
    [
        (0.5, Constant(0.5)),
        ("zeros", Zeros),
        (Normal(2), Normal(2)),
        (Choice(Normal(3), "because", "a paper"), Normal(3)),
        (Keep("loaded"), None),
    ],
    ids=repr,
)
def test_a_value_may_be_whatever_stands_for_a_start(value, initializer):
    """As at a layer, and with a reason of one's own."""
    entry = PLAN.replace({"conv.weight": value})["conv.weight"]
    assert entry.initializer == initializer
    assert entry.by == "rule"
    assert entry.why
    if isinstance(value, (Choice, Keep)):
        assert entry.decision == value


def test_a_function_as_value_is_drawn_as_one():
    """A start of one's own."""
    entry = PLAN.replace({"conv.weight": lambda tensor, layout: tensor.fill_(1)})["conv.weight"]
    assert "Custom" in repr(entry.initializer)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"*.dwon.weight": Zeros}, r"matches nothing[\s\S]*\*\.down\.weight"),
        ({"h.*.dwn.weight": Zeros}, r"matches nothing[\s\S]*h\.\*\.down\.weight"),
        ({"wte.wieght": Zeros}, r"matches nothing[\s\S]*wte\.weight"),
        ({"*.running_mean": Zeros}, "a buffer must be named in full"),
        ({"role:recurrent": Zeros}, "roles of this model: embedding, residual_out"),
        ({"role:readout": Zeros}, "wte.weight has this role too"),
        ({"role:residual": Zeros}, r"no such role[\s\S]*residual_out"),
        pytest.param({lambda one: False: Zeros}, "matches nothing", id="a predicate"),
        ({"*": Zeros, "conv.weight": Normal(1)}, "nothing left to match"),
        ({"*.down.weight": Zeros, "role:residual_out": Normal(1)}, "nothing left to match"),
        ({3: Zeros}, "names no parameters"),
        ({"conv.weight": "xavier"}, r"conv\.weight[\s\S]*xavier_uniform"),
        ({"conv.weight": None}, "not an initializer"),
        ({"bn.running_mean": Orthogonal()}, "axes of this parameter are not known"),
    ],
    ids=str,
)
def test_a_rule_that_does_nothing_or_cannot_is_an_error(rules, words):
    """A misspelt rule in silence is the oldest of these bugs."""
    with pytest.raises(FaninError, match=words) as caught:
        PLAN.replace(rules)
    assert len(str(caught.value).splitlines()) == 4


def test_rules_that_disagree_about_a_tied_tensor_are_refused():
    """Otherwise the last writer would win, and the embedding start as a readout."""
    with pytest.raises(FaninError, match="tied conflict") as caught:
        PLAN.replace({"head.weight": Zeros, "wte.weight": Normal(0.02)})
    assert "head.weight and wte.weight are one tensor" in caught.value.where
    with pytest.raises(FaninError, match="tied conflict"):
        PLAN.replace({"head.*": Zeros, "wte.*": Normal(0.02)})


def test_rules_that_agree_about_a_tied_tensor_are_fine():
    """Naming both is how a user makes sure; and a catch-all after a name has just lost."""
    for rules in (
        {"head.weight": Zeros, "*": Normal(1)},
        {"*.weight": Normal(1), "h.0.gamma": 0.1},
    ):
        changed = PLAN.replace(rules)
        assert changed["wte.weight"].initializer == next(iter(rules.values()))
    both = PLAN.replace({"head.weight": Zeros, "wte.weight": 0})
    assert both["wte.weight"].initializer == Zeros


def test_a_rule_forgets_an_earlier_calibration():
    """Its number was measured for another start."""
    scaled = PLAN.scaled({"conv.weight": 2.0}, measured={"conv.weight": 0.5})
    changed = scaled.replace({"conv.weight": Normal(1)})
    assert changed["conv.weight"].factor is None
    assert changed["conv.weight"].measured is None


@pytest.mark.parametrize(
    ("predicate", "found"),
    [
        (lambda site: site.residual.count > 1, "AttributeError"),
        (lambda site: np.ones(2), "ValueError"),
    ],
    ids=["raises", "has no truth"],
)
def test_a_predicate_that_fails_is_told_with_the_parameter(predicate, found):
    """It is asked of every site, and not all have what the one that it is about has."""
    with pytest.raises(FaninError, match="predicate of a rule failed") as caught:
        PLAN.replace({predicate: Zeros})
    assert caught.value.where.endswith(f"for {PLAN.entries[0].name}")
    assert caught.value.found.startswith(found)
