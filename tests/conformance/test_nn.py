"""Every class exported by fanin.nn is its torch twin, and obeys its initializers.

A class joins by being exported; without a recipe its tests fail.
"""

import copy
import inspect
import typing
from functools import partial

import pytest
import torch
from tests.conformance.nn_recipes import (
    BETWEEN,
    RECIPES,
    after,
    all_of,
    assert_statistics_are_fresh,
    build,
    construct,
    each,
    floats,
    is_between,
    kinds_of,
    obeys,
    same_parameters,
    same_state,
    spoil,
    tensors_of,
)
from torch.nn.parameter import is_lazy

from fanin import FaninError, nn
from fanin._fill import parameter_names
from fanin.initializers import Constant, Normal, Zeros

pytestmark = [
    pytest.mark.filterwarnings("ignore:Lazy modules are a new feature"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]

OTHER_VALUES = {
    "bias": False,
    "affine": False,
    "elementwise_affine": False,
    "track_running_stats": False,
    "eps": 0.25,
    "momentum": 0.5,
    "process_group": "a group",
    "stride": 2,
    "padding": 1,
    "output_padding": 1,
    "dilation": 2,
    "groups": 1,
    "padding_mode": "circular",
    "padding_idx": 1,
    "max_norm": 2.0,
    "norm_type": 1.0,
    "scale_grad_by_freq": True,
    "mode": "sum",
    "sparse": True,
    "include_last_offset": True,
    "_freeze": True,
    "num_layers": 3,
    "nonlinearity": "relu",
    "batch_first": True,
    "dropout": 0.5,
    "bidirectional": False,
    "proj_size": 1,
    "add_bias_kv": False,
    "add_zero_attn": True,
    "kdim": 5,
    "vdim": 6,
    "init": 0.5,
    "device": "meta",
    "dtype": torch.float64,
    "_weight": floats(7, 3),
}
"""For each argument of torch's that is not in a recipe's ``args``, a value that can be told."""


def torch_signature(name):
    twin = getattr(torch.nn, name)
    overloads = typing.get_overloads(twin.__init__)
    return inspect.signature(overloads[0] if overloads else twin.__init__)


# ---------------------------------------------------------------- the class


def test_every_exported_class_has_a_recipe():
    """A layer nobody builds here is a layer nobody checks."""
    assert set(RECIPES) == set(nn.__all__)


def test_every_torch_layer_that_owns_a_weight_is_here():
    """A later torch's new layer fails this test until fanin has it or a reason not to."""
    without = {
        "AdaptiveLogSoftmaxWithLoss": "owns only children, made of Linear",
        "Transformer": "owns only children",
        "RNNBase": "abstract",
        "RNNCellBase": "abstract",
    }
    owners = {
        name
        for name, kind in vars(torch.nn).items()
        if isinstance(kind, type)
        and issubclass(kind, torch.nn.Module)
        and (hasattr(kind, "reset_parameters") or hasattr(kind, "_reset_parameters"))
    }
    assert owners - set(without) == set(nn.__all__)


@each
def test_the_signature_is_torchs_with_keywords_for_the_initializers(name, recipe):
    """Code that makes the torch layer makes ours; a torch that moves an argument is seen."""
    ours = inspect.signature(getattr(nn, name).__init__).parameters
    theirs = torch_signature(name).parameters
    own = {key: value for key, value in ours.items() if key.endswith("_initializer")}
    assert own
    assert all(value.kind == value.KEYWORD_ONLY for value in own.values())
    assert all(value.default is None for value in own.values())
    rest = [key for key in ours if key not in own]
    if name.endswith(("Norm1d", "Norm2d", "Norm3d", "SyncBatchNorm", "GroupNorm")):
        rest = [key for key in rest if key != "bias" or key in theirs]  # newer torch only
    assert rest == list(theirs)
    for key in rest:
        assert (ours[key].kind, ours[key].default) == (theirs[key].kind, theirs[key].default), key


@each
def test_every_argument_reaches_torch(name, recipe):
    """None is dropped, swapped with its neighbour or overridden."""
    arguments = list(torch_signature(name).parameters)[1 + len(recipe.args) :]
    for argument in arguments:
        if (argument, "Transpose" in name) == ("padding_mode", True):
            continue  # torch allows no other value there
        ours, theirs = (
            construct(name, recipe, package=package, **{argument: OTHER_VALUES[argument]})
            for package in (nn, torch.nn)
        )
        assert public(ours) == public(theirs), argument
        assert shapes(ours) == shapes(theirs), argument


def public(layer):
    return {
        key: value
        for key, value in vars(layer).items()
        if not key.startswith("_") and key != "initializers"
    }


def shapes(layer):
    return {
        name: (
            "lazy" if is_lazy(value) else value.shape,
            value.dtype,
            value.device,
            value.requires_grad,
        )
        for name, value in layer.named_parameters()
    }


@each
def test_there_is_one_argument_for_each_kind_of_parameter(name, recipe):
    """The naming rule: the kind of parameter, then _initializer."""
    assert set(parameter_names(build(name, recipe, package=torch.nn))) == set(kinds_of(name))


@each
def test_it_is_the_torch_layer_with_the_same_state(name, recipe):
    """isinstance checks, checkpoints and outputs are torch's, in both directions."""
    twin = build(name, recipe, package=torch.nn)
    layer = build(name, recipe, **all_of(name))
    assert isinstance(construct(name, recipe), getattr(torch.nn, name))
    assert isinstance(layer, type(twin))
    assert not same_state(layer, twin)
    layer.load_state_dict(twin.state_dict())
    assert same_state(layer, twin)
    twin.load_state_dict(layer.state_dict())
    one, other = layer(*recipe.inputs), twin(*recipe.inputs)
    torch.utils._pytree.tree_map(partial(torch.testing.assert_close, rtol=0, atol=0), one, other)


@each
def test_without_arguments_it_draws_what_torch_draws_bit_for_bit(name, recipe):
    """Changing the import changes nothing, not even the generator behind it."""
    layer, ours = after(3, lambda: build(name, recipe))
    twin, theirs = after(3, lambda: build(name, recipe, package=torch.nn))
    assert same_state(layer, twin)
    assert torch.equal(ours, theirs)


# ---------------------------------------------------------------- the initializers


@each
def test_an_argument_decides_its_kind_and_only_that(name, recipe):
    """The other parameters are what torch draws from the same seed; one more number is taken."""

    def torchs_then_one_number():
        twin = build(name, recipe, package=torch.nn)
        torch.empty((), dtype=torch.int64).random_()
        return twin

    twin, theirs = after(5, torchs_then_one_number)
    for kind in kinds_of(name):
        given = {f"{kind}_initializer": BETWEEN}
        layer, ours = after(5, partial(build, name, recipe, **given))
        assert all(is_between(tensor) for tensor in tensors_of(layer, kind))
        for other, full_names in parameter_names(layer).items():
            for full in full_names if other != kind else ():
                assert torch.equal(layer.get_parameter(full), twin.get_parameter(full)), full
        if len(kinds_of(name)) > 1:
            assert torch.equal(ours, theirs)


@each
def test_with_all_given_the_layer_takes_one_number_from_the_generator(name, recipe):
    """torch's own draws are skipped: they would be overwritten."""
    layer, ours = after(5, lambda: build(name, recipe, **all_of(name)))
    _, theirs = after(5, lambda: torch.empty((), dtype=torch.int64).random_())
    assert obeys(layer, name)
    assert torch.equal(ours, theirs)


@each
def test_an_argument_may_be_a_value_a_number_a_name_or_a_function(name, recipe):
    """The four ways users write an initializer."""
    seen = []

    def sevens(tensor, layout):
        seen.append((tuple(tensor.shape), layout.shape))
        tensor.fill_(7)

    for value, expected in ((Constant(4), 4), (5, 5), (0.25, 0.25), ("ones", 1), (sevens, 7)):
        layer = build(name, recipe, **all_of(name, value))
        for kind in kinds_of(name):
            assert all((tensor == expected).all() for tensor in tensors_of(layer, kind))
    assert seen
    assert all(shape == of_layout for shape, of_layout in seen)


@each
def test_an_unknown_name_is_an_error_with_the_nearest_names(name, recipe):
    """Raised where the layer is made, also by a lazy one."""
    for kind in kinds_of(name):
        with pytest.raises(FaninError, match="xavier_uniform") as error:
            construct(name, recipe, **{f"{kind}_initializer": "xavier_unifrom"})
        assert f"{kind}_initializer" in error.value.where


@each
def test_an_unknown_argument_is_pythons_type_error(name, recipe):
    """There is no catch-all that swallows a misspelled argument."""
    with pytest.raises(TypeError, match="wieght_initializer"):
        construct(name, recipe, wieght_initializer=Zeros)


@each
def test_an_initializer_for_a_parameter_left_out_is_an_error(name, recipe):
    """bias=False with a bias_initializer is two answers to one question; no number is drawn."""
    off = {"bias": False, "affine": False, "elementwise_affine": False} | {
        "proj_size": 0,
        "add_bias_kv": False,
    }
    for switch in torch_signature(name).parameters.keys() & off.keys():
        options = {switch: off[switch]}
        twin = construct(name, recipe, package=torch.nn, **options)
        absent = set(kinds_of(name)) - set(parameter_names(twin))
        assert absent
        for kind in absent:
            given = {f"{kind}_initializer": Zeros}
            before = torch.random.get_rng_state()
            with pytest.raises(FaninError, match=f"{kind}_initializer") as error:
                construct(name, recipe, **options, **given)
            assert switch in error.value.fix
            assert torch.equal(before, torch.random.get_rng_state())


@each
def test_torchs_seed_governs_the_draws(name, recipe):
    """The same seed gives the same layer, and two layers made in a row differ."""
    normals = all_of(name, Normal(1.0))
    one, _ = after(7, lambda: build(name, recipe, **normals))
    again, _ = after(7, lambda: build(name, recipe, **normals))
    next_one = build(name, recipe, **normals)
    assert same_parameters(one, again)
    for kind in kinds_of(name):
        pairs = zip(tensors_of(one, kind), tensors_of(next_one, kind), strict=True)
        assert not any(torch.equal(x, y) for x, y in pairs)


@each
def test_tensors_of_one_kind_are_drawn_apart(name, recipe):
    """Layers, directions and projections of one shape share an initializer, not their numbers."""
    layer, _ = after(23, lambda: build(name, recipe, **all_of(name)))
    drawn = [parameter.flatten()[:2].tolist() for parameter in layer.parameters()]
    assert len({tuple(values) for values in drawn}) == len(drawn)


@each
def test_reset_parameters_obeys(name, recipe):
    """A reset is a fresh construction: the same seed gives the same numbers, another does not."""
    first = kinds_of(name)[0]
    for given in ({}, all_of(name), {f"{first}_initializer": BETWEEN}):
        layer, _ = after(11, partial(build, name, recipe, **given))
        start = copy.deepcopy(layer)
        spoil(layer)
        after(11, layer.reset_parameters)
        assert same_parameters(layer, start)
        assert_statistics_are_fresh(layer)
        layer.reset_parameters()
        assert not given or not same_parameters(layer, start)


@each
def test_a_loop_over_modules_that_resets_each_obeys(name, recipe):
    """The usual loop resets children after their parents: out_proj must obey by itself too."""
    layer = build(name, recipe, **all_of(name))
    spoil(layer)
    for module in layer.modules():
        module.reset_parameters()
    assert obeys(layer, name)


@each
def test_print_shows_the_initializers_after_torchs_text(name, recipe):
    """And nothing more than torch's text when there are none."""
    layer = construct(name, recipe, **all_of(name))
    own = ", ".join(f"{kind}_initializer={BETWEEN!r}" for kind in kinds_of(name))
    torchs = construct(name, recipe, package=torch.nn).extra_repr()
    assert layer.extra_repr() == (f"{torchs}, {own}" if torchs else own)
    assert layer.extra_repr() in repr(layer)
    assert repr(construct(name, recipe)) == repr(construct(name, recipe, package=torch.nn))
