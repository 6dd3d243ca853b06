"""steady's rules, one by one, on hand-made sites: what each says, and that its rivals differ."""

from dataclasses import replace
from math import isclose, sqrt
from typing import get_args

import pytest
import torch
from torch import nn

import fanin
from fanin import Block, Layout, gain, moments, recipes
from fanin._site import Residual, Site, SiteRole
from fanin.initializers import (
    Constant,
    ForgetGate,
    LooksLinear,
    Normal,
    Orthogonal,
    Uniform,
    VarianceScaling,
    Zeros,
    xavier_uniform,
)
from fanin.recipes import Choice, Keep, steady
from fanin.recipes._steady import DEEP
from fanin.recipes._steady_plain import GROWTH, passed_on

SQUARE = Layout((64, 64), "out in")
BIAS = Layout((64,), "out", role="bias")
GATES = tuple(Block(name, 16) for name in ("input", "forget", "cell", "output"))
CHANNEL_ROLES = ("norm_scale", "norm_shift", "slope", "branch_scale", "elementwise", "buffer")


def site(role: SiteRole = "weight", **fields) -> Site:
    fields.setdefault("layout", SQUARE)
    return Site(name=fields.pop("name", f"layer.{role}"), role=role, **fields)


def drawn(one: Site):
    said = steady(one)
    assert isinstance(said, Choice), said
    return said.initializer


def deep(**fields) -> Site:
    """One of thirty plain ReLU weights."""
    given = {"activation": "relu", "activation_after": "relu", "plain_depth": 30, "depth": 9}
    return site(**(given | {"sources": ("before.weight",)} | fields))


@pytest.mark.parametrize("role", get_args(SiteRole))
def test_every_role_is_decided(role):
    """An unclaimed weight is an error on apply; what is elementwise the plan keeps as built."""
    layouts = {"bias": BIAS, "embedding": Layout((64, 64), "lookup out")}
    layouts |= dict.fromkeys(CHANNEL_ROLES, Layout((64,), "channel"))
    said = steady(site(role, layout=layouts.get(role, SQUARE)))
    if role == "elementwise":
        assert said is None
    else:
        assert isinstance(said, Keep if role in CHANNEL_ROLES else Choice)
    if isinstance(said, Choice):
        tensor = torch.full((64,) if role == "bias" else (64, 64), torch.nan)
        said.initializer.fill_(tensor, layout=layouts.get(role, SQUARE), seed=0)
        assert tensor.isfinite().all()


def test_looking_at_a_site_draws_no_random_number():
    """A plan is made from the sites alone."""
    before = torch.get_rng_state()
    assert steady(deep()) == steady(deep())
    assert torch.equal(before, torch.get_rng_state())


def test_a_weight_of_unknown_axes_has_no_rule():
    """Its fan is not known, and a guess would be silent."""
    assert steady(site(layout=None)) is None


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "identity"])
def test_a_shallow_plain_weight_keeps_the_mean_square(activation):
    """He's rule for any activation; torch's own std is sqrt(6) times less for a ReLU."""
    found = drawn(site(activation=activation, plain_depth=DEEP - 1)).std(SQUARE)
    assert isclose(found, gain(activation) / 8)
    rival = recipes.torch_default(site(module="Linear", name="x.weight")).initializer
    assert found > 1.7 * rival.std(SQUARE)


def test_a_run_is_deep_from_three_weights_on():
    """From there on the mirrored start was slower on no net, and mostly faster."""
    assert isinstance(drawn(deep(plain_depth=DEEP)), LooksLinear)
    assert isinstance(drawn(deep(plain_depth=DEEP - 1)), VarianceScaling)
    assert DEEP == 3


def test_a_deep_run_is_mirrored_from_end_to_end():
    """Each weight alone says what it reads and writes, and neighbours agree."""
    first = deep(activation="identity", depth=1, sources=())
    last = deep(role="readout", activation_after="identity")
    positions = [drawn(one).position for one in (first, deep(), last)]
    assert positions == ["first", "hidden", "last"]


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "leaky_relu(0.2)", "hardswish"])
def test_pairs_make_these_activations_linear(name):
    """For phi(z) = z g(z) with g(z) + g(-z) = c the pair's difference is c z, whatever z."""
    number = drawn(deep(activation=name, activation_after=name)).gain
    z = torch.linspace(-5, 5, 101, dtype=torch.float64)
    phi = torch.nn.functional
    functions = {
        "relu": phi.relu,
        "gelu": phi.gelu,
        "silu": phi.silu,
        "leaky_relu(0.2)": lambda x: phi.leaky_relu(x, 0.2),
        "hardswish": phi.hardswish,
    }
    difference = functions[name](z) - functions[name](-z)
    torch.testing.assert_close(number * difference, z, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("layers", [12, 30, 100])
def test_a_deep_tanh_run_has_the_gain_under_which_gradients_grow_fivefold(layers):
    """Against the moments by quadrature: q is a fixed point, and chi^layers is the growth."""
    number = drawn(deep(activation="tanh", activation_after="tanh", plain_depth=layers)).gain
    q = 1.0
    for _ in range(2000):
        q = number**2 * moments("tanh", variance=q).second
    growth = (number**2 * moments("tanh", variance=q).derivative_second) ** layers
    assert growth == pytest.approx(GROWTH, rel=1e-3)
    # The rivals: gain 1 lets the signal fade, 5/3 multiplies the gradient.
    assert 1.05 < number < 5 / 3


@pytest.mark.parametrize(
    ("name", "paired"),
    [
        *((name, False) for name in ("tanh", "selu", "elu", "erf", "hardtanh", "softsign", "sin")),
        *((name, True) for name in ("relu", "gelu", "silu", "mish", "softplus", "sigmoid")),
    ],
)
def test_only_activations_that_are_not_steady_alone_are_paired(name, paired):
    """By slope and chi, which say whether a deviation dies out and a difference between inputs not.

    SELU in pairs took nearly twice the steps at depth 30.
    """
    assert passed_on(name).paired == paired
    found = moments(name)
    assert (found.slope < 1 < found.chi) != paired
    assert isinstance(drawn(deep(activation=name, activation_after=name)), LooksLinear) == paired


def test_a_moderately_deep_tanh_run_has_the_forward_gain():
    """There the gradient grows less than that, and a larger signal learns faster."""
    number = drawn(deep(activation="tanh", activation_after="tanh", plain_depth=6)).gain
    assert number == pytest.approx(gain("tanh"), rel=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {"layout": Layout((64, 63), "out in")},
        {"sources": ("a.weight", "b.weight")},
        {"layout": Layout((64, 16, 3, 3), "out in kernel kernel", groups=4)},
        {"layout": Layout((64, 64, 4, 4), "out in kernel kernel", taps_per_input=4.0)},
    ],
    ids=["odd width", "two sources", "groups", "stride"],
)
def test_inputs_that_cannot_be_paired_keep_the_signal_instead(fields):
    """Half a pair cancels nothing; and a centre tap under a stride would skip most of the input."""
    found = drawn(deep(activation_after="identity", **fields))
    assert found == Orthogonal(gain("relu"), keep="signal")


def test_a_first_convolution_sees_its_whole_patch():
    """Pairs at the centre tap of one input channel would all be the same pixel."""
    first = deep(
        layout=Layout((16, 1, 3, 3), "out in kernel kernel"),
        activation="identity",
        depth=1,
        sources=(),
    )
    assert drawn(first) == Orthogonal(1.0, keep="signal")
    wide = replace(first, layout=Layout((16, 16, 3, 3), "out in kernel kernel"))
    assert drawn(wide) == Orthogonal(1.0, keep="signal")


def test_few_inputs_are_not_paired():
    """Two inputs have two directions; pairs would be 32 copies of them and their negatives."""
    narrow = deep(layout=Layout((64, 2), "out in"), activation="identity", depth=1, sources=())
    assert drawn(narrow) == Orthogonal(1.0, keep="signal")


def test_a_widening_mirrored_layer_keeps_the_mean_square_of_each_unit():
    """An orthogonal matrix keeps the length, which spreads over more units."""
    found = drawn(deep(layout=Layout((256, 64), "out in")))
    assert found.gain == pytest.approx(2.0)
    assert drawn(deep(layout=Layout((64, 256), "out in"))).gain == 1.0


def test_what_leaves_the_model_is_never_paired():
    """An autoencoder's pixels through a sigmoid would be each other's negatives."""
    last = deep(role="readout", activation_after="sigmoid")
    assert drawn(last).position == "last"


def test_the_inputs_of_a_product_are_never_paired():
    """The other factor does not change its sign with the pair."""
    for role in ("gate", "gate_value", "gated"):
        assert isinstance(drawn(deep(role=role)), VarianceScaling)


def test_a_long_branch_is_paired_and_still_adds_its_share():
    """Five plain weights in each branch of sixteen: the mean square kept, times 1 / 4."""
    place = Residual(stream=1, index=2, count=16)
    end = deep(role="residual_out", activation_after="identity", plain_depth=5, residual=place)
    assert drawn(end) == LooksLinear(sqrt(2) / 4, position="last")


@pytest.mark.parametrize("name", ["relu^2", "exp", "abs"])
def test_an_activation_without_a_flat_odd_part_is_not_mirrored(name):
    """A steeper odd part explodes, none at all carries nothing."""
    assert passed_on(name) is None
    assert isinstance(drawn(deep(activation=name, activation_after=name)), Orthogonal)


def test_a_norm_after_a_weight_takes_the_usual_std():
    """Zero would be divided by zero there, also at the end of a branch."""
    place = Residual(stream=1, index=2, count=8)
    for role, where in (("weight", None), ("residual_out", place)):
        one = site(role, activation="relu", normalized_output=True, residual=where, plain_depth=9)
        assert drawn(one) == VarianceScaling(gain("relu"))


def residual_net(count: int, inner: int) -> list[Site]:
    """A stem, branches of ``inner`` weights and a writer each, without norm, and a readout."""
    sites = [site(name="stem.weight", depth=1, plain_depth=1)]
    depth, source = 1, ("stem.weight",)
    for index in range(count):
        for number in range(inner):
            depth += 1
            name = f"{index}.{number}.weight"
            sites.append(site(name=name, depth=depth, sources=source, plain_depth=inner + 1))
            source = (name,)
        depth += 1
        place = Residual(stream=1, index=index + 1, count=count)
        sites.append(
            site("residual_out", name=f"{index}.out.weight", depth=depth, sources=source,
                 activation="relu", residual=place, plain_depth=inner + 1)
        )  # fmt: skip
        source = (f"{index}.out.weight",)
    return [*sites, site("readout", name="head.weight", depth=depth + 1, sources=source)]


@pytest.mark.parametrize(("count", "inner"), [(32, 1), (9, 2), (4, 1), (1, 1)])
def test_the_weights_of_a_branch_share_one_over_the_root_of_the_number_of_branches(count, inner):
    """Their product is what counts; an even share keeps all of them learning alike."""
    sites = residual_net(count, inner)
    choose = steady.for_model(sites)
    stds = {one.name: choose(one).initializer.std(SQUARE) for one in sites[:-1]}
    factors = {one.name: 8 * stds[one.name] / gain(one.activation) for one in sites[:-1]}
    assert factors.pop("stem.weight") == pytest.approx(1.0)
    share = count ** (-1 / (2 * (inner + 1)))
    assert factors == pytest.approx(dict.fromkeys(factors, share))


@pytest.mark.parametrize(("inner", "paired"), [(3, False), (4, True)])
def test_a_run_in_a_branch_is_paired_from_five_weights_on(inner, paired):
    """The run of the first branch has in it what made the stream, so that it counts longer."""
    sites = [
        replace(one, activation="relu", activation_after="relu") for one in residual_net(4, inner)
    ]
    choose = steady.for_model(sites)
    inside = next(one for one in sites if one.name == "1.1.weight")
    assert isinstance(choose(inside).initializer, LooksLinear) == paired


def test_a_readout_has_outputs_of_unit_size_unless_a_norm_is_right_before_it():
    """After a norm, as in a transformer, that is too loud: torch has a third of the variance."""
    unit = drawn(site("readout", activation="relu", plain_depth=DEEP - 1))
    assert unit == VarianceScaling(1.0)
    normalized = drawn(site("readout", normalized_input=True, plain_depth=1))
    assert normalized.std(SQUARE) == pytest.approx(1 / sqrt(3) / 8)


def test_a_writer_seen_alone_takes_the_whole_factor():
    """Without the other sites nobody shares it."""
    place = Residual(stream=1, index=2, count=16)
    one = site("residual_out", activation="relu", residual=place)
    assert drawn(one).std(SQUARE) == pytest.approx(sqrt(2) / 8 / 4)


def test_a_branch_that_a_learned_scale_closes_is_not_closed_twice():
    """Two zeros in a row never learn."""
    place = Residual(stream=1, index=2, count=16, scaled_by=("alpha",))
    assert drawn(site("residual_out", activation="relu", residual=place)).std(SQUARE) > 0


def test_transformer_branches_are_torchs_std_over_the_root_of_their_number():
    """Before the norm or after it: there the skip path keeps a fixed part of what it had."""
    third = sqrt(1 / 3) / 8
    for norm in ("pre", "post"):
        place = Residual(stream=1, index=3, count=24, norm=norm)
        found = drawn(site("residual_out", activation="gelu", residual=place))
        assert found.std(SQUARE) == pytest.approx(third / sqrt(24))
    assert drawn(site("query", normalized_input=True)).std(SQUARE) == pytest.approx(third)
    wide = Layout((768, 768), "out in")
    assert drawn(site("key", layout=wide)).std(wide) == pytest.approx(0.02, rel=0.05)


def test_the_down_projection_of_a_gated_unit_is_a_writer_and_its_inputs_keep_the_signal():
    """Three matrices of one unit: two read the norm with gain 1."""
    for role in ("gate", "gate_value", "gated"):
        assert drawn(site(role, normalized_input=True)) == VarianceScaling(1.0)
    alone = drawn(site("weight", activation="swiglu"))
    assert alone.std(SQUARE) == pytest.approx(gain("swiglu") / 8)


def test_a_table_that_is_the_readout_too_is_narrow():
    """N(0, 1) rows would start with logits of std sqrt(width)."""
    table = Layout((500, 64), "lookup out", role="embedding")
    assert drawn(site("embedding", layout=table)) == Normal(1.0)
    tied = site("embedding", layout=table, other_roles=("readout",))
    assert drawn(tied).std(table) == pytest.approx(1 / 8)


def test_a_table_beside_a_tied_one_is_as_narrow():
    """N(0, 1) positions would drown the tokens they are added to, eight to one at width 64."""
    table = Layout((500, 64), "lookup out", role="embedding")
    tied = site("embedding", name="token.weight", layout=table, other_roles=("readout",))
    position = site("embedding", name="position.weight", layout=replace(table, shape=(32, 64)))
    other = site("embedding", name="kind.weight", layout=replace(table, shape=(32, 16)))
    choose = steady.for_model([tied, position, other])
    for one in (tied, position):
        assert choose(one).initializer.std(one.layout) == pytest.approx(1 / 8)
    assert choose(other).initializer == Normal(1.0), "rows of another width are not added to these"
    assert steady.for_model([position, other])(position).initializer == Normal(1.0)


def test_a_recurrent_layer_is_orthogonal_and_xavier_by_gate_with_an_open_forget_gate():
    """The two biases of torch's layers add: one of them opens the gate."""
    gates = Layout((64, 24), "out in", blocks=GATES)
    bias = replace(BIAS, blocks=GATES)
    assert drawn(site(name="lstm.weight_ih_l0", layout=gates)) == xavier_uniform()
    assert drawn(site("recurrent", name="lstm.weight_hh_l0", layout=gates)) == Orthogonal(1.0)
    assert drawn(site("bias", name="lstm.bias_ih_l0", layout=bias)) == ForgetGate(1.0)
    assert drawn(site("bias", name="lstm.bias_hh_l0", layout=bias)) == Zeros
    assert drawn(site("bias", name="cell.bias", layout=bias)) == ForgetGate(1.0)
    update = replace(BIAS, blocks=tuple(Block(g, 16) for g in ("reset", "update", "new", "x")))
    assert drawn(site("bias", name="gru.bias_ih_l0", layout=update)) == Zeros


def test_a_sine_layer_has_its_own_published_start():
    """sin(30 z) under a gain for z ~ N(0, 1) would be noise."""
    first = site(activation_after="sin(30x)", depth=1, plain_depth=6)
    hidden = site(activation="sin(30x)", activation_after="sin(30x)", depth=3, plain_depth=6)
    last = site("readout", activation="sin(30x)", depth=6, plain_depth=6)
    assert drawn(first) == Uniform(-1 / 64, 1 / 64)
    bound = sqrt(6 / 64) / 30
    for one in (hidden, last):
        assert drawn(one).bound(SQUARE) == pytest.approx(bound)


def test_only_biases_of_the_first_layer_are_drawn():
    """With one input and no bias every ReLU would bend at 0."""
    narrow = Layout((64, 1), "out in")
    sites = [
        site(name="fc1.weight", layout=narrow, depth=1),
        site("bias", name="fc1.bias", layout=BIAS),
        site(name="fc2.weight", depth=2),
        site("bias", name="fc2.bias", layout=BIAS),
    ]
    choose = steady.for_model(sites)
    assert choose(sites[1]).initializer == Uniform(-1.0, 1.0)
    assert choose(sites[3]).initializer == Constant(0.0)
    assert drawn(sites[1]) == Zeros, "alone it cannot be told from any other bias"


def test_a_router_starts_undecided():
    """A tenth of the variance of a plain weight."""
    found = drawn(site("router"))
    assert found.std(SQUARE) == pytest.approx(sqrt(0.1) / 8)


def test_a_table_that_is_added_to_scores_starts_small():
    """Of std 1 it would decide the softmax alone, so that one position leads from the start."""

    class Relative(nn.Module):
        def __init__(self):
            super().__init__()
            self.packed, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
            self.table = nn.Embedding(15, 1)

        def forward(self, x):
            q, k, v = self.packed(x).chunk(3, -1)
            places = torch.arange(8)
            far = self.table(places[:, None] - places + 7).squeeze(-1)
            return self.out(((q @ k.transpose(1, 2)) / 4 + far).softmax(-1) @ v)

    plan = fanin.plan(Relative(), torch.randn(4, 8, 16))
    assert plan["table.weight"].initializer == fanin.initializers.Normal(0.02, cut=2)
