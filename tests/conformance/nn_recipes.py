"""How to build every layer of fanin.nn, and what its tests ask of it."""

import inspect
from dataclasses import dataclass, field

import pytest
import torch

from fanin import nn
from fanin._fill import parameter_names
from fanin.initializers import Uniform

BETWEEN = Uniform(2.0, 3.0)
"""A draw that no default of torch can be mistaken for."""


@dataclass(frozen=True)
class Recipe:
    """How to build a layer that has every kind of parameter its class can have, and feed it."""

    args: tuple
    inputs: tuple
    options: dict = field(default_factory=dict)


def floats(*shape):
    return torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape)


ROWS = torch.tensor([[0, 1], [2, 3]])
SPACE = {"1d": (5,), "2d": (5, 5), "3d": (5, 5, 5)}
RECURRENT = {"num_layers": 2, "bidirectional": True}
TOKENS = floats(5, 2, 4)
RECIPES = {
    "Linear": [Recipe((4, 3), (floats(2, 4),))],
    "Bilinear": [Recipe((4, 5, 3), (floats(2, 4), floats(2, 5)))],
    "LazyLinear": [Recipe((3,), (floats(2, 4),))],
    "Embedding": [Recipe((7, 3), (ROWS,)), Recipe((7, 3), (ROWS,), {"padding_idx": -1})],
    "EmbeddingBag": [Recipe((7, 3), (ROWS,)), Recipe((7, 3), (ROWS,), {"padding_idx": 2})],
    "RNN": [Recipe((4, 3), (floats(5, 2, 4),), RECURRENT)],
    "GRU": [Recipe((4, 3), (floats(5, 2, 4),), RECURRENT)],
    "LSTM": [Recipe((4, 3), (floats(5, 2, 4),), RECURRENT | {"proj_size": 2})],
    "RNNCell": [Recipe((4, 3), (floats(2, 4),), {"nonlinearity": "relu"})],
    "GRUCell": [Recipe((4, 3), (floats(2, 4),))],
    "LSTMCell": [Recipe((4, 3), (floats(2, 4),))],
    "MultiheadAttention": [
        Recipe((4, 2), (TOKENS, TOKENS, TOKENS), {"add_bias_kv": True}),
        Recipe(
            (4, 2),
            (TOKENS, TOKENS[..., :3], TOKENS[..., :2]),
            {"add_bias_kv": True, "kdim": 3, "vdim": 2},
        ),
    ],
    "SyncBatchNorm": [Recipe((4,), (floats(2, 4, 8),))],
    "GroupNorm": [Recipe((2, 4), (floats(2, 4, 8),))],
    "LayerNorm": [Recipe(((3, 4),), (floats(2, 3, 4),))],
    "RMSNorm": [Recipe(((3, 4),), (floats(2, 3, 4),))],
    "PReLU": [Recipe((4,), (floats(2, 4),))],
}
for dims, space in SPACE.items():
    image = (floats(2, 4, *space),)
    groups, statistics = {"groups": 2}, {"affine": True, "track_running_stats": True}
    RECIPES[f"Conv{dims}"] = [Recipe((4, 6, 3), image, groups)]
    RECIPES[f"LazyConv{dims}"] = [Recipe((6, 3), image, groups)]
    RECIPES[f"ConvTranspose{dims}"] = [Recipe((4, 6, 3), image, groups | {"stride": 2})]
    RECIPES[f"LazyConvTranspose{dims}"] = [Recipe((6, 3), image, groups)]
    RECIPES[f"BatchNorm{dims}"] = [Recipe((4,), image)]
    RECIPES[f"LazyBatchNorm{dims}"] = [Recipe((), image)]
    RECIPES[f"InstanceNorm{dims}"] = [Recipe((4,), image, statistics)]
    RECIPES[f"LazyInstanceNorm{dims}"] = [Recipe((), image, statistics)]


CASES = [
    pytest.param(name, recipe, id=f"{name}{f'-{i}' if i else ''}")
    for name in nn.__all__
    for i, recipe in enumerate(RECIPES.get(name, [None]))
]
each = pytest.mark.parametrize(("name", "recipe"), CASES)
LAZY = [case for case in CASES if case.values[0].startswith("Lazy")]
each_lazy = pytest.mark.parametrize(("name", "recipe"), LAZY)


def construct(name, recipe, *, package=nn, **more):
    return getattr(package, name)(*recipe.args, **(recipe.options | more))


def build(name, recipe, *, package=nn, **more):
    """The layer, a lazy one after its first batch."""
    layer = construct(name, recipe, package=package, **more)
    if name.startswith("Lazy"):
        device, dtype = more.get("device", "cpu"), more.get("dtype", torch.float32)
        layer(*(tensor.to(device, dtype) for tensor in recipe.inputs))
    return layer


def kinds_of(name):
    arguments = inspect.signature(getattr(nn, name)).parameters
    return [a.removesuffix("_initializer") for a in arguments if a.endswith("_initializer")]


def all_of(name, value=BETWEEN):
    return {f"{kind}_initializer": value for kind in kinds_of(name)}


def tensors_of(layer, kind):
    """The tensors of one kind, without an embedding's padding row, which is zero by rule."""
    tensors = [layer.get_parameter(full) for full in parameter_names(layer)[kind]]
    padding = getattr(layer, "padding_idx", None)
    if padding is None:
        return tensors
    kept = [row for row in range(layer.num_embeddings) if row != padding]
    assert not any(tensor[padding].any() for tensor in tensors)
    return [tensor[kept] for tensor in tensors]


def is_between(tensor):
    return bool(((tensor >= 2) & (tensor <= 3)).all())


def obeys(layer, name):
    return all(is_between(tensor) for kind in kinds_of(name) for tensor in tensors_of(layer, kind))


def same_state(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours)


def same_parameters(one, other):
    pairs = zip(one.named_parameters(), other.named_parameters(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def after(seed, call):
    """What ``call`` returns when it starts from ``seed``, and the generator's state behind it."""
    torch.manual_seed(seed)
    return call(), torch.random.get_rng_state()


def spoil(layer):
    with torch.no_grad():
        for tensor in (*layer.parameters(), *layer.buffers()):
            tensor.fill_(torch.nan if tensor.is_floating_point() else 99)


def assert_statistics_are_fresh(layer):
    fresh = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}
    for name, tensor in layer.named_buffers():
        assert (tensor == fresh[name]).all()
