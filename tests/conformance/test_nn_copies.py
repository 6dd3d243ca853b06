"""Layers of fanin.nn through copies, devices, dtypes and first batches."""

import copy
import io
import pickle
from functools import partial

import pytest
import torch
from tests.conformance.nn_recipes import (
    BETWEEN,
    CASES,
    LAZY,
    Recipe,
    after,
    all_of,
    assert_statistics_are_fresh,
    build,
    construct,
    each,
    each_lazy,
    floats,
    is_between,
    obeys,
    same_parameters,
    same_state,
    spoil,
)
from torch.nn.utils import skip_init

from fanin import FaninError, fill, nn
from fanin.initializers import Custom, Zeros

pytestmark = [
    pytest.mark.filterwarnings("ignore:Lazy modules are a new feature"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]


# ---------------------------------------------------------------- copies, devices, dtypes


def saved_and_loaded(layer):
    memory = io.BytesIO()
    torch.save(layer, memory)
    memory.seek(0)
    return torch.load(memory, weights_only=False)


COPIES = {
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),  # noqa: S301
    "deepcopy": copy.deepcopy,
    "torch.save": saved_and_loaded,
}


@each
@pytest.mark.parametrize("how", COPIES)
def test_a_copy_keeps_the_weights_and_the_initializers(name, recipe, how):
    """Workers, checkpoints of whole modules and model averaging all copy layers."""
    layer = build(name, recipe, **all_of(name))
    copied = COPIES[how](layer)
    assert type(copied) is type(layer)
    assert same_state(copied, layer)
    assert copied.initializers == layer.initializers
    one, _ = after(13, lambda: copied.reset_parameters() or copied)
    other, _ = after(13, lambda: layer.reset_parameters() or layer)
    assert same_parameters(one, other)


@each
def test_on_the_meta_device_nothing_is_drawn_until_the_reset(name, recipe):
    """to_empty and reset_parameters then give the layer that the seed gives directly."""
    for given in ({}, all_of(name)):
        direct, _ = after(17, partial(build, name, recipe, **given))
        for made in (partial(build, device="meta"), partial(in_meta_context, build)):
            before = torch.random.get_rng_state()
            layer = made(name, recipe, **given)
            assert all(tensor.is_meta for tensor in layer.parameters())
            assert torch.equal(before, torch.random.get_rng_state())
            layer.to_empty(device="cpu")
            spoil(layer)
            after(17, layer.reset_parameters)
            assert same_parameters(layer, direct)
            assert_statistics_are_fresh(layer)


def in_meta_context(make, name, recipe, **given):
    meta = Recipe(recipe.args, tuple(x.to("meta") for x in recipe.inputs), recipe.options)
    with torch.device("meta"):
        layer = construct(name, meta, **given)
        if name.startswith("Lazy"):
            layer(*meta.inputs)
    return layer


@each
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_the_dtype_is_honoured(name, recipe, dtype):
    """Layers are built in half precision as well as cast to it."""
    layer = build(name, recipe, dtype=dtype, **all_of(name))
    assert {parameter.dtype for parameter in layer.parameters()} == {dtype}
    assert obeys(layer, name)


@pytest.mark.parametrize(("name", "recipe"), [case for case in CASES if case not in LAZY])
def test_skip_init_works(name, recipe):
    """torch's own way to make a layer without drawing it; it refuses lazy ones, having no shape."""
    given = recipe.options | all_of(name)
    layer, ours = after(19, lambda: skip_init(getattr(nn, name), *recipe.args, **given))
    _, theirs = after(19, lambda: None)
    assert torch.equal(ours, theirs)
    layer.reset_parameters()
    assert obeys(layer, name)


# ---------------------------------------------------------------- lazy layers


@each_lazy
def test_a_lazy_layer_draws_at_its_first_batch_and_becomes_ours(name, recipe):
    """Nothing is drawn before the shapes are known, not even by a reset."""
    before = torch.random.get_rng_state()
    layer = construct(name, recipe, **all_of(name))
    layer.reset_parameters()
    assert layer.has_uninitialized_params()
    assert torch.equal(before, torch.random.get_rng_state())
    layer(*recipe.inputs)
    assert type(layer) is getattr(nn, name.removeprefix("Lazy"))
    assert layer.initializers == all_of(name)
    assert obeys(layer, name)
    statistics = build(name, recipe, package=torch.nn).named_buffers()
    assert all(torch.equal(layer.get_buffer(key), value) for key, value in statistics)


@pytest.mark.parametrize(("name", "recipe"), [c for c in LAZY if "Instance" not in c.values[0]])
def test_loaded_values_survive_the_first_batch(name, recipe):
    """A checkpoint loaded into a lazy layer is not drawn over.

    torch's lazy instance norms refuse their first batch after loading, and so do ours.
    """
    source = build(name, recipe, package=torch.nn)
    layer = construct(name, recipe, **all_of(name))
    layer.load_state_dict(source.state_dict())
    layer(*recipe.inputs)
    assert same_parameters(layer, source)


# ---------------------------------------------------------------- one layer's own


@pytest.mark.parametrize("name", ["Embedding", "EmbeddingBag"])
def test_from_pretrained_keeps_the_table_and_draws_nothing(name):
    """The table is the start; two starts for one weight are an error."""
    table = floats(5, 3)
    made, ours = after(1, lambda: getattr(nn, name).from_pretrained(table, padding_idx=1))
    _, theirs = after(1, lambda: None)
    assert type(made) is getattr(nn, name)
    assert torch.equal(made.weight, table)
    assert not (name == "Embedding" and made.weight.requires_grad)
    assert torch.equal(ours, theirs)
    with pytest.raises(FaninError, match="two starts"):
        getattr(nn, name)(5, 3, _weight=table, weight_initializer=Zeros)


def test_each_gate_and_projection_is_drawn_by_its_own_fans():
    """A packed weight's fan is that of one block, whatever torch.nn.init would read."""
    asked = []

    def record(tensor, layout):
        asked.append((layout.fan_in, layout.fan_out))
        tensor.zero_()

    nn.LSTM(8, 16, weight_ih_initializer=record)
    nn.MultiheadAttention(16, 2, in_proj_weight_initializer=record)
    nn.MultiheadAttention(16, 2, kdim=8, vdim=4, in_proj_weight_initializer=record)
    assert asked == [(8, 16), (16, 16), (4, 16), (8, 16), (16, 16)]


def test_the_top_level_fill_zeroes_the_padding_row_too():
    """A built embedding and one made with the argument start alike."""
    table = fill(torch.nn.Embedding(5, 3, padding_idx=2), weight_initializer=BETWEEN)
    assert not table.weight[2].any()
    assert is_between(table.weight[[0, 1, 3, 4]])


def test_a_failed_draw_leaves_the_parameters_as_they_were():
    """A function that fails at the second reset must not leave half a layer."""
    calls = []

    def fails_later(tensor, layout):
        calls.append(layout)
        if len(calls) > 1:
            raise RuntimeError("later")
        tensor.fill_(1)

    layer = nn.Linear(4, 3, weight_initializer=Custom(fails_later), bias_initializer=2)
    start = copy.deepcopy(layer)
    with pytest.raises(RuntimeError, match="later"):
        layer.reset_parameters()
    assert same_parameters(layer, start)
