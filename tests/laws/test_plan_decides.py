"""A plan is total: one entry a site, a kept start before the recipe, gaps shown as gaps."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin import FaninError, Layout
from fanin._plan import Unclaimed, plan_from_sites
from fanin._site import Site
from fanin.initializers import Constant, Normal, Ones, Orthogonal, Zeros, kaiming_normal
from fanin.recipes import Choice, Keep, Recipe

WIDE = Layout((30, 20), "out in")
ROLES = ("weight", "bias", "norm_scale", "norm_shift", "elementwise", "branch_scale", "buffer")
BUILT = ("", "zeros", "ones", "constant 1e-05", "identity", "marked _no_reinit", "not finite")

sites = st.lists(
    st.builds(
        Site,
        name=st.text("abc.", min_size=1, max_size=8),
        layout=st.sampled_from([WIDE, Layout((30,), "out"), None]),
        role=st.sampled_from(ROLES),
        built=st.sampled_from(BUILT),
    ),
    max_size=8,
    unique_by=lambda site: site.name,
)
said = st.sampled_from([None, Normal(0.02), Choice(Zeros, "so"), Keep("as it is")])


def always(decision):
    return Recipe("always", lambda site: decision, "one answer for all")


def decided(site, decision=Normal(0.02), **facts):  # noqa: B008 - a frozen value
    from fanin._plan._decide import Facts, decide

    return decide([site], always(decision), Facts(**facts))[0]


@given(sites, said)
def test_every_site_has_one_entry_in_its_order(found, decision):
    """Nothing is skipped in silence; an initializer that reads no axes fits every site."""
    plan = plan_from_sites(found, always(decision))
    assert [entry.site for entry in plan] == found
    assert len(plan) == len(found)
    coverage = plan.coverage()
    names = [*coverage.filled, *coverage.kept, *coverage.unclaimed]
    assert sorted(names) == sorted(site.name for site in found)
    assert coverage.ok is not bool(plan.unclaimed)


@given(sites, said)
def test_every_entry_says_why_and_by_whom(found, decision):
    """Nobody decides exactly what is unclaimed."""
    for entry in plan_from_sites(found, always(decision)):
        assert entry.why
        assert (entry.by == "nobody") is (entry.state == "unclaimed")
        assert (entry.initializer is None) is (entry.state != "filled")


@pytest.mark.parametrize(
    "site",
    [
        Site(name="m.running_mean", layout=None, role="buffer"),
        Site(name="A_log", layout=WIDE, built="marked _no_reinit"),
        Site(name="w", layout=WIDE, built="marked _is_hf_initialized"),
        Site(name="n.weight", layout=None, role="norm_scale", built="zeros"),
        Site(name="n.weight", layout=None, role="norm_scale"),
        Site(name="n.bias", layout=None, role="norm_shift", built="zeros"),
        Site(name="gamma", layout=None, role="branch_scale", built="constant 1e-05"),
        Site(name="cls", layout=None, role="elementwise"),
        Site(name="lora_B.weight", layout=WIDE, built="zeros"),
        Site(name="skip.weight", layout=WIDE, built="identity"),
        Site(name="dt.bias", layout=None, role="bias", built="set apart: up to 3"),
    ],
    ids=lambda site: f"{site.name} {site.role} {site.built}",
)
def test_a_start_that_the_model_declares_is_kept(site):
    """Mamba's dt bias, LayerScale, LoRA's B, zeroed gammas: a generic rule would undo them."""
    entry = decided(site)
    assert entry.state == "kept"
    assert entry.by == "kept start"


@pytest.mark.parametrize(
    "site",
    [
        Site(name="fc.weight", layout=WIDE),
        Site(name="fc.bias", layout=None, role="bias"),
        Site(name="fc.bias", layout=None, role="bias", built="zeros"),
        Site(name="fc.weight", layout=WIDE, built="not finite"),
    ],
    ids=lambda site: f"{site.name} {site.built}",
)
def test_an_ordinary_start_is_the_recipes(site):
    """A bias of zeros declares nothing: most modules make it so."""
    assert decided(site).by == "recipe"


@pytest.mark.parametrize("lost", [{"built": "not finite"}, {"meta": True}])
@pytest.mark.parametrize(("role", "start"), [("norm_scale", Ones), ("norm_shift", Zeros)])
def test_a_norm_without_values_starts_as_norms_do(lost, role, start):
    """On the meta device there is nothing to keep, and everyone knows how a norm starts."""
    site = Site(name="n", layout=None, role=role, built=lost.get("built", ""))
    entry = decided(site, None, without_values={"n"} if "meta" in lost else ())
    assert entry.initializer == start


@pytest.mark.parametrize("role", ["elementwise", "branch_scale"])
def test_a_parameter_made_by_hand_without_values_is_unclaimed(role):
    """A class token on the meta device: nobody knows, and memory would be garbage later."""
    for site, facts in (
        (Site(name="cls", layout=None, role=role), {"without_values": {"cls"}}),
        (Site(name="cls", layout=None, role=role, built="not finite"), {}),
    ):
        entry = decided(site, None, **facts)
        assert isinstance(entry.decision, Unclaimed)
        assert decided(site, Constant(1), **facts).initializer == Constant(1)


def test_a_recipe_cannot_keep_what_has_no_values():
    """It would be raw memory when the model is made; a rule of the user's may say so."""
    site = Site(name="A_log", layout=WIDE)
    assert decided(site, Keep("as it is")).state == "kept"
    assert decided(site, Keep("as it is"), without_values={"A_log"}).state == "unclaimed"
    slope = Site(name="act.weight", layout=None, role="slope", module="PReLU")
    assert decided(slope, None, without_values={"act.weight"}).initializer == Constant(0.25)


def test_a_scheme_about_a_role_goes_before_its_declared_start():
    """SkipInit sets the learned scale of a branch; that is what it is."""
    skip = Recipe("skip", lambda site: Zeros, "0", overrides=frozenset({"branch_scale"}))
    made = Site(name="gamma", layout=None, role="branch_scale", built="ones")
    marked = Site(name="delta", layout=None, role="branch_scale", built="marked _no_reinit")
    plan = plan_from_sites([made, marked], skip)
    assert plan["gamma"].initializer == Zeros
    assert plan["delta"].state == "kept"


def test_a_recipe_without_a_rule_leaves_a_gap_that_says_so():
    """The recipe's own sentence is the reason."""
    recipe = Recipe("narrow", lambda site: None, "nothing", no_rule="It knows convolutions only.")
    entry = plan_from_sites([Site(name="fc.weight", layout=WIDE)], recipe)["fc.weight"]
    assert entry.why == "It knows convolutions only."
    assert entry.by == "nobody"


def test_a_recipe_that_refuses_the_model_says_why():
    """A scheme whose prerequisite is absent must not be half applied."""
    recipe = Recipe("deep", lambda site: None, "", refuse=lambda sites: "there is no residual")
    with pytest.raises(FaninError, match="there is no residual"):
        plan_from_sites([], recipe)


def test_a_start_that_does_not_fit_is_refused_when_it_is_planned():
    """Not when it is drawn, half a model later; and the parameter is named."""
    bias = Site(name="fc.bias", layout=Layout((30,), "out"), role="bias")
    with pytest.raises(FaninError, match=r"fc\.bias"):
        plan_from_sites([bias], lambda site: kaiming_normal())
    unknown = Site(name="experts", layout=None)
    with pytest.raises(FaninError, match="axes of this parameter are not known"):
        plan_from_sites([unknown], lambda site: Orthogonal())


def test_two_entries_never_own_one_tensor():
    """By whatever name: canonical, tied, or stored behind a parametrization."""
    first = Site(name="wte.weight", layout=WIDE, tied=("head.weight",))
    for second in (
        Site(name="head.weight", layout=WIDE),
        Site(name="other.weight", layout=WIDE, tied=("wte.weight",)),
        Site(name="conv.weight", layout=WIDE, stored=("head.weight",)),
    ):
        with pytest.raises(FaninError, match="own one tensor"):
            plan_from_sites([first, second], lambda site: Normal(1))


def test_an_entry_is_found_by_each_of_its_names():
    """Users know a tied table by either name, and a state_dict the stored ones."""
    tied = Site(name="wte.weight", layout=WIDE, tied=("head.weight",))
    stored = Site(name="conv.weight", layout=WIDE, stored=("conv.weight_v", "conv.weight_g"))
    plan = plan_from_sites([tied, stored], lambda site: Normal(1))
    assert plan["head.weight"] is plan["wte.weight"]
    assert plan["conv.weight_g"] is plan["conv.weight"]
    assert "conv.weight_g" in plan
    with pytest.raises(FaninError, match=r"wte\.weight"):
        plan["wte.wieght"]


def test_equal_sites_and_recipes_make_equal_plans():
    """A plan is a value; the receipt of an apply is no part of it."""
    made = [
        plan_from_sites([Site(name="w", layout=WIDE)], always(Normal(std))) for std in (1, 1, 2)
    ]
    assert made[0] == made[1]
    assert made[0] != made[2]
    assert made[0].checksum == made[1].checksum != made[2].checksum


def answer(site):
    return Normal(1)


def test_a_plan_is_hashed_copied_and_sent():
    """As a key, to a worker, into a checkpoint."""
    plan = plan_from_sites([Site(name="w", layout=WIDE, tied=("v",))], Recipe("r", answer, ""))
    for twin in (copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):  # noqa: S301
        assert twin == plan
        assert hash(twin) == hash(plan)
        assert twin["v"] == plan["v"]


def test_reasons_and_order_do_not_change_the_checksum():
    """It stands for what reaches the weights."""
    one, two = Site(name="a", layout=WIDE), Site(name="b", layout=WIDE)
    plan = plan_from_sites([one, two], always(Choice(Normal(1), "so")))
    other = plan_from_sites([two, one], always(Choice(Normal(1), "otherwise")))
    assert plan.checksum == other.checksum
    wider = plan_from_sites(
        [one, Site(name="b", layout=Layout((30, 21), "out in"))], always(Normal(1))
    )
    assert plan.checksum != wider.checksum


def test_incomplete_coverage_is_an_error_that_names_the_gaps():
    """For CI: one line in a test."""
    gaps = [Site(name=f"w{index}", layout=WIDE) for index in range(7)]
    coverage = plan_from_sites(gaps, always(None)).coverage()
    with pytest.raises(FaninError, match="w0, w1, w2, w3, w4 and 2 more"):
        coverage.raise_if_incomplete()
    full = plan_from_sites(gaps, always(Zeros)).coverage()
    full.raise_if_incomplete()
    assert full.ok
