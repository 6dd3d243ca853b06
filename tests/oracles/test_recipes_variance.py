"""What the recipes promise of a signal, measured through torch layers; rivals are rejected."""

import math

import pytest
import torch
from scipy import integrate, stats
from tests.conformance import recipe_sites
from tests.thresholds import FALSE_ALARM
from torch import nn

from fanin import Layout, recipes
from fanin._site import Site
from fanin.initializers import Zeros

DRAWS = 60
INS, HIDDEN, OUTS = 160, 320, 80
"""It widens and narrows, so that fan_in, fan_out and their mean all differ."""

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "gelu": nn.functional.gelu}


def second(name: str, variance: float) -> float:
    """E phi(z)², z ~ N(0, variance), by another quadrature than fanin's."""
    phi = {
        "relu": lambda x: max(x, 0.0),
        "tanh": math.tanh,
        "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    }[name]
    scale = math.sqrt(variance)
    density = lambda z: phi(scale * z) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return integrate.quad(density, -12, 12, points=[0.0], limit=200)[0]


def of(gain: float, fan: float, fan_in: int) -> float:
    """What the output's mean square is of the input's, for std = gain / sqrt(fan)."""
    return gain**2 * fan_in / fan


def predictions(name: str) -> dict[str, tuple[float, float]]:
    """E z² after the first and after the second layer, for inputs of mean square 1."""
    inverse = 1 / second(name, 1.0)
    first = {
        "kaiming": 1.0,
        "xavier": of(1, (INS + HIDDEN) / 2, INS),
        "lecun": 1.0,
        "orthogonal": 1.0,
        "norm kept": INS / HIDDEN,
    }
    gains = {
        "kaiming": inverse,
        "xavier": of(1, (HIDDEN + OUTS) / 2, HIDDEN),
        "lecun": 1.0,
        "orthogonal": inverse,
        "norm kept": inverse,
    }
    return {key: (first[key], gains[key] * second(name, first[key])) for key in first}


RECIPES = {
    "kaiming": recipes.kaiming,
    "xavier": recipes.xavier,
    "lecun": recipes.lecun,
    "orthogonal": recipes.orthogonal,
    "norm kept": recipes.orthogonal_matrices("norm kept", keep="norm"),
}


def t_score(samples: list[float], expected: float) -> float:
    """How many standard errors the samples' mean is from what was expected."""
    values = torch.tensor(samples, dtype=torch.float64)
    error = float(values.std()) / math.sqrt(len(samples))
    # Orthogonal rows give almost no noise; what float32 and the finite width leave is then more.
    return abs(float(values.mean()) - expected) / max(error, 1e-3 * expected)


THRESHOLD = float(stats.t.isf(FALSE_ALARM / 2, DRAWS - 1))


def measured(recipe, name: str) -> tuple[list[float], list[float]]:
    """Mean squares after each of two layers, for draws of the weights; inputs of length sqrt(n)."""
    first, last = nn.Linear(INS, HIDDEN), nn.Linear(HIDDEN, OUTS)
    sites = [
        Site(name="first.weight", layout=Layout((HIDDEN, INS), "out in"), activation_after=name),
        Site(name="last.weight", layout=Layout((OUTS, HIDDEN), "out in"), activation=name),
    ]
    found: tuple[list[float], list[float]] = ([], [])
    for seed in range(DRAWS):
        for layer, site in zip((first, last), sites, strict=True):
            choice = recipe(site)
            choice.initializer.fill_(layer.weight, layout=site.layout, seed=seed, name=site.name)
            Zeros.fill_(layer.bias)
        x = torch.randn(100, INS, generator=torch.Generator().manual_seed(seed))
        x = x / x.square().mean(dim=1, keepdim=True).sqrt()
        with torch.no_grad():
            hidden = first(x)
            found[0].append(float(hidden.square().mean()))
            found[1].append(float(last(ACTIVATIONS[name](hidden)).square().mean()))
    return found


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("key", RECIPES)
def test_a_classic_gives_the_signal_that_its_formula_predicts(key, name):
    """The predictions of the other classics, of another gain or another fan, are told apart."""
    expected = predictions(name)
    for place, samples in enumerate(measured(RECIPES[key], name)):
        promise = expected[key][place]
        assert t_score(samples, promise) < THRESHOLD
        rivals = {promise * factor for factor in (1.25, 0.8, HIDDEN / OUTS, INS / HIDDEN)}
        rivals |= {values[place] for values in expected.values()}
        for rival in rivals:
            if abs(rival / promise - 1) > 0.15:
                assert t_score(samples, rival) > THRESHOLD, rival


BETA2 = 24**-0.5
"""deepnorm's beta² for 3 layers: (8 N)^(-1/4), squared."""

SCHEMES = {
    "gpt2, any matrix": (recipes.gpt2, "gpt", "layers.1.fc1.weight", 48 * 4e-4),
    "gpt2, writer": (recipes.gpt2, "gpt", "layers.1.fc2.weight", 192 * 4e-4 / 6),
    "depth_scaled, layer 1": (recipes.depth_scaled, "gpt", "layers.0.fc2.weight", 192 * 4e-4 / 2),
    "depth_scaled, layer 3": (recipes.depth_scaled, "gpt", "layers.2.out.weight", 48 * 4e-4 / 6),
    "depth_scaled, readout": (recipes.depth_scaled, "gpt", "head.weight", 1.0),
    "small_init, up": (recipes.small_init, "gpt", "layers.0.fc1.weight", 0.4),
    "small_init, down": (recipes.small_init, "gpt", "layers.0.fc2.weight", 1.6),
    "gpt_neox, up": (recipes.gpt_neox, "gpt", "layers.0.fc1.weight", 0.4),
    "gpt_neox, writer": (recipes.gpt_neox, "gpt", "layers.0.out.weight", 4 / 9),
    "deepnorm, value": (recipes.deepnorm, "post-norm", "layers.0.v.weight", BETA2),
    "deepnorm, query": (recipes.deepnorm, "post-norm", "layers.0.q.weight", 1.0),
    "deepnorm, output": (recipes.deepnorm, "post-norm", "layers.2.out.weight", BETA2),
    "deepnorm, up": (recipes.deepnorm, "post-norm", "layers.1.fc1.weight", 96 / 240 * BETA2),
    "deepnorm, readout": (recipes.deepnorm, "post-norm", "head.weight", 96 / 348),
    "fixup, in a branch": (recipes.fixup, "residual", "blocks.2.conv1.weight", 2 / 4),
    "fixup, stem": (recipes.fixup, "residual", "stem.weight", 1.0),
    "zero_residual, rest": (recipes.zero_residual, "residual", "blocks.2.conv1.weight", 2.0),
    "skip_init, writer": (
        recipes.skip_init,
        "residual with scales",
        "blocks.3.conv2.weight",
        2.0,
    ),
    "siren, first": (recipes.siren, "sines", "first.weight", 2 * (1 / 4) / 3),
    "siren, hidden": (recipes.siren, "sines", "hidden.weight", 2 / 900),
    "siren, last": (recipes.siren, "sines", "last.weight", 2 / 900),
}


def layer_of(layout: Layout) -> tuple[nn.Module, tuple[int, ...]]:
    """The torch layer that has this weight, and the shape of one input."""
    if len(layout.shape) == 4:
        out, into = layout.channels_shape()
        conv = nn.Conv2d(into, out, 3, padding=1, padding_mode="circular", bias=False)
        return conv, (into, 6, 6)
    out, into = layout.matrix_shape()
    return nn.Linear(into, out, bias=False), (into,)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_published_scheme_gives_the_variance_of_its_formula(scheme):
    """Through the layer that the site describes; a rival a quarter off is told apart."""
    recipe, model, name, expected = SCHEMES[scheme]
    sites = recipe_sites.MODELS[model]
    (site,) = (site for site in sites if site.name == name)
    choice = recipe.for_model(sites)(site)
    layer, shape = layer_of(site.layout)
    samples = []
    draws = 400
    for seed in range(draws):
        choice.initializer.fill_(layer.weight, layout=site.layout, seed=seed, name=name)
        x = torch.randn(16, *shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            samples.append(float(layer(x).square().mean() / x.square().mean()))
    threshold = float(stats.t.isf(FALSE_ALARM / 2, draws - 1))
    assert t_score(samples, expected) < threshold
    for rival in (2.0, 1.5, 1 / 1.5, 0.5):
        assert t_score(samples, rival * expected) > threshold


ZEROS = {
    "fixup, writer": (recipes.fixup, "residual", "blocks.4.conv2.weight"),
    "fixup, readout": (recipes.fixup, "residual", "fc.weight"),
    "zero_residual, writer": (recipes.zero_residual, "residual", "blocks.1.conv2.weight"),
    "skip_init, scalar": (recipes.skip_init, "residual with scales", "blocks.1.scale"),
}


@pytest.mark.parametrize("scheme", ZEROS)
def test_a_scheme_that_closes_a_branch_starts_it_at_exactly_zero(scheme):
    """A small number would still add up over a thousand branches."""
    recipe, model, name = ZEROS[scheme]
    sites = recipe_sites.MODELS[model]
    (site,) = (site for site in sites if site.name == name)
    assert recipe.for_model(sites)(site).initializer == Zeros


@pytest.mark.parametrize(("weights", "power"), [(2, -1 / 2), (3, -1 / 4), (4, -1 / 6)])
@pytest.mark.parametrize("blocks", [2, 4, 9])
def test_fixups_factor_is_that_of_the_paper_for_any_branch(weights, power, blocks):
    """L^(-1 / (2m - 2)): m = 2 gives L^(-1/2), m = 3 L^(-1/4); and the stem has no factor."""
    sites = recipe_sites.residual_net(blocks, weights)
    recipe = recipes.fixup.for_model(sites)
    by_name = {site.name: site for site in sites}
    inner = [(block, number) for block in (1, blocks) for number in range(1, weights)]
    for block, number in inner:
        site = by_name[f"blocks.{block}.conv{number}.weight"]
        plain = math.sqrt(2 / 144)
        assert recipe(site).initializer.std(site.layout) == pytest.approx(plain * blocks**power)
    stem = by_name["stem.weight"]
    assert recipe(stem).initializer.std(stem.layout) == pytest.approx(1 / math.sqrt(27))


@pytest.mark.parametrize(
    ("layers", "beta"),
    [(6, 0.3799178428257963), (12, 0.3194715521231362), (100, 0.18803015465431966)],
)
def test_deepnorms_beta_is_that_of_the_paper(layers, beta):
    """(8 N)^(-1/4), against numbers computed apart; N = 12 is .3194716."""
    sites = recipe_sites.post_norm(layers)
    recipe = recipes.deepnorm.for_model(sites)
    by_name = {site.name: site for site in sites}
    value, query = (by_name[f"layers.0.{local}.weight"] for local in "vq")
    ratio = recipe(value).initializer.std(value.layout) / recipe(query).initializer.std(
        query.layout
    )
    assert ratio == pytest.approx(beta)


def test_gpt2s_writers_add_the_variance_of_one_whatever_the_depth():
    """The reason for 1 / sqrt(2 L): the variances that all writers add sum to the same."""
    totals = []
    for layers in (1, 3, 24):
        sites = recipe_sites.gpt(layers)
        recipe = recipes.gpt2.for_model(sites)
        writers = [site for site in sites if site.role == "residual_out"]
        totals.append(sum(recipe(site).initializer.std(site.layout) ** 2 for site in writers))
    assert totals == pytest.approx([4e-4] * 3)


def test_lsuvs_targets_add_up_to_one_stream():
    """Each writer's target is the root of its share."""
    for layers in (1, 3, 24):
        writers = [site for site in recipe_sites.gpt(layers) if site.role == "residual_out"]
        targets = [recipes.lsuv(site).target_std for site in writers]
        assert sum(target**2 for target in targets) == pytest.approx(1.0)
