"""Hand-made sites: every role and layout by itself, and a few small models whose sites fit."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import nn

import fanin
from fanin import Block, Layout
from fanin._site import Residual, Site, SiteRole

__all__ = ["ALONE", "MODELS", "gpt", "of_module", "post_norm", "residual_net", "sines"]


def _unnamed(x):
    return torch.exp(-x.abs()) * x


BIAS = Layout((96,), "out", role="bias", operation="sum")
CHANNELS = Layout((96,), "channel")
MATRIX = Layout((96, 128), "out in")
QKV = tuple(Block(name, 96) for name in ("query", "key", "value"))
GATES = (Block("gate", 96), Block("value", 96))


def _by_role() -> list[Site]:
    matrices: tuple[SiteRole, ...] = (
        *("weight", "shortcut", "readout", "query", "key", "value", "gate", "gate_value", "router"),
    )
    channels: tuple[SiteRole, ...] = (
        *("norm_scale", "norm_shift", "slope", "branch_scale", "elementwise", "buffer"),
    )
    place = Residual(stream=0, index=3, count=6, norm="pre")
    return [
        *(Site(name=f"{role}.weight", layout=MATRIX, role=role) for role in matrices),
        *(Site(name=f"{role}.it", layout=CHANNELS, role=role) for role in channels),
        Site(name="out.weight", layout=MATRIX, role="residual_out", residual=place),
        Site(name="fc.bias", layout=BIAS, role="bias", module="Linear"),
    ]


def _by_layout() -> list[Site]:
    def site(name: str, layout: Layout, role: SiteRole = "weight", **more) -> Site:
        return Site(name=name, layout=layout, role=role, **more)

    table = Layout((200, 96), "lookup out", role="embedding", operation="lookup")
    return [
        site("embedding.weight", table, "embedding", module="Embedding"),
        site("tied.weight", table, "embedding", other_roles=("readout",), tied=("head.weight",)),
        site("grouped.weight", Layout((64, 8, 3, 3), "out in kernel kernel", groups=4)),
        site("depthwise.weight", Layout((64, 1, 5, 5), "out in kernel kernel", groups=64)),
        site("hugging_face.weight", Layout((128, 96), "in out"), module="Conv1D"),
        site("packed.weight", Layout((288, 96), "out in", blocks=QKV), "query_key_value"),
        site("packed_kv.weight", Layout((192, 96), "out in", blocks=QKV[1:]), "key_value"),
        site("glu.weight", Layout((192, 96), "out in", blocks=GATES), "gated"),
        site("experts.up", Layout((4, 64, 96), "batch out in"), "gate"),
        site(
            "experts.down",
            Layout((4, 96, 64), "batch out in"),
            "residual_out",
            activation="swiglu",
            residual=Residual(stream=0, index=2, count=6, norm="pre"),
        ),
    ]


def _by_activation() -> list[Site]:
    named = ("relu", "gelu(tanh)", "leaky_relu(0.2)", "swiglu", "sin(30x)", "no such activation")
    found = {name: name for name in named} | {
        "function": _unnamed,
        "nothing": lambda x: 0 * x,
        "of torch": torch.tanh,
    }
    return [
        Site(name=f"after {called}.weight", layout=MATRIX, activation=activation)
        for called, activation in found.items()
    ] + [
        Site(name=f"before {called}.weight", layout=MATRIX, activation_after=activation)
        for called, activation in found.items()
    ]


_ROLES: dict[str, SiteRole] = {
    "weight": "weight",
    "bias": "bias",
    "embedding": "embedding",
    "recurrent": "recurrent",
    "projection": "projection",
    "norm_scale": "norm_scale",
    "norm_shift": "norm_shift",
    "slope": "slope",
}


def of_module(module: nn.Module, prefix: str = "layer") -> list[Site]:
    """The sites of a torch layer: roles by its own layouts, without a run."""
    sites = []
    for name, _ in module.named_parameters():
        layout = fanin.layout(module, name)
        owner = module.get_submodule(name.rpartition(".")[0])
        sites.append(
            Site(
                name=f"{prefix}.{name}",
                layout=layout,
                role=_ROLES[layout.role],
                module=type(owner).__name__,
            )
        )
    return sites


def _of_torch() -> list[Site]:
    layers = {
        "lstm": nn.LSTM(24, 32, proj_size=16),
        "gru": nn.GRU(24, 32),
        "cell": nn.RNNCell(24, 32),
        "attention": nn.MultiheadAttention(64, 4, add_bias_kv=True),
        "apart": nn.MultiheadAttention(64, 4, kdim=32, vdim=48),
        "bilinear": nn.Bilinear(8, 12, 40),
        "transposed": nn.ConvTranspose2d(16, 32, 4, stride=2, groups=2),
        "prelu": nn.PReLU(8),
        "norm": nn.BatchNorm2d(24),
        "bag": nn.EmbeddingBag(100, 32),
    }
    return [site for name, layer in layers.items() for site in of_module(layer, name)]


ALONE: tuple[Site, ...] = (
    *_by_role(),
    *_by_layout(),
    *_by_activation(),
    *_of_torch(),
    Site(name="empty.weight", layout=Layout((96, 0), "out in"), module="Linear"),
    Site(name="axes unknown", layout=None),
    Site(name="bias of unknown axes", layout=None, role="bias"),
    Site(name="write of unknown place", layout=MATRIX, role="residual_out"),
    Site(name="never ran.weight", layout=MATRIX, uses=0, ran_in="never", built="not finite"),
)


def _transformer(layers: int, norm: str, *, packed: bool) -> list[Site]:
    sites = [Site(name="embed.weight", layout=Layout((300, 48), "lookup out"), role="embedding")]
    for layer in range(layers):
        sites += _layer(f"layers.{layer}", sites[-1].name, layer, 2 * layers, norm, packed=packed)
    head = Layout((300, 48), "out in")
    last = (sites[-1].name,)
    return [*sites, Site(name="head.weight", layout=head, role="readout", sources=last)]


def _layer(
    at: str, stream: str, layer: int, count: int, norm: str, *, packed: bool
) -> Iterator[Site]:
    """The sites of one transformer layer; ``stream`` is the weight that wrote last before it."""
    square = Layout((48, 48), "out in")
    first = Residual(stream=0, index=2 * layer + 1, count=count, norm=norm)
    second = replace(first, index=2 * layer + 2)
    yield Site(name=f"{at}.norm.weight", layout=CHANNELS, role="norm_scale")
    value = f"{at}.qkv.weight" if packed else f"{at}.v.weight"
    if packed:
        blocks = tuple(Block(name, 48) for name in ("query", "key", "value"))
        wide = Layout((144, 48), "out in", blocks=blocks)
        yield Site(name=value, layout=wide, role="query_key_value", sources=(stream,))
    else:
        roles: dict[str, SiteRole] = {"q": "query", "k": "key", "v": "value"}
        for local, role in roles.items():
            yield Site(name=f"{at}.{local}.weight", layout=square, role=role, sources=(stream,))
    out, up = f"{at}.out.weight", f"{at}.fc1.weight"
    yield Site(name=out, layout=square, role="residual_out", residual=first, sources=(value,))
    yield Site(name=up, layout=Layout((192, 48), "out in"), sources=(out,), join="add")
    yield Site(name=f"{at}.fc1.bias", layout=BIAS, role="bias")
    yield Site(
        name=f"{at}.fc2.weight",
        layout=Layout((48, 192), "out in"),
        role="residual_out",
        residual=second,
        sources=(up,),
        activation="gelu",
    )


def gpt(layers: int = 3) -> list[Site]:
    """A pre-norm transformer with packed attention."""
    return _transformer(layers, "pre", packed=True)


def post_norm(layers: int = 3) -> list[Site]:
    """A post-norm transformer with query, key and value apart."""
    return _transformer(layers, "post", packed=False)


def residual_net(blocks: int = 4, weights: int = 2, *, scaled: bool = False) -> list[Site]:
    """A convolutional net without norms: a stem, branches of some convolutions, a readout."""
    axes = Layout((16, 16, 3, 3), "out in kernel kernel")
    stem = Layout((16, 3, 3, 3), "out in kernel kernel")
    sites = [Site(name="stem.weight", layout=stem, depth=1)]
    sources: tuple[str, ...] = ("stem.weight",)
    deepest = 1
    for block in range(1, blocks + 1):
        scale = f"blocks.{block}.scale"
        place = Residual(stream=0, index=block, count=blocks, scaled_by=(scale,) if scaled else ())
        for number in range(1, weights + 1):
            last = number == weights
            deepest += 1
            name = f"blocks.{block}.conv{number}.weight"
            sites.append(
                Site(
                    name=name,
                    layout=axes,
                    role="residual_out" if last else "weight",
                    activation="relu",
                    sources=sources,
                    residual=place if last else None,
                    depth=deepest,
                )
            )
            sources = (name,)
        if scaled:
            scalar = Layout((1,), "channel")
            sites.append(Site(name=scale, layout=scalar, role="branch_scale", residual=place))
    readout = Layout((10, 16), "out in")
    head = Site(
        name="fc.weight", layout=readout, role="readout", sources=sources, depth=deepest + 1
    )
    return [*sites, head, Site(name="fc.bias", layout=BIAS, role="bias", module="Linear")]


def sines() -> list[Site]:
    """A net of sines of frequency 30, from coordinates to a number."""
    net = {
        "first": (64, 2, "identity"),
        "hidden": (64, 64, "sin(30x)"),
        "last": (1, 64, "sin(30x)"),
    }
    return [
        site
        for name, (out, into, activation) in net.items()
        for site in (
            Site(
                name=f"{name}.weight",
                layout=Layout((out, into), "out in"),
                module="Linear",
                activation=activation,
            ),
            Site(name=f"{name}.bias", layout=Layout((out,), "out"), role="bias", module="Linear"),
        )
    ]


MODELS: dict[str, Sequence[Site]] = {
    "gpt": gpt(),
    "post-norm": post_norm(),
    "residual": residual_net(),
    "residual with scales": residual_net(scaled=True),
    "sines": sines(),
    "torch's layers": [
        *_of_torch(),
        *of_module(nn.Linear(24, 32)),
        *of_module(nn.Conv1d(8, 4, 3), "conv"),
    ],
}
