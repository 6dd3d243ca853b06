"""Normalizations, torch's and written out: what arrives normalized, and whose output is."""

import pytest
import torch
from tests.oracles.trace_models import Model, parameter, rows, sites, writers
from torch import nn
from torch.nn import functional

F = functional


def rms(x, eps=1e-6):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def t5_rms(x):
    variance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
    return (x * torch.rsqrt(variance + 1e-6)).to(x.dtype)


def layer_norm(x):
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5)


def layer_norm_by_squares(x):
    mean = x.mean(-1, keepdim=True)
    centred = x - mean
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()


def layer_norm_by_var_mean(x):
    var, mean = torch.var_mean(x, -1, keepdim=True)
    return (x - mean) * torch.rsqrt(var + 1e-5)


def channels_first(x):
    """ConvNeXt's, over axis 1."""
    u = x.mean(1, keepdim=True)
    s = (x - u).pow(2).mean(1, keepdim=True)
    return (x - u) / torch.sqrt(s + 1e-6)


NORMS = {
    "LayerNorm": lambda x: F.layer_norm(x, (8,)),
    "RMSNorm": lambda x: F.rms_norm(x, (8,)),
    "GroupNorm": lambda x: F.group_norm(x, 2),
    "BatchNorm": lambda x: F.batch_norm(x, torch.zeros(8), torch.ones(8)),
    "BatchNorm, training": lambda x: F.batch_norm(x, None, None, training=True),
    "InstanceNorm": lambda x: F.instance_norm(x[:, None])[:, 0],
    "RMS by hand": rms,
    "RMS by hand, as T5": t5_rms,
    "RMS by norm": lambda x: x / (x.norm(dim=-1, keepdim=True) * 8**-0.5 + 1e-6),
    "RMS by square, mean": lambda x: x / x.square().mean(-1, keepdim=True).add(1e-6).sqrt(),
    "RMS by product": lambda x: x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6),
    "LayerNorm by hand": layer_norm,
    "LayerNorm by squares": layer_norm_by_squares,
    "LayerNorm by var_mean": layer_norm_by_var_mean,
    "LayerNorm by std": lambda x: (x - x.mean(-1, True)) / (x.std(-1, keepdim=True) + 1e-6),
    "channels first by hand": channels_first,
    "normalize": lambda x: F.normalize(x, dim=-1),
    "normalize by hand": lambda x: x / x.norm(dim=-1, keepdim=True),
    "normalize by linalg": lambda x: x / torch.linalg.vector_norm(x, dim=-1, keepdim=True),
    "by the sum of absolutes": lambda x: x / x.abs().sum(-1, keepdim=True),
    "by the largest": lambda x: x / x.abs().amax(-1, keepdim=True),
    "batch norm by hand": lambda x: (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt(),
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_a_norm_is_seen_on_both_sides_however_it_is_written(norm):
    """What comes out has a fixed size whatever the weight before it is scaled by."""
    model = Model(lambda m, x: m.b(F.relu(norm(m.a(x)))), a=nn.Linear(6, 8), b=nn.Linear(8, 3))
    found = sites(model, rows(4, 6))
    a, b = found["a.weight"], found["b.weight"]
    assert (a.normalized_output, a.activation_after) == (True, "identity")
    assert (b.normalized_input, b.activation, b.sources) == (True, "relu", ("a.weight",))
    assert (a.normalized_input, b.normalized_output) == (False, False)


NO_NORMS = {
    "a softmax": lambda x: x.softmax(-1),
    "a softmax by hand": lambda x: x.exp() / x.exp().sum(-1, keepdim=True),
    "centring": lambda x: x - x.mean(-1, keepdim=True),
    "a mean that multiplies": lambda x: x * x.mean(-1, keepdim=True),
    "a global factor": lambda x: x * x.mean().sigmoid(),
    "an activation": lambda x: x * torch.sigmoid(x),
}


@pytest.mark.parametrize("function", NO_NORMS.values(), ids=NO_NORMS)
def test_what_does_not_fix_a_size_is_no_norm(function):
    """Shares, shifts and gates."""
    model = Model(lambda m, x: m.b(function(m.a(x))), a=nn.Linear(6, 8), b=nn.Linear(8, 3))
    found = sites(model, rows(4, 6))
    assert (found["a.weight"].normalized_output, found["b.weight"].normalized_input) == (
        False,
        False,
    )


SCALES = {
    "LayerNorm": (lambda m, x: F.layer_norm(x, (8,), m.g, m.s), True),
    "RMSNorm": (lambda m, x: F.rms_norm(x, (8,), m.g), False),
    "by hand": (lambda m, x: m.g * layer_norm(x) + m.s, True),
    "by hand, scale behind": (lambda m, x: rms(x) * m.g, False),
    "by hand, one plus scale": (lambda m, x: rms(x) * (1 + m.g), False),
    "by hand, cast": (lambda m, x: m.g * t5_rms(x).to(m.g.dtype), False),
    "addcmul": (lambda m, x: torch.addcmul(m.s, layer_norm(x), m.g), True),
    "BatchNorm": (
        lambda m, x: F.batch_norm(x, None, None, m.g, m.s, training=True), True,
    ),
    "GroupNorm": (lambda m, x: F.group_norm(x, 2, m.g, m.s), True),
}  # fmt: skip


@pytest.mark.parametrize(("norm", "shifts"), SCALES.values(), ids=SCALES)
def test_the_scale_and_shift_of_a_norm_are_told(norm, shifts):
    """Parameters of a user's own norm, or given to torch's as arguments."""
    model = Model(
        lambda m, x: m.b(norm(m, m.a(x))), a=nn.Linear(6, 8), b=nn.Linear(8, 3),
        g=parameter(8), s=parameter(8),
    )  # fmt: skip
    found = sites(model, rows(4, 6))
    assert (found["g"].role, found["g"].uses) == ("norm_scale", 1)
    assert str(found["g"].layout) == "normalization [channel=8]"
    if shifts:
        assert (found["s"].role, found["s"].uses) == ("norm_shift", 1)
    assert found["b.weight"].normalized_input
    assert found["a.weight"].normalized_output


def test_a_norm_of_the_input_is_before_the_first_weight():
    """Standardized inputs."""
    model = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 3))
    found = sites(model, rows(4, 6))
    assert found["1.weight"].normalized_input
    assert found["0.weight"].role == "norm_scale"


def test_a_norm_after_an_activation_leaves_the_weight_its_std():
    """weight, relu, norm: relu sees the scale; for tanh it matters."""
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3))
    found = sites(model, rows(4, 6))
    assert not found["0.weight"].normalized_output
    assert found["3.weight"].normalized_input


def test_a_norm_after_a_sum_is_not_after_its_terms():
    """A residual sum in between: the branch's std then has an effect."""
    model = Model(
        lambda m, x: m.c(m.n(x + m.b(F.relu(m.a(x))))), a=nn.Linear(6, 8), b=nn.Linear(8, 6),
        n=nn.LayerNorm(6), c=nn.Linear(6, 2),
    )  # fmt: skip
    found = sites(model, rows(4, 6))
    assert not found["b.weight"].normalized_output
    assert found["b.weight"].residual.norm == "post"
    assert found["c.weight"].normalized_input


def test_a_weight_read_with_and_without_a_norm_keeps_its_std():
    """One reader sees the scale."""
    model = Model(
        lambda m, x: m.b(m.n(h := m.a(x))) + m.c(h), a=nn.Linear(6, 8), n=nn.LayerNorm(8),
        b=nn.Linear(8, 3), c=nn.Linear(8, 3),
    )  # fmt: skip
    found = sites(model, rows(4, 6))
    assert not found["a.weight"].normalized_output


def test_the_stem_of_a_pre_norm_net_keeps_its_std():
    """Its branches read it through norms, but the stream carries it on as it is."""
    model = Model(
        lambda m, x: m.head(m.end((h := m.stem(x)) + m.b(F.relu(m.a(m.n(h)))))),
        stem=nn.Linear(6, 6), n=nn.LayerNorm(6), a=nn.Linear(6, 8), b=nn.Linear(8, 6),
        end=nn.LayerNorm(6), head=nn.Linear(6, 2),
    )  # fmt: skip
    found = sites(model, rows(4, 6))
    assert not found["stem.weight"].normalized_output
    assert found["a.weight"].normalized_input
    tied = nn.Sequential(nn.Embedding(10, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    assert sites(tied, torch.tensor([1, 2, 3]))["0.weight"].normalized_output


def test_a_pool_between_weight_and_norm_changes_nothing():
    """conv, pool, norm."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3)
    )
    found = sites(model, rows(2, 3, 12, 12))
    assert found["0.weight"].normalized_output
    assert (found["4.weight"].normalized_input, found["4.weight"].activation) == (True, "relu")


def test_a_dropout_between_weight_and_norm_changes_nothing():
    """Post-norm transformers drop before they add; some drop before they normalize."""
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.1), nn.LayerNorm(8), nn.Linear(8, 2))
    for training in (False, True):
        found = sites(model, rows(4, 6), training=training)
        assert found["0.weight"].normalized_output


def test_adaptive_norms_modulate_and_do_not_write():
    """AdaIN and conditional norms: scale and shift come from another weight."""

    def run(m, x, c):
        g, s = m.c(c).chunk(2, -1)
        return m.b(F.layer_norm(m.a(x), (8,)) * (1 + g) + s)

    model = Model(run, a=nn.Linear(6, 8), b=nn.Linear(8, 3), c=nn.Linear(5, 16))
    batch = (rows(4, 6), rows(4, 5))
    found = sites(model, batch)
    assert writers(model, batch) == []
    assert found["a.weight"].normalized_output
    assert not found["c.weight"].normalized_output
