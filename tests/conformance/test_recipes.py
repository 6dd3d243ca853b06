"""Every exported recipe keeps the promises of `Recipe`; a new export joins by itself."""

import re
from pathlib import Path

import pytest
import torch
from tests.conformance.recipe_sites import ALONE, MODELS
from tests.thresholds import variance_threshold

from fanin import FaninError, recipes
from fanin.initializers import Constant, Initializer, ScaledOutputs, from_json
from fanin.recipes import Choice, Keep, Recipe

RECIPES = {
    name: value for name in recipes.__all__ if isinstance(value := getattr(recipes, name), Recipe)
}
MADE = {
    "by fan_out": recipes.variance_scaling("by fan_out", fan="out"),
    "cut": recipes.variance_scaling("cut", fan="geometric", cut=2.0),
    "norm kept": recipes.orthogonal_matrices("norm kept", keep="norm"),
    "at the centre": recipes.orthogonal_matrices("at the centre", gain=1.0, delta=True),
}
NO_PAPER = ("torch_default", "keras_default", "steady")
"""Two are defaults of libraries; steady's evidence is its own page."""

each = pytest.mark.parametrize("recipe", [*RECIPES.values(), *MADE.values()], ids=lambda r: r.name)
each_own = pytest.mark.parametrize("name", RECIPES)


def decisions(recipe):
    """Every decision of this recipe: on sites alone, and within the models it accepts."""
    found = [(site, recipe(site)) for site in ALONE]
    for sites in MODELS.values():
        try:
            fitted = recipe.for_model(sites)
        except FaninError:
            continue
        found += [(site, fitted(site)) for site in sites]
    return found


def choices(recipe):
    return [(site, said) for site, said in decisions(recipe) if isinstance(said, Choice)]


def test_there_are_recipes_here():
    """The tests below would all pass for an empty list."""
    assert {"torch_default", "kaiming", "gpt2", "lsuv", "steady"} <= set(RECIPES)


@each_own
def test_a_recipe_is_exported_and_looked_up_under_its_own_name(name):
    """A plan, a comparison and the command line call it alike."""
    assert RECIPES[name].name == name
    assert recipes.named(name) is RECIPES[name]
    assert name in recipes.names()


@each
def test_a_decision_is_legal_and_its_reason_is_a_sentence(recipe):
    """The plan prints the reason, so it must read by itself."""
    for site, said in decisions(recipe):
        assert said is None or isinstance(said, Choice | Keep), site.name
        if said is not None:
            assert re.fullmatch(r"[A-Z].*\.", said.why), (site.name, said.why)


@each
def test_a_recipe_has_a_formula_and_a_paper(recipe):
    """A start whose origin is not known cannot be checked."""
    assert recipe.formula
    assert recipe.name in str(recipe)
    if recipe.name not in (*NO_PAPER, *MADE):
        assert re.search(r"\b(19|20)\d\d\b", recipe.paper), "no year"


@each_own
def test_the_reference_has_the_formula_and_the_paper(name):
    """As the recipe itself says them, so that the page cannot fall behind; steady has its own."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "recipes.md").read_text()
    assert f"`{name}`" in page
    if name != "steady":
        assert RECIPES[name].formula in page
        assert RECIPES[name].paper in page


@each
def test_a_recipe_is_pure(recipe):
    """A plan made twice is the same plan."""
    assert decisions(recipe) == decisions(recipe)


@each
def test_norms_are_kept_or_start_as_the_identity(recipe):
    """No exported scheme says anything else of them."""
    for site, said in decisions(recipe):
        if site.role in ("norm_scale", "norm_shift") and isinstance(said, Choice):
            assert said.initializer == Constant(1.0 if site.role == "norm_scale" else 0.0)


@each
def test_buffers_are_never_drawn(recipe):
    """They hold state: running statistics, masks, tables of angles."""
    for site, said in decisions(recipe):
        assert site.role != "buffer" or isinstance(said, Keep)


def test_every_recipe_accepts_some_model_and_draws_there():
    """A recipe that refuses everything would pass every other test."""
    for recipe in RECIPES.values():
        drawn = 0
        for sites in MODELS.values():
            try:
                fitted = recipe.for_model(sites)
            except FaninError:
                continue
            drawn += sum(isinstance(fitted(site), Choice) for site in sites)
        assert drawn > 0, recipe.name


@each
def test_a_refusal_says_what_is_missing(recipe):
    """It names the scheme and the reason, and the other models go on working."""
    for sites in MODELS.values():
        if recipe.refuse and (why := recipe.refuse(sites)):
            with pytest.raises(FaninError, match=recipe.name) as caught:
                recipe.for_model(sites)
            assert caught.value.found == why
            assert len(why.split()) > 5


@each
def test_every_weight_of_an_accepted_model_is_decided(recipe):
    """An unclaimed matrix is an error when the plan is applied."""
    known = {"torch_default": ["torch's layers"]}.get(recipe.name, MODELS)
    for name in known:
        sites = MODELS[name]
        try:
            fitted = recipe.for_model(sites)
        except FaninError:
            continue
        for site in sites:
            assert fitted(site) is not None, (name, site.name)


@each
def test_every_choice_can_be_saved(recipe):
    """A plan is JSON; also where the activation is a function without a name."""
    for site, said in choices(recipe):
        assert from_json(said.initializer.to_json()) == said.initializer, site.name


def draw(initializer: Initializer, site) -> torch.Tensor:
    return initializer.fill_(
        torch.empty(site.layout.shape), layout=site.layout, seed=3, name=site.name
    )


@each
def test_every_choice_draws_finite_weights_of_the_std_it_says(recipe):
    """On every layout: groups, gates, experts, transposed, packed."""
    found = [(site, said) for site, said in choices(recipe) if site.layout]
    assert found
    for site, said in found:
        drawn = draw(said.initializer, site)
        if drawn.numel() == 0:
            continue
        assert torch.isfinite(drawn).all(), site.name
        std = said.initializer.std(site.layout)
        square = float(drawn.double().square().mean())
        if std == 0:
            assert torch.equal(drawn, drawn[(0,) * drawn.dim()].expand_as(drawn)), site.name
        elif site.layout.has_fans or site.role != "bias":
            # 3 is a normal's kurtosis; what is drawn otherwise varies less.
            allowed = variance_threshold(drawn.numel(), 3, comparisons=len(found) * 20)
            assert square == pytest.approx(std**2, rel=allowed), (site.name, said.initializer)


@each
def test_a_measured_target_is_a_sensible_std(recipe):
    """What calibration divides to: finite, positive, and of a weight with outputs."""
    for site, said in choices(recipe):
        if said.target_std is not None:
            assert 0 < said.target_std <= 1
            assert site.layout.has_fans
            assert not isinstance(said.initializer, ScaledOutputs)


@each
def test_only_lsuv_asks_to_be_measured(recipe):
    """The others need no data: the plan is complete without a batch of values."""
    assert any(said.target_std for _, said in choices(recipe)) == (recipe.name == "lsuv")
