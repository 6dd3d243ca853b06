"""What recipes are: pure functions with a name; what they refuse; how others' are found."""

import json
import math
import sys
from dataclasses import replace

import pytest
from tests.conformance import recipe_sites

from fanin import FaninError, Layout, recipes
from fanin._site import Residual, Site
from fanin.initializers import Normal, Orthogonal, VarianceScaling, Zeros
from fanin.recipes import Choice, Keep, Recipe, as_recipe
from fanin.recipes._branches import before_writers, branches

FC = Site(name="fc.weight", layout=Layout((10, 64), "out in"), activation="relu")


def test_a_choice_without_an_initializer_is_refused_where_it_is_made():
    """Not where the plan is applied, a long way from the recipe's author."""
    with pytest.raises(FaninError, match="holds an initializer"):
        Choice("zeros", "A name is not a value.")


@pytest.mark.parametrize("target", [0, -1.0, math.inf, math.nan, True, "1"])
def test_a_target_that_is_no_std_is_refused(target):
    """Calibration would divide by it."""
    with pytest.raises(FaninError, match="positive number"):
        Choice(Zeros, "It is measured.", target_std=target)


@pytest.mark.parametrize("said", ["zeros", 0.0, True, Normal, (Zeros, "why")])
def test_a_recipe_that_decides_nonsense_is_named_with_the_parameter(said):
    """The author sees which recipe, which parameter, and what it said."""
    broken = Recipe("broken", lambda site: said, "none")
    with pytest.raises(FaninError) as caught:
        broken(FC)
    assert "broken" in str(caught.value)
    assert "fc.weight" in str(caught.value)


def test_a_plain_function_is_a_recipe_under_its_own_name():
    """What one writes first is a function; it needs no class."""

    def tiny(site):
        """w ~ N(0, 0.001²)

        For a test.
        """
        return Normal(0.001)

    recipe = as_recipe(tiny)
    assert (recipe.name, recipe.formula) == ("tiny", "w ~ N(0, 0.001²)")
    assert recipe(FC) == Normal(0.001)
    assert as_recipe(recipe) is recipe
    assert as_recipe(lambda site: None).name == "<lambda>"


@pytest.mark.parametrize("value", ["kaiming", Zeros, None, Recipe, 3])
def test_what_is_no_recipe_is_refused(value):
    """Names are for the command line: recipes.named looks them up."""
    with pytest.raises(FaninError, match="not a recipe"):
        as_recipe(value)


def test_a_recipe_that_read_the_model_does_not_read_another():
    """for_model gives a value that decides, so that a plan cannot mix two models."""
    sites = recipe_sites.residual_net()
    fitted = recipes.fixup.for_model(sites)
    assert fitted.read is None
    assert fitted.for_model(sites) == fitted
    assert recipes.kaiming.for_model(sites) is recipes.kaiming


@pytest.mark.parametrize(
    "recipe", [recipes.fixup, recipes.deepnorm, recipes.small_init, recipes.gpt_neox], ids=str
)
def test_a_scheme_that_counts_says_nothing_of_a_site_alone(recipe):
    """What it does not know it does not guess; the plan would show it as unclaimed."""
    assert recipe(FC) is None
    assert "whole model" in recipe.no_rule


# Options of the classics


def test_an_activation_is_kept_by_name_and_a_nameless_function_as_its_gain():
    """A name prints and saves; a function would do neither."""
    named = recipes.kaiming(replace(FC, activation="gelu(tanh)")).initializer
    assert named == VarianceScaling("gelu(tanh)")
    nameless = recipes.kaiming(replace(FC, activation=lambda x: x.clamp(min=0))).initializer
    assert nameless.gain == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("activation", ["no such activation", lambda x: 0 * x, lambda x: 1 / 0])
def test_an_activation_without_a_gain_takes_gain_one_and_says_so(activation):
    """One unusual function must not keep a whole model from a plan."""
    for recipe in (recipes.kaiming, recipes.orthogonal):
        choice = recipe(replace(FC, activation=activation))
        assert choice.initializer.gain == 1.0
        assert "taken as 1" in choice.why


def test_by_fan_out_the_gain_is_that_of_the_activation_after():
    """He et al., eq. 14: a gradient passes the derivative behind the weight, not before it."""
    recipe = recipes.variance_scaling(fan="out")
    site = replace(FC, activation="tanh", activation_after="relu")
    found = recipe(site).initializer
    assert found == VarianceScaling("relu", fan="out", convention="backward")
    assert found.std(site.layout) == pytest.approx(math.sqrt(2 / 10))


def test_options_change_what_they_name_and_nothing_else():
    """The classics are values of two functions."""
    made = recipes.variance_scaling("mine", gain=0.5, fan="avg", distribution="uniform")
    assert made(FC).initializer == VarianceScaling(0.5, fan="avg", distribution="uniform")
    assert made.formula == "w ~ U(-b, b), b = 0.5 sqrt(6 / (fan_in + fan_out)); b = 0"
    kept = recipes.orthogonal_matrices("mine", gain=2.0, keep="norm")
    assert kept(FC).initializer == Orthogonal(2.0)
    assert kept.formula == "W = 2 Q, Q orthogonal; b = 0"


@pytest.mark.parametrize(
    "options", [{"fan": "both"}, {"distribution": "cauchy"}, {"cut": -1}, {"gain": "tanh"}]
)
def test_a_wrong_option_is_an_error_where_the_recipe_is_made(options):
    """Not at the first weight of a model."""
    with pytest.raises(FaninError):
        recipes.variance_scaling(**options)


@pytest.mark.parametrize("options", [{"keep": "length"}, {"gain": math.inf}, {"gain": "relu"}])
def test_a_wrong_option_of_orthogonal_is_an_error_where_the_recipe_is_made(options):
    """The same."""
    with pytest.raises(FaninError):
        recipes.orthogonal_matrices(**options)


def test_a_table_that_is_the_readout_too_starts_smaller():
    """As a lookup alone it would be N(0, 1), and the first logits of std sqrt(width)."""
    table = Site(name="wte", layout=Layout((500, 64), "lookup out"), role="embedding")
    tied = replace(table, other_roles=("readout",))
    for recipe in (recipes.kaiming, recipes.xavier, recipes.lecun, recipes.orthogonal):
        assert recipe(table).initializer.std(table.layout) == 1.0
        assert recipe(tied).initializer.std(table.layout) == pytest.approx(1 / 8)


def test_keras_opens_the_forget_gate_in_one_of_torchs_two_biases():
    """Both would add up to 2; a GRU of Keras' has no such start."""
    from torch import nn

    drawn = {
        site.name: recipes.keras_default(site).initializer
        for site in [
            *recipe_sites.of_module(nn.LSTM(3, 4), "lstm"),
            *recipe_sites.of_module(nn.GRU(3, 4), "gru"),
        ]
        if site.role == "bias"
    }
    assert {name: repr(value) for name, value in drawn.items()} == {
        "lstm.bias_ih_l0": "ForgetGate()",
        "lstm.bias_hh_l0": "Zeros",
        "gru.bias_ih_l0": "Zeros",
        "gru.bias_hh_l0": "Zeros",
    }


# Branches


@pytest.mark.parametrize("blocks", [2, 5])
@pytest.mark.parametrize("weights", [1, 2, 3])
def test_a_branch_is_walked_back_to_the_writer_before_it(blocks, weights):
    """Only in the first branch does the walk run on into the stem: no site tells where it forks."""
    found = branches(recipe_sites.residual_net(blocks, weights))
    for block in range(1, blocks + 1):
        inside = {f"blocks.{block}.conv{number}.weight" for number in range(1, weights)}
        stem = {"stem.weight"} if block == 1 else set()
        walked = {site.name for site in found[f"blocks.{block}.conv{weights}.weight"]}
        assert walked == inside | stem


def test_the_weights_before_a_writer_are_the_value_and_the_first_of_the_feed_forward():
    """Neither query nor key: their output reaches the writer through a softmax only."""
    found = before_writers(recipe_sites.post_norm(2))
    assert found == {f"layers.{layer}.{local}.weight" for layer in (0, 1) for local in ("v", "fc1")}


def test_a_branch_ends_at_what_feeds_its_shortcut():
    """In a net whose first block has a weight on its skip path, the fork is known."""
    axes = Layout((8, 8), "out in")
    place = Residual(stream=0, index=1, count=1)
    sites = [
        Site(name="stem", layout=axes),
        Site(name="one", layout=axes, sources=("stem",)),
        Site(name="two", layout=axes, role="residual_out", residual=place, sources=("one",)),
        Site(name="skip", layout=axes, role="shortcut", residual=place, sources=("stem",)),
    ]
    assert [site.name for site in branches(sites)["two"]] == ["one"]


# Refusals

NORMED = [
    replace(site, residual=replace(site.residual, norm="pre")) if site.residual else site
    for site in recipe_sites.residual_net()
]
CLOSED = [
    replace(site, built="zeros") if site.role == "branch_scale" else site
    for site in recipe_sites.residual_net(scaled=True)
]
ZEROED = [
    replace(site, built="zeros") if site.role == "residual_out" else site
    for site in recipe_sites.residual_net(scaled=True)
]
BEFORE_A_NORM = [
    replace(site, normalized_output=True) if site.role == "residual_out" else site
    for site in recipe_sites.residual_net()
]
NESTED = [
    replace(site, residual=replace(site.residual, level=1)) if site.residual else site
    for site in recipe_sites.residual_net()
]
TWO_STREAMS = [
    *recipe_sites.post_norm(),
    *(
        replace(site, name=f"more.{site.name}", residual=replace(site.residual, stream=1))
        for site in recipe_sites.post_norm()
        if site.residual
    ),
]
TWO_WIDTHS = [
    replace(site, layout=Layout((96, 48), "out in")) if site.name == "layers.1.out.weight" else site
    for site in recipe_sites.gpt()
]
UNEVEN = [
    replace(site, sources=("blocks.2.conv2.weight",)) if "3.conv2" in site.name else site
    for site in recipe_sites.residual_net()
]
PLAIN = [FC]

REFUSED = {
    "gpt2 without a stream": (recipes.gpt2, PLAIN, "no weight writes"),
    "depth_scaled without a stream": (recipes.depth_scaled, PLAIN, "no weight writes"),
    "small_init without a stream": (recipes.small_init, PLAIN, "no weight writes"),
    "small_init with two widths": (recipes.small_init, TWO_WIDTHS, r"\[48, 96\]"),
    "gpt_neox with two streams": (recipes.gpt_neox, TWO_STREAMS, "one stream"),
    "fixup without a stream": (recipes.fixup, PLAIN, "no weight writes"),
    "fixup with norms": (recipes.fixup, NORMED, "replaces normalization"),
    "fixup with attention": (
        recipes.fixup,
        [*recipe_sites.residual_net(), replace(FC, role="query")],
        "attention",
    ),
    "fixup in a branch of a branch": (recipes.fixup, NESTED, "another branch"),
    "fixup of one branch": (recipes.fixup, recipe_sites.residual_net(1), "one branch"),
    "fixup of uneven branches": (recipes.fixup, UNEVEN, r"\[1, 2\]"),
    "fixup with closed branches": (recipes.fixup, CLOSED, "two zeros"),
    "zero_residual with closed branches": (recipes.zero_residual, CLOSED, "two zeros"),
    "zero_residual before a norm": (recipes.zero_residual, BEFORE_A_NORM, "divides"),
    "skip_init without scalars": (recipes.skip_init, recipe_sites.residual_net(), "no learned"),
    "skip_init with zeroed writers": (recipes.skip_init, ZEROED, "two zeros"),
    "deepnorm without a stream": (recipes.deepnorm, PLAIN, "no weight writes"),
    "deepnorm pre-norm": (recipes.deepnorm, recipe_sites.gpt(), "post-norm"),
    "deepnorm with two streams": (recipes.deepnorm, TWO_STREAMS, "which is encoder"),
    "deepnorm with packed attention": (
        recipes.deepnorm,
        [
            replace(site, residual=replace(site.residual, norm="post")) if site.residual else site
            for site in recipe_sites.gpt()
        ],
        "packs value",
    ),
    "siren without sines": (recipes.siren, PLAIN, "no weight gets its input from a sine"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_scheme_whose_prerequisite_is_absent_is_refused_with_the_reason(case):
    """A scheme that silently does not fit trains, a little worse, and nobody knows why."""
    recipe, sites, reason = REFUSED[case]
    with pytest.raises(FaninError, match=reason):
        recipe.for_model(sites)


def test_only_skip_init_sets_what_a_model_declares_for_itself():
    """Its scalar is the scheme; every other recipe leaves declared starts alone."""
    overriding = {
        name: set(recipe.overrides)
        for name in recipes.names()
        if (recipe := recipes.named(name)).overrides
    }
    assert overriding == {"skip_init": {"branch_scale"}}
    scalar = Site(name="alpha", layout=Layout((1,), "channel"), role="branch_scale")
    assert isinstance(recipes.kaiming(scalar), Keep)


# Recipes of other packages


def install(folder, distribution: str, entries: dict[str, str], modules: dict[str, str]):
    """A distribution as pip leaves it: its metadata, and its modules beside it."""
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[fanin.recipes]", *lines, ""]))
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)


A_RECIPE = """
from fanin.initializers import Normal
from fanin.recipes import Recipe

def by_function(site):
    "w ~ N(0, 0.5²), by a function"
    return Normal(0.5)

as_value = Recipe("its own name", lambda site: Normal(0.25), "w ~ N(0, 0.25²)")
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("their_recipes", "their_other_recipes", "their_broken_recipes"):
        sys.modules.pop(name, None)


def test_a_recipe_of_another_package_is_found_by_name(folder):
    """A value, or a plain function; both under the name that their package registered."""
    entries = {"bold": "their_recipes:as_value", "plain": "their_recipes:by_function"}
    install(folder, "their-package", entries, {"their_recipes": A_RECIPE})
    assert {"bold", "plain"} <= set(recipes.names())
    assert recipes.named("bold").name == "bold"
    assert recipes.named("bold")(FC) == Normal(0.25)
    assert recipes.named("plain").formula == "w ~ N(0, 0.5²), by a function"
    assert recipes.named("plain")(FC) == Normal(0.5)


def test_another_package_is_not_imported_until_its_recipe_is_asked_for(folder):
    """A list of names, or a recipe of fanin's own, costs nobody else's import."""
    install(
        folder, "their-package", {"bold": "their_recipes:as_value"}, {"their_recipes": A_RECIPE}
    )
    recipes.names()
    recipes.named("kaiming")
    assert "their_recipes" not in sys.modules
    recipes.named("bold")
    assert "their_recipes" in sys.modules


def test_a_name_that_is_taken_is_qualified_by_its_distribution(folder):
    """fanin's own names never change their meaning by what is installed."""
    entries = {"kaiming": "their_recipes:as_value", "bold": "their_recipes:as_value"}
    install(folder, "their-package", entries, {"their_recipes": A_RECIPE})
    more = {"bold": "their_other_recipes:by_function"}
    install(folder, "their-other-package", more, {"their_other_recipes": A_RECIPE})
    names = set(recipes.names())
    assert {"kaiming", "their-package/kaiming"} <= names
    assert {"their-package/bold", "their-other-package/bold"} <= names
    assert "bold" not in names
    assert recipes.named("kaiming") is recipes.kaiming
    assert recipes.named("their-package/kaiming")(FC) == Normal(0.25)
    assert recipes.named("their-other-package/bold").name == "their-other-package/bold"
    with pytest.raises(FaninError, match="their-package/bold"):
        recipes.named("bold")


BROKEN = {
    "a module that is missing": ("no_such_module:recipe", "ModuleNotFoundError"),
    "a name that is missing": ("their_recipes:nothing", "AttributeError"),
    "a value that is no recipe": ("their_recipes:number", "not a recipe"),
    "a module that fails": ("their_broken_recipes:recipe", "ZeroDivisionError"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_recipe_is_an_error_that_names_its_distribution(folder, case):
    """And it is one only when that very recipe is asked for."""
    value, found = BROKEN[case]
    modules = {"their_recipes": A_RECIPE, "their_broken_recipes": "1 / 0"}
    install(folder, "their-package", {"bad": value}, modules)
    assert "bad" in recipes.names()
    with pytest.raises(FaninError, match=found) as caught:
        recipes.named("bad")
    assert "their-package" in caught.value.where
    assert "their-package" in caught.value.fix


@pytest.mark.parametrize("name", ["kaimin", "He", "", "their-package/kaiming"])
def test_an_unknown_name_is_an_error_with_the_nearest(name):
    """The command line takes names, and people mistype them."""
    with pytest.raises(FaninError, match="no recipe of this name") as caught:
        recipes.named(name)
    assert "kaiming" in caught.value.fix


def test_a_plan_of_choices_is_plain_json():
    """What a recipe chose for a whole model survives a file."""
    sites = recipe_sites.gpt()
    fitted = recipes.gpt2.for_model(sites)
    chosen = [said for site in sites if isinstance(said := fitted(site), Choice)]
    assert all("initializer" in json.loads(said.initializer.to_json()) for said in chosen)
    assert len(chosen) > 10
