"""What cannot hold a start is refused in words, and is then as it was."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import fanin
from fanin import FaninError
from fanin.initializers import (
    ICNR,
    Chrono,
    Constant,
    Custom,
    DeltaOrthogonal,
    ForgetGate,
    Hadamard,
    LooksLinear,
    Normal,
    Orthogonal,
    PriorProbability,
    Sparse,
    Uniform,
    VarianceScaling,
    as_initializer,
    from_json,
    kaiming_normal,
    named,
    xavier_uniform,
)

REFUSED = {
    "spread lost beside the mean": lambda: Normal(1e-9, mean=1),
    "spread below float32": lambda: Normal(1e-45),
    "interval lost": lambda: Uniform(1, 1 + 1e-9),
    "gain beyond float32": lambda: Orthogonal(1e300),
    "constant beyond float32": lambda: Constant(1e39),
    "std beyond float": lambda: Normal(10**400),
    "function not called": lambda: as_initializer(kaiming_normal),
    "torch's function": lambda: as_initializer(torch.nn.init.xavier_uniform_),
    "not a function": lambda: Custom(3),
    "layout of a tensor": lambda: fanin.layout(torch.empty(3, 3)),
    "fans of a tensor": lambda: fanin.fans(torch.empty(3, 3)),
    "layout of no name": lambda: fanin.layout(torch.nn.Linear(2, 2), None),
    "axes a number": lambda: fanin.Layout((3, 4), 2),
    "shape a number": lambda: fanin.Layout(5, "out"),
    "groups a string": lambda: fanin.Layout((4, 4), "out in", groups="2"),
    "groups a fraction": lambda: fanin.Layout((4, 4), "out in", groups=2.0),
    "taps a string": lambda: fanin.Layout((4, 4), "out in", taps_per_output="2"),
    "blocks of pairs": lambda: fanin.Layout((4, 4), "out in", blocks=[("gate", 4)]),
    "input size half given": lambda: fanin.fans(torch.nn.Conv2d(2, 2, 3), input_size=(5, None)),
    "bag size a string": lambda: fanin.layout(torch.nn.EmbeddingBag(3, 3), bag_size="2"),
    "variance a string": lambda: fanin.moments("relu", variance="1"),
    "variance a tensor": lambda: fanin.moments("relu", variance=torch.tensor(2.0)),
    "block of no size": lambda: fanin.Block("gate", "2"),
    "JSON without end": lambda: from_json('{"initializer":"ICNR","base":' * 5000),
    "std a string": lambda: Normal("0.02"),
    "std missing": lambda: Normal(None),
    "std a truth value": lambda: Normal(True),
    "std a tensor": lambda: Normal(torch.tensor(0.02)),
    "constant a list": lambda: Constant([1.0]),
    "connections a fraction": lambda: Sparse(1.5),
    "upscale a string": lambda: ICNR(Normal(1), "2"),
    "base a name": lambda: ICNR("normal", 2),
    "probability a string": lambda: PriorProbability("0.5"),
    "gain missing": lambda: Orthogonal(None),
    "gain a truth value": lambda: kaiming_normal(True),
    "fan missing": lambda: kaiming_normal(fan=None),
    "multiplied by a string": lambda: "2" * Normal(1),
    "multiplied by infinity": lambda: math.inf * Normal(1),
    "initializer missing": lambda: as_initializer(None),
    "initializer a truth value": lambda: as_initializer(False),
    "std below zero": lambda: Normal(-0.1),
    "std not a number": lambda: Normal(math.nan),
    "mean infinite": lambda: Normal(1, mean=math.inf),
    "cut zero": lambda: Normal(1, cut=0),
    "cut negative": lambda: Normal(1, cut=-2),
    "cut not a number": lambda: VarianceScaling(cut=math.nan),
    "cut of a uniform": lambda: VarianceScaling(distribution="uniform", cut=2),
    "interval reversed": lambda: Uniform(1, -1),
    "interval infinite": lambda: Uniform(-math.inf, 1),
    "constant not a number": lambda: Constant(math.nan),
    "activation unknown": lambda: kaiming_normal("relou"),
    "activation mixes elements": lambda: kaiming_normal("softmax"),
    "fan unknown": lambda: kaiming_normal(fan="fan_in"),
    "distribution unknown": lambda: VarianceScaling(distribution="gaussian"),
    "convention unknown": lambda: VarianceScaling(convention="he"),
    "gain infinite": lambda: Orthogonal(math.inf),
    "keep unknown": lambda: Orthogonal(keep="variance"),
    "position unknown": lambda: LooksLinear(position="middle"),
    "no connections": lambda: Sparse(0),
    "no upscale": lambda: ICNR(Normal(1), 0),
    "probability above one": lambda: PriorProbability(1.5),
    "classes do not sum to one": lambda: PriorProbability((0.2, 0.2)),
    "memory too short": lambda: Chrono(2),
    "bias not a number": lambda: ForgetGate(math.nan),
    "name unknown": lambda: named("xavier_unifrom"),
    "name needs arguments": lambda: named("normal"),
    "not an initializer": lambda: as_initializer([1, 2]),
    "a class, not a value": lambda: as_initializer(Normal),
    "not JSON": lambda: from_json("{"),
    "JSON of nothing": lambda: from_json("[]"),
    "JSON of an unknown initializer": lambda: from_json('{"initializer": "Norml"}'),
    "JSON with a wrong argument": lambda: from_json('{"initializer": "Normal", "sd": 1}'),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED.keys())
def test_a_value_without_meaning_is_refused_when_it_is_made(make):
    """Not hours later, on the first draw."""
    with pytest.raises(FaninError) as caught:
        make()
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[-3:]] == [
        "where",
        "found",
        "fix",
    ]


def test_an_unknown_name_is_answered_with_the_nearest():
    """Also when it is Keras' spelling of a start that exists."""
    for wrong, right in {
        "xavier_unifrom": "xavier_uniform",
        "glorot_uniform": "xavier_uniform",
        "he_normal": "kaiming_normal",
        "orthogonl": "orthogonal",
    }.items():
        with pytest.raises(FaninError) as caught:
            named(wrong)
        assert caught.value.fix.removeprefix("use one of: ").split(", ")[0] == right


def untouched(tensor, value, **arguments):
    before = tensor.detach().clone()
    version = tensor._version
    with pytest.raises(FaninError) as caught:
        value.fill_(tensor, seed=0, **arguments)
    assert torch.equal(tensor.detach(), before)
    assert tensor._version == version
    return str(caught.value)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool])
def test_an_integer_tensor_is_refused(dtype):
    """A cast of random numbers to integers would be zeros."""
    assert "float" in untouched(torch.ones(3, 3, dtype=dtype), Normal(1))


@pytest.mark.parametrize("value", [kaiming_normal(), Orthogonal(), Sparse(2), Hadamard()], ids=repr)
@pytest.mark.parametrize("shape", [(), (5,)])
def test_fans_of_a_scalar_or_a_vector_are_refused(value, shape):
    """There is nothing to sum over."""
    text = untouched(torch.ones(shape), value)
    assert "fan" in text or "matrix" in text


def test_the_axes_of_a_bare_convolution_are_asked_about():
    """Guessing them is how transposed convolutions got the wrong variance."""
    assert "fanin.layout" in untouched(torch.ones(3, 3, 3, 3), xavier_uniform())


@pytest.mark.parametrize(
    "value", [Normal(1), kaiming_normal(), Orthogonal(), Constant(1)], ids=repr
)
def test_a_layout_of_another_shape_is_refused(value):
    """Most likely it was taken from another layer."""
    assert "does not fit" in untouched(
        torch.ones(3, 4), value, layout=fanin.Layout((4, 3), "out in")
    )


def test_the_result_of_a_computation_is_refused():
    """What is written to it would be lost at once, as in torch.nn.init on a weight-normed layer."""
    weight = torch.nn.Parameter(torch.ones(3, 3))
    text = untouched(weight * 2, Normal(1))
    assert "parametrized" in text


def test_a_view_of_a_parameter_writes_to_the_parameter():
    """Part of a fused weight may be drawn on its own."""
    weight = torch.nn.Parameter(torch.zeros(4, 3))
    Normal(1).fill_(weight[1:3], seed=0)
    assert weight[1:3].ne(0).all()
    assert not weight[[0, 3]].any()


def test_expanded_memory_is_refused():
    """One place cannot hold two numbers."""
    assert "share" in untouched(torch.ones(3, 1).expand(3, 4), Normal(1))


def test_overlapping_windows_are_refused():
    """Neighbouring windows share entries although no stride is zero."""
    assert "share" in untouched(torch.ones(6).unfold(0, 3, 1), Normal(1))


def test_a_tensor_of_inference_mode_is_refused():
    """torch itself forbids to change it outside."""
    with torch.inference_mode():
        tensor = torch.ones(3, 3)
    with pytest.raises(FaninError, match="read-only"):
        Normal(1).fill_(tensor, seed=0)
    with torch.inference_mode():
        assert Normal(1).fill_(tensor, seed=0).ne(1).all()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not tell")
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_a_file_mapped_for_reading_is_refused(tmp_path):
    """Writing there ends the process with a segmentation fault."""
    path = tmp_path / "weights"
    np.zeros((30, 40), dtype=np.float32).tofile(path)
    for mode in ("r", "c"):
        mapped = torch.from_numpy(np.memmap(path, np.float32, mode, shape=(30, 40)))
        if mode == "r":
            assert "read-only" in untouched(mapped, Normal(1))
        else:
            assert Normal(1).fill_(mapped, seed=0).any()
    assert not np.fromfile(path, dtype=np.float32).any()


NOT_TENSORS = [None, [1.0], np.ones(3), torch.nn.Linear(2, 2)]


@pytest.mark.parametrize("thing", NOT_TENSORS, ids=lambda thing: type(thing).__name__)
def test_what_is_not_a_tensor_is_refused(thing):
    """The commonest slip is the layer in place of its weight."""
    with pytest.raises(FaninError, match="not a tensor"):
        Normal(1).fill_(thing, seed=0)


def test_what_is_not_a_layout_or_a_generator_is_refused():
    """A string of axes is not a layout yet."""
    untouched(torch.ones(3, 4), kaiming_normal(), layout="out in")
    with pytest.raises(FaninError, match="not a generator"):
        Normal(1).fill_(torch.ones(3), generator=3)


def test_numpys_integers_are_seeds():
    """They come out of every sweep over seeds."""
    one, other = (Normal(1).fill_(torch.empty(3), seed=seed) for seed in (3, np.int64(3)))
    assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e4m3fn])
@pytest.mark.parametrize("value", [Normal(1e9), Constant(1e9), Uniform(-1e9, 1e9)], ids=repr)
def test_a_start_beyond_the_dtype_is_refused(value, dtype):
    """It would be infinite, or no number, from the first step."""
    with pytest.raises(FaninError, match="do not fit the dtype"):
        value.fill_(torch.ones(3, dtype=dtype), seed=0)


@pytest.mark.skipif(not hasattr(torch, "float8_e8m0fnu"), reason="this torch has no such dtype")
def test_a_dtype_without_a_sign_is_refused():
    """A normal start in it would be all positive."""
    with pytest.raises(FaninError, match="no negative numbers"):
        Normal(1).fill_(torch.ones(3, dtype=torch.float8_e8m0fnu), seed=0)


def test_inside_vmap_a_draw_is_refused():
    """A batched tensor has no memory of its own."""
    with pytest.raises(FaninError, match="vmap"):
        torch.func.vmap(lambda x: Normal(1).fill_(x, seed=0))(torch.ones(2, 3))


@pytest.mark.parametrize(
    "function",
    [lambda t, layout: torch.eye(2), lambda t, layout: None, lambda t, layout: t.mul_(2)],
    ids=["returns", "does nothing", "reads"],
)
def test_a_function_that_does_not_fill_is_refused(function):
    """Whoever returns the weight, as in JAX, would leave in it what was in memory."""
    assert "did not fill" in untouched(torch.ones(2, 2), as_initializer(function))


def test_a_negated_view_holds_the_numbers_that_were_asked_for():
    """Its memory has the other sign."""
    view = torch.zeros(3, dtype=torch.complex64).conj().imag
    assert torch.equal(Normal(1).fill_(view, seed=0), Normal(1).fill_(torch.empty(3), seed=0))


def test_chrono_knows_no_std_where_there_are_no_gates():
    """A number for a layer that cannot be drawn would pass a check."""
    bias = fanin.layout(torch.nn.Linear(3, 8), "bias")
    for ask in (Chrono(10).std, Chrono(10).bound, ForgetGate().std):
        with pytest.raises(FaninError, match="no gate"):
            ask(bias)


def test_a_sparse_tensor_is_refused():
    """Its zeros are not stored."""
    with pytest.raises(FaninError, match="dense"):
        Normal(1).fill_(torch.eye(3).to_sparse(), seed=0)


def test_a_lazy_parameter_is_refused():
    """It has no shape to draw for."""
    with pytest.raises(FaninError, match="no shape yet"):
        Normal(1).fill_(torch.nn.LazyLinear(3).weight, seed=0)


def test_a_seed_and_a_generator_together_are_refused():
    """One of them would be ignored in silence."""
    tensor = torch.zeros(2)
    with pytest.raises(FaninError, match="two sources"):
        Normal(1).fill_(tensor, seed=0, generator=torch.Generator())
    assert not tensor.any()


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (LooksLinear(), fanin.Layout((5, 4), "out in")),
        (ICNR(Normal(1), 2), fanin.Layout((6, 3), "out in")),
        (ForgetGate(), fanin.layout(torch.nn.RNN(2, 4), "bias_ih_l0")),
        (Chrono(10), fanin.layout(torch.nn.Linear(2, 4), "bias")),
        (PriorProbability((0.5, 0.5)), fanin.layout(torch.nn.Linear(2, 4), "bias")),
        (PriorProbability(0.5), fanin.Layout((3, 4), "out in")),
        (Uniform(0, 1), None),
    ],
    ids=repr,
)
def test_a_start_that_does_not_fit_the_weight_is_refused(value, where):
    """Odd widths for mirrored pairs, gates that are not there, classes that do not match."""
    if where is None:
        untouched(torch.ones(3, dtype=torch.complex64), value)
    else:
        untouched(torch.ones(where.shape), value, layout=where)


def test_empty_tensors_are_filled_with_nothing():
    """Empty shards exist."""
    for value in (Normal(1), Uniform(-1, 1), Constant(2), Normal(1, cut=2)):
        assert value.fill_(torch.empty(0, 3), seed=0).shape == (0, 3)


EMPTY = [
    kaiming_normal(),
    xavier_uniform(),
    Orthogonal(),
    Orthogonal(keep="signal"),
    DeltaOrthogonal(keep="gradient"),
    Hadamard(),
]


@pytest.mark.parametrize("value", EMPTY, ids=repr)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_layers_without_inputs_or_outputs_are_filled_with_nothing(value, shape):
    """torch builds them; a fan of 0 must not divide."""
    where = fanin.Layout(shape, "out in")
    assert value.fill_(torch.empty(shape), layout=where, seed=0).numel() == 0
    assert value.std(where) >= 0
    assert value.bound(where) >= 0
