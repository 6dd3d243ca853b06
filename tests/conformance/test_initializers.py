"""Every exported initializer keeps the promises of `Initializer`; a new export joins by itself."""

import copy
import inspect
import math
import pickle

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fanin
from fanin import initializers
from fanin._stream import Region, Stream
from fanin.initializers import (
    ICNR,
    Chrono,
    Constant,
    Custom,
    DeltaOrthogonal,
    ForgetGate,
    Hadamard,
    Identity,
    Initializer,
    LooksLinear,
    Normal,
    Ones,
    Orthogonal,
    PriorProbability,
    ScaledOutputs,
    Sparse,
    Uniform,
    VarianceScaling,
    Zeros,
    from_json,
    kaiming_normal,
    kaiming_uniform,
)

LINEAR = fanin.Layout((24, 40), "out in")
SQUARE = fanin.Layout((32, 32), "out in")
CONV = fanin.Layout((24, 8, 3, 5), "out in kernel kernel")
GROUPED = fanin.Layout((24, 4, 3), "out in kernel", groups=4)
LSTM = fanin.layout(torch.nn.LSTM(12, 6), "weight_hh_l0")
BIAS = fanin.layout(torch.nn.LSTM(12, 60), "bias_ih_l0")
CLASSES = fanin.layout(torch.nn.Linear(4, 3), "bias")
EXPERTS = fanin.Layout((3, 16, 8), "batch out in")
TRANSPOSED = fanin.Layout((8, 24), "in out")
FACTORS = tuple(0.5 + number / 20 for number in range(24))
WEIGHTS = (LINEAR, SQUARE, CONV, GROUPED, LSTM, EXPERTS, TRANSPOSED)

EXAMPLES: dict[type[Initializer], list[tuple[Initializer, tuple[fanin.Layout, ...]]]] = {
    Constant: [(Zeros, (*WEIGHTS, BIAS)), (Ones, (BIAS,)), (Constant(-0.3), WEIGHTS)],
    Uniform: [(Uniform(-0.2, 0.2), WEIGHTS), (Uniform(0.5, 2), (BIAS,))],
    Normal: [
        (Normal(0.02), (*WEIGHTS, BIAS)),
        (Normal(1, mean=3), (LINEAR,)),
        (Normal(0.5, cut=2), WEIGHTS),
        (Normal(0.5, mean=-1, cut=0.7), (LINEAR,)),
    ],
    VarianceScaling: [
        (kaiming_normal("gelu"), WEIGHTS),
        (VarianceScaling("relu", fan="out", convention="backward", cut=3), WEIGHTS),
        (VarianceScaling(2.0, fan="avg", distribution="uniform"), WEIGHTS),
        (VarianceScaling("leaky_relu(0.2)", fan="geometric", factor=0.25), WEIGHTS),
    ],
    Orthogonal: [
        (Orthogonal("relu"), WEIGHTS),
        (Orthogonal(keep="signal"), WEIGHTS),
        (Orthogonal(0.5, keep="gradient"), WEIGHTS),
    ],
    DeltaOrthogonal: [(DeltaOrthogonal(2.0), WEIGHTS), (DeltaOrthogonal(keep="signal"), WEIGHTS)],
    Identity: [(Identity(0.9), WEIGHTS)],
    Hadamard: [(Hadamard(), WEIGHTS)],
    LooksLinear: [
        (LooksLinear(), (SQUARE, CONV, GROUPED, LSTM, EXPERTS)),
        (LooksLinear(position="first"), (LINEAR, CONV)),
        (LooksLinear(1.5, position="last"), (LINEAR, CONV)),
    ],
    Sparse: [(Sparse(5), WEIGHTS), (Sparse(3, gain="relu"), (LINEAR,))],
    ICNR: [(ICNR(kaiming_normal(), 2), (CONV, LINEAR)), (ICNR(Orthogonal(), 2), (CONV,))],
    ScaledOutputs: [
        (ScaledOutputs(kaiming_normal("gelu"), FACTORS), (LINEAR, CONV, GROUPED, LSTM, TRANSPOSED)),
        (ScaledOutputs(Normal(0.5, cut=2), FACTORS * 2), (EXPERTS,)),
        (ScaledOutputs(Orthogonal(), FACTORS), (LINEAR, CONV)),
    ],
    PriorProbability: [
        (PriorProbability(0.01), (BIAS,)),
        (PriorProbability((0.2, 0.3, 0.5)), (CLASSES,)),
    ],
    ForgetGate: [(ForgetGate(2.0), (BIAS,))],
    Chrono: [(Chrono(50), (BIAS,))],
    Custom: [(Custom(lambda tensor, layout: tensor.fill_(layout.fan_in)), (LINEAR,))],
}
ALL = [(value, where) for rows in EXAMPLES.values() for value, layouts in rows for where in layouts]
VALUES = [value for rows in EXAMPLES.values() for value, _ in rows]
RANDOM = (
    Uniform,
    Normal,
    VarianceScaling,
    Orthogonal,
    DeltaOrthogonal,
    LooksLinear,
    ScaledOutputs,
    Sparse,
    Chrono,
)
EXACT = (Constant, Uniform, Normal, VarianceScaling)

each = pytest.mark.parametrize(("value", "where"), ALL, ids=lambda x: str(x)[:60])
each_value = pytest.mark.parametrize("value", VALUES, ids=repr)
# A function has no constructor text, and a lambda cannot be pickled.
each_plain_value = pytest.mark.parametrize(
    "value", [value for value in VALUES if not isinstance(value, Custom)], ids=repr
)


def draw(value, where, *, seed=7, name="layer.weight", dtype=torch.float32):
    return value.fill_(torch.empty(where.shape, dtype=dtype), layout=where, seed=seed, name=name)


def test_every_exported_initializer_has_examples_here():
    """An initializer without a row above would not be checked by anything below."""
    exported = {
        value
        for name in initializers.__all__
        if inspect.isclass(value := getattr(initializers, name))
        and issubclass(value, Initializer)
        and value is not Initializer
    }
    assert exported == set(EXAMPLES)


def test_every_name_gives_an_initializer_that_draws():
    """Layers and the command line accept exactly these names."""
    for name in initializers.names():
        value = initializers.named(name)
        where = BIAS if isinstance(value, ForgetGate) else SQUARE
        assert torch.isfinite(draw(value, where)).all(), name


@each_plain_value
def test_the_repr_is_the_constructor(value):
    """A plan is printed, and what is printed can be pasted."""
    assert eval(repr(value), vars(initializers)) == value  # noqa: S307


@each_value
def test_equal_values_are_equal_and_hash_equally(value):
    """Formulas are compared with ==, and used as keys."""
    again = copy.deepcopy(value)
    assert again == value
    assert hash(again) == hash(value)
    assert len({value, again}) == 1


def test_different_values_are_not_equal():
    """Otherwise the test above would pass for a class without fields."""
    assert len(set(VALUES)) == len(VALUES)


@each_value
def test_json_brings_the_value_back(value):
    """A saved plan is data."""
    if isinstance(value, Custom):
        with pytest.raises(fanin.FaninError, match="cannot be saved"):
            value.to_json()
        return
    assert from_json(value.to_json()) == value


@each_plain_value
def test_pickle_brings_the_value_back(value):
    """Layers that hold it are sent to worker processes."""
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301


@each_value
def test_the_formula_is_one_short_line(value):
    """str is for a column of a plan."""
    text = str(value)
    assert text
    assert "\n" not in text
    assert "0x" not in text
    assert len(text) <= 90


@each
def test_the_values_depend_on_seed_and_name_alone(value, where):
    """Not on the order of calls, the global generator, or what was in the tensor."""
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = draw(value, where)
    other = torch.full(where.shape, float("nan"))
    value.fill_(other, layout=where, seed=7, name="layer.weight")
    assert torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    if isinstance(value, RANDOM):
        assert not torch.equal(first, draw(value, where, seed=8))
        assert not torch.equal(first, draw(value, where, name="other.weight"))


@each
def test_the_std_is_the_std_and_no_entry_passes_the_bound(value, where):
    """`std` and `bound` are what a plan verifies a drawn model by.

    200 draws are pooled, so the standard error of the pooled std is far under the 3 % allowed:
    a rival formula is off by 10 % or more.
    """
    if isinstance(value, Custom):
        assert math.isnan(value.std(where))
        return
    draws = torch.stack([draw(value, where, seed=seed).double() for seed in range(200)])
    centred = draws - draws.mean()
    found = centred.pow(2).mean().sqrt().item()
    expected = value.std(where)
    assert found == pytest.approx(expected, rel=0.03, abs=1e-9)
    assert draws.abs().max().item() <= value.bound(where) * (1 + 1e-6)


@each
def test_a_part_equals_the_same_part_of_the_whole(value, where):
    """A rank draws only its shard: exact where entries are drawn one by one."""
    whole = draw(value, where)
    index = tuple(slice(n // 3, n, 2 if n > 6 else 1) for n in where.shape)
    region = Region.of(where.shape, index)
    part = torch.empty(region.shape)
    value.draw_into(part, where, Stream(7, "layer.weight"), region)
    if isinstance(value, EXACT):
        assert torch.equal(part, whole[index])
    else:
        torch.testing.assert_close(part, whole[index], rtol=0, atol=1e-6)


@each
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_narrow_dtype_is_the_float32_draw_rounded_once(value, where, dtype):
    """So a bf16 model starts as the cast of the float32 model."""
    narrow, full = draw(value, where, dtype=dtype), draw(value, where)
    if isinstance(value, EXACT):
        assert torch.equal(narrow, full.to(dtype))
    else:
        torch.testing.assert_close(narrow, full.to(dtype))


@each
def test_float64_agrees_with_float32(value, where):
    """The same start at another precision: exact for single draws, 1e-5 for matrix products."""
    wide, full = draw(value, where, dtype=torch.float64), draw(value, where)
    torch.testing.assert_close(wide, full.double(), rtol=1e-5, atol=1e-6)
    if isinstance(value, (Uniform, Normal)):
        assert torch.equal(wide, full.double())


@each
def test_half_the_initializer_draws_half_the_numbers(value, where):
    """``0.5 * value`` is how a published scheme shrinks a branch."""
    if isinstance(value, (PriorProbability, Chrono)):
        with pytest.raises(fanin.FaninError, match="cannot be multiplied"):
            0.5 * value
        return
    half = 0.5 * value
    assert type(half) is type(value)
    torch.testing.assert_close(draw(half, where), 0.5 * draw(value, where), rtol=1e-6, atol=1e-7)
    if not isinstance(value, Custom):
        assert half.std(where) == pytest.approx(0.5 * value.std(where))


@each
def test_memory_order_does_not_matter(value, where):
    """channels_last convolutions and transposed views hold the same start."""
    straight = draw(value, where)
    reversed_axes = tuple(range(len(where.shape)))[::-1]
    strided = torch.empty(where.shape[::-1]).permute(reversed_axes)
    value.fill_(strided, layout=where, seed=7, name="layer.weight")
    assert torch.equal(strided, straight)


@each
def test_the_default_device_does_not_matter(value, where):
    """Models are often built under torch.device or set_default_device."""
    straight, other = draw(value, where), torch.empty(where.shape)
    with torch.device("meta"):
        value.fill_(other, layout=where, seed=7, name="layer.weight")
    assert torch.equal(other, straight)


@each
def test_a_meta_tensor_is_left_alone(value, where):
    """Large models are built on meta and drawn later."""
    tensor = torch.empty(where.shape, device="meta")
    state = torch.get_rng_state()
    assert value.fill_(tensor, layout=where) is tensor
    assert torch.equal(torch.get_rng_state(), state)


@each
def test_a_fake_tensor_is_left_alone(value, where):
    """Tools that only look at shapes build models under a fake mode."""
    state = torch.get_rng_state()
    with FakeTensorMode():
        tensor = torch.empty(where.shape)
        assert value.fill_(tensor, layout=where) is tensor
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "value",
    [
        Constant(0.5),
        Normal(0.3),
        Normal(0.3, mean=2),
        Normal(0.3, cut=2),
        Uniform(-1, 1),
        kaiming_normal(),
        Orthogonal(),
        Orthogonal("relu", keep="signal"),
        Sparse(100),
        Identity(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_a_complex_weight_has_the_variance_asked_for(value, dtype):
    """E |w - mean|² is std², half of it in each part."""
    where = fanin.Layout((200, 300), "out in")
    w = draw(value, where, dtype=dtype)
    spread = (w - w.mean()).abs().pow(2).mean().sqrt().item()
    assert spread == pytest.approx(value.std(where), rel=0.02, abs=1e-9)
    if isinstance(value, RANDOM):
        centred = w - w.mean()
        parts = torch.view_as_real(centred).pow(2).mean(dim=(0, 1))
        assert parts[0].item() == pytest.approx(parts[1].item(), rel=0.05)


def test_no_seed_takes_one_number_from_the_global_generator():
    """``torch.manual_seed`` rules, and the cost in random numbers does not depend on the size."""
    torch.manual_seed(3)
    first = Normal(1).fill_(torch.empty(10))
    after = torch.get_rng_state()
    torch.manual_seed(3)
    second = Normal(1).fill_(torch.empty(1000))
    assert torch.equal(first, second[:10])
    assert torch.equal(torch.get_rng_state(), after)
    assert not torch.equal(first, Normal(1).fill_(torch.empty(10)))


def test_a_generator_rules_where_given():
    """As in torch.nn.init, and the global generator is then not read."""
    state = torch.get_rng_state()
    draws = [
        Normal(1).fill_(torch.empty(10), generator=torch.Generator().manual_seed(5))
        for _ in range(2)
    ]
    assert torch.equal(*draws)
    assert torch.equal(torch.get_rng_state(), state)


def test_autograd_sees_that_the_tensor_changed():
    """A saved tensor that was overwritten must not be used in a backward pass unnoticed."""
    w = torch.ones(4, requires_grad=True)
    y = (w * w).sum()
    Normal(1).fill_(w, seed=0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@pytest.mark.parametrize("value", [kaiming_normal(fan="out"), kaiming_uniform(fan="out")], ids=repr)
def test_blocks_of_different_sizes_have_one_std_over_all(value):
    """Each block has its own fan_out; what can be drawn must have a std and a bound too."""
    blocks = (fanin.Block("query", 900), fanin.Block("key", 100))
    where = fanin.Layout((1000, 200), "out in", blocks=blocks)
    w = draw(value, where)
    assert w.std().item() == pytest.approx(value.std(where), rel=0.02)
    assert w[900:].std().item() == pytest.approx((2 / 100) ** 0.5, rel=0.03)
    assert w.abs().max().item() <= value.bound(where)
    assert value.fill_(torch.empty(where.shape, device="meta"), layout=where).is_meta
    narrow = draw(value, where, dtype=torch.float16)
    assert torch.equal(narrow, w.half())


def test_a_gain_is_computed_once_however_many_matrices_a_weight_has():
    """A function without a name is integrated at each call; a depthwise layer has thousands."""
    calls = []

    def activation(x):
        calls.append(1)
        return x.clamp(-1, 1)

    value = Orthogonal(activation)
    made = len(calls)
    draw(value, fanin.Layout((64, 1, 3), "out in kernel", groups=64))
    value.std(GROUPED)
    assert made > 0
    assert len(calls) == made
