"""Each formula, measured on the real torch layer: it passes, and every rival formula fails."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

import fanin
from fanin.initializers import (
    Initializer,
    Normal,
    Orthogonal,
    Sparse,
    VarianceScaling,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    xavier_normal,
    xavier_uniform,
)

FALSE_ALARM = 1e-6
DRAWS = 24
INS, OUTS = 60, 420
"""A ratio at which no two of the formulas below have the same variance."""

# The forward factor E y² / E x² = fan_in * std² that each paper's formula gives.
FORMULAS = {
    kaiming_normal(): 2.0,
    kaiming_uniform(): 2.0,
    kaiming_normal(fan="out"): 2 * INS / OUTS,
    kaiming_uniform("tanh"): INS * fanin.gain("tanh") ** 2 / INS,
    lecun_normal(): 1.0,
    lecun_uniform(): 1.0,
    VarianceScaling(1.0, fan="out"): INS / OUTS,
    xavier_normal(): 2 * INS / (INS + OUTS),
    xavier_uniform(): 2 * INS / (INS + OUTS),
    xavier_uniform("relu"): 4 * INS / (INS + OUTS),
    VarianceScaling(1.0, fan="geometric", cut=2): math.sqrt(INS / OUTS),
    VarianceScaling(1 / math.sqrt(3), distribution="uniform"): 1 / 3,
    Orthogonal(): INS / OUTS,
    Orthogonal(keep="signal"): 1.0,
    Orthogonal("relu", keep="signal"): 2.0,
    Sparse(7): 1.0,
}


def t_score(samples: list[float], expected: float) -> float:
    """How many standard errors the samples' mean is from what was expected."""
    mean = sum(samples) / len(samples)
    spread = math.sqrt(sum((x - mean) ** 2 for x in samples) / (len(samples) - 1))
    # An orthogonal matrix keeps the mean square almost without noise: rounding is then the floor.
    return abs(mean - expected) / max(spread / math.sqrt(len(samples)), 1e-5 * expected)


THRESHOLD = float(stats.t.isf(FALSE_ALARM / 2, DRAWS - 1))


def forward_factors(value) -> list[float]:
    factors = []
    for seed in range(DRAWS):
        layer = nn.Linear(INS, OUTS, bias=False)
        value.fill_(layer.weight, layout=fanin.layout(layer), seed=seed)
        x = torch.randn(200, INS, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            factors.append((layer(x).pow(2).mean() / x.pow(2).mean()).item())
    return factors


@pytest.mark.parametrize("value", FORMULAS, ids=repr)
def test_a_formula_holds_on_a_linear_layer_and_its_rivals_do_not(value):
    """A test that accepts a rival formula would accept a wrong initializer."""
    found = forward_factors(value)
    assert t_score(found, FORMULAS[value]) < THRESHOLD
    rivals = {factor for factor in FORMULAS.values() if abs(factor / FORMULAS[value] - 1) > 0.01}
    assert len(rivals) >= 7
    for rival in rivals:
        assert t_score(found, rival) > THRESHOLD


KINDS = {
    "grouped": (nn.Conv2d(16, 32, 3, groups=4, padding=1, padding_mode="circular"), (16, 8, 8)),
    "strided": (nn.Conv2d(8, 16, 4, stride=2, padding=1, padding_mode="circular"), (8, 8, 8)),
    "transposed": (nn.ConvTranspose2d(16, 8, 2, stride=2), (16, 6, 6)),
    "transposed, in groups": (nn.ConvTranspose1d(16, 32, 4, stride=4, groups=4), (16, 6)),
    "depthwise": (nn.Conv1d(24, 48, 5, groups=24, padding=2, padding_mode="circular"), (24, 12)),
}
KEEPERS = {
    "kaiming, forward": (kaiming_normal("identity"), 0),
    "kaiming, backward": (kaiming_uniform("identity", fan="out"), 1),
    "orthogonal, signal": (Orthogonal(keep="signal"), 0),
    "orthogonal, gradient": (Orthogonal(keep="gradient"), 1),
    "sparse": (Sparse(3), 0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keeper", KEEPERS)
def test_the_promised_direction_keeps_its_variance_on_every_kind_of_layer(kind, keeper):
    """Through the layer itself: a shape alone says nothing of stride, groups or transposition."""
    layer, shape = KINDS[kind]
    value, direction = KEEPERS[keeper]
    factors = []
    for seed in range(DRAWS):
        value.fill_(layer.weight, layout=fanin.layout(layer), seed=seed, name=kind)
        nn.init.zeros_(layer.bias)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(40, *shape, generator=generator, requires_grad=True)
        y = layer(x)
        gradient = torch.randn(y.shape, generator=generator)
        (back,) = torch.autograd.grad(y, x, gradient)
        forward = y.pow(2).mean() / x.pow(2).mean()
        backward = back.pow(2).mean() / gradient.pow(2).mean()
        factors.append((forward, backward)[direction].item())
    assert t_score(factors, 1.0) < THRESHOLD
    # Power: a fan that is wrong by a group or a stride is off by at least a factor of two.
    assert t_score(factors, 0.5) > THRESHOLD
    assert t_score(factors, 2.0) > THRESHOLD


LAWS = {
    "normal": (Normal(0.1), stats.norm(scale=0.1).cdf),
    "uniform": (
        VarianceScaling(1.0, distribution="uniform"),
        stats.uniform(-math.sqrt(3 / 500), 2 * math.sqrt(3 / 500)).cdf,
    ),
    "cut at 2": (Normal(0.1, cut=2), stats.truncnorm(-2, 2, scale=0.1 / 0.8796256610342397).cdf),
    "cut at 1": (Normal(0.1, cut=1), stats.truncnorm(-1, 1, scale=0.1 / 0.5395600938).cdf),
}


@pytest.mark.parametrize("law", LAWS)
def test_the_distribution_is_the_one_named_and_no_other(law):
    """Kolmogorov-Smirnov on 200,000 entries; the same test must reject every other law."""
    value, _ = LAWS[law]
    w = value.fill_(torch.empty(400, 500), seed=1).double().flatten().numpy()
    for other, (rival, cdf) in LAWS.items():
        scale = rival.std(fanin.Layout((400, 500), "out in")) / w.std()
        p_value = stats.kstest(w * (1 if other == law else scale), cdf).pvalue
        assert (p_value > FALSE_ALARM) == (other == law), (other, p_value)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (xavier_uniform(), nn.init.xavier_uniform_),
        (xavier_normal(), nn.init.xavier_normal_),
        (xavier_uniform(5 / 3), lambda w: nn.init.xavier_uniform_(w, 5 / 3)),
        (kaiming_uniform(), lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu")),
        (kaiming_normal(), lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu")),
        (kaiming_normal(fan="out"), lambda w: nn.init.kaiming_normal_(w, 0, "fan_out", "relu")),
        (kaiming_uniform("leaky_relu(0.3)"), lambda w: nn.init.kaiming_uniform_(w, 0.3)),
        (VarianceScaling(1 / math.sqrt(3), distribution="uniform"), None),
        (Orthogonal(2.0), lambda w: nn.init.orthogonal_(w, 2.0)),
        (Normal(0.02), lambda w: nn.init.normal_(w, std=0.02)),
    ],
    ids=lambda value: repr(value) if isinstance(value, Initializer) else "torch",
)
@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(300, 500), lambda: nn.Conv2d(20, 50, 3)], ids=["linear", "conv"]
)
def test_where_torch_is_right_the_distributions_agree(ours, theirs, make):
    """Two-sample Kolmogorov-Smirnov against torch.nn.init; None is the layer's own default."""
    torch.manual_seed(0)
    layer = make()
    reference = layer.weight.detach().clone()
    if theirs is not None:
        theirs(reference)
    ours.fill_(layer.weight, layout=fanin.layout(layer), seed=0)
    found = stats.ks_2samp(layer.weight.detach().flatten().numpy(), reference.flatten().numpy())
    assert found.pvalue > FALSE_ALARM
    wrong = stats.ks_2samp(
        1.2 * layer.weight.detach().flatten().numpy(), reference.flatten().numpy()
    )
    assert wrong.pvalue < FALSE_ALARM
