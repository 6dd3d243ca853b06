"""Query, key and value: found from the attention that consumed them, however it is stored."""

from math import sqrt

import pytest
import torch
from tests.oracles.trace_models import Model, parameter, roles, rows, sites
from torch import nn
from torch.nn import functional

from fanin import layout

F = functional
WIDTH, HEADS = 12, 3


def heads(x, count=HEADS):
    batch, length, width = x.shape
    return x.view(batch, length, count, width // count).transpose(1, 2)


def merged(x):
    return x.transpose(1, 2).flatten(2)


def fused(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def causal(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def masked(q, k, v):
    mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def biased(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=torch.zeros(q.shape[2], k.shape[2]))


def by_hand(q, k, v):
    return (q @ k.transpose(-2, -1) / sqrt(q.shape[-1])).softmax(-1) @ v


def query_scaled(q, k, v):
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v


def with_mask(q, k, v):
    scores = q @ k.transpose(-2, -1) / sqrt(q.shape[-1])
    mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v


def with_mask_in_place(q, k, v):
    scores = q @ k.transpose(-2, -1)
    scores.div_(sqrt(q.shape[-1])).masked_fill_(torch.eye(scores.shape[-1]) > 0, -1e9)
    return scores.softmax(-1) @ v


def with_added_mask(q, k, v):
    scores = q @ k.transpose(-2, -1) / sqrt(q.shape[-1])
    return (scores + torch.full(scores.shape[-2:], -1e9).triu(1)).softmax(-1) @ v


def with_where(q, k, v):
    scores = q @ k.transpose(-2, -1)
    mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    return torch.where(mask, scores, torch.tensor(-1e9)).softmax(-1) @ v


def with_dropout(q, k, v):
    return F.dropout((q @ k.transpose(-2, -1)).softmax(-1), 0.1, training=True) @ v


def in_float32(q, k, v):
    weights = (q @ k.transpose(-2, -1)).float().softmax(-1, dtype=torch.float32)
    return weights.to(q.dtype) @ v


def by_einsum(q, k, v):
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)


def by_bmm(q, k, v):
    batch, count, length, width = q.shape
    q, k, v = (one.reshape(batch * count, -1, width) for one in (q, k, v))
    return (q.bmm(k.transpose(1, 2)).softmax(-1)).bmm(v).view(batch, count, length, width)


def by_baddbmm(q, k, v):
    batch, count, length, width = q.shape
    q, k, v = (one.reshape(batch * count, -1, width) for one in (q, k, v))
    bias = q.new_zeros(batch * count, length, k.shape[1])
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), beta=1.0, alpha=width**-0.5)
    return scores.softmax(-1).bmm(v).view(batch, count, length, width)


def softmax_by_hand(q, k, v):
    scores = q @ k.transpose(-2, -1)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True) @ v


def channels_first(q, k, v):
    """As in diffusion U-Nets: keys by queries, and the values on the left."""
    weights = (k @ q.transpose(-2, -1)).softmax(-2)
    return (v.transpose(-2, -1) @ weights).transpose(-2, -1)


def rotated(q, k, v):
    length, width = q.shape[-2:]
    angles = torch.outer(torch.arange(length) + 1.0, torch.ones(width // 2))
    cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)

    def turn(x):
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat((-right, left), -1) * sin

    return F.scaled_dot_product_attention(turn(q), turn(k), v)


def rotated_as_complex(q, k, v):
    length, width = q.shape[-2:]
    angles = torch.outer(torch.arange(length) + 1.0, torch.ones(width // 2))
    turns = torch.polar(torch.ones_like(angles), angles)

    def turn(x):
        pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * turns).flatten(3).type_as(x)

    return F.scaled_dot_product_attention(turn(q), turn(k), v)


def normalized(q, k, v):
    return F.scaled_dot_product_attention(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v)


def with_cache(q, k, v):
    past = torch.zeros_like(k)
    return F.scaled_dot_product_attention(q, torch.cat([past, k], 2), torch.cat([past, v], 2))


def in_cache_buffer(q, k, v):
    keys, values = (torch.zeros(*k.shape[:2], 9, k.shape[-1]) for _ in range(2))
    keys[:, :, 4 : 4 + k.shape[2]] = k
    values[:, :, 4 : 4 + k.shape[2]] = v
    return F.scaled_dot_product_attention(q, keys, values)


ATTENTIONS = [
    fused, causal, masked, biased, by_hand, query_scaled, with_mask, with_mask_in_place,
    with_added_mask, with_where, with_dropout, in_float32, by_einsum, by_bmm, by_baddbmm,
    softmax_by_hand, channels_first, rotated, rotated_as_complex, normalized, with_cache,
    in_cache_buffer,
]  # fmt: skip


def attention(attend, width=WIDTH, count=HEADS):
    def run(m, x):
        q, k, v = (heads(part(x), count) for part in (m.q, m.k, m.v))
        return m.o(merged(attend(q, k, v)))

    parts = {name: nn.Linear(width, width) for name in "qkvo"}
    return Model(run, **parts)


def weights(found):
    return {name: role for name, role in found.items() if name.endswith("weight")}


@pytest.mark.parametrize("attend", ATTENTIONS, ids=lambda attend: attend.__name__)
def test_query_key_and_value_are_told_apart(attend):
    """Whether the attention is torch's or written out, masked, rotated, cached or normalized."""
    width, count = (WIDTH, HEADS) if "rotated" not in attend.__name__ else (12, 3)
    found = weights(roles(attention(attend, width, count), rows(2, 5, width)))
    assert found == {
        "q.weight": "query", "k.weight": "key", "v.weight": "value", "o.weight": "readout",
    }  # fmt: skip


@pytest.mark.parametrize("attend", ATTENTIONS, ids=lambda attend: attend.__name__)
def test_what_leaves_an_attention_passed_no_activation(attend):
    """A mean of values is linear in the values; a softmax is no activation of theirs."""
    found = sites(attention(attend), rows(2, 5, WIDTH))
    assert [found[f"{name}.weight"].activation for name in "qkvo"] == ["identity"] * 4
    assert found["v.weight"].activation_after == "identity"
    assert found["o.weight"].sources == ("v.weight",)
    assert found["o.weight"].depth == 2


def test_grouped_queries_share_keys_and_values():
    """Fewer key and value heads, repeated by expand or by repeat_interleave."""

    def run(m, x, repeat):
        q, k, v = heads(m.q(x), 4), heads(m.k(x), 2), heads(m.v(x), 2)
        return m.o(merged(F.scaled_dot_product_attention(q, repeat(k), repeat(v))))

    def by_expand(x):
        batch, count, length, width = x.shape
        return x[:, :, None].expand(batch, count, 2, length, width).reshape(batch, 4, length, width)

    for repeat in (by_expand, lambda x: x.repeat_interleave(2, 1)):
        model = Model(
            lambda m, x, repeat=repeat: run(m, x, repeat),
            q=nn.Linear(16, 16), k=nn.Linear(16, 8), v=nn.Linear(16, 8), o=nn.Linear(16, 16),
        )  # fmt: skip
        assert list(weights(roles(model, rows(2, 5, 16))).values()) == [
            "query", "key", "value", "readout",
        ]  # fmt: skip


def test_grouped_queries_by_enable_gqa():
    """torch repeats the heads itself."""

    def run(m, x):
        q, k, v = heads(m.q(x), 4), heads(m.k(x), 2), heads(m.v(x), 2)
        return m.o(merged(F.scaled_dot_product_attention(q, k, v, enable_gqa=True)))

    model = Model(
        run, q=nn.Linear(16, 16), k=nn.Linear(16, 8), v=nn.Linear(16, 8), o=nn.Linear(16, 16)
    )
    assert list(weights(roles(model, rows(2, 5, 16))).values()) == [
        "query", "key", "value", "readout",
    ]  # fmt: skip


def test_cross_attention_reads_keys_and_values_elsewhere():
    """The query comes from another input."""

    def run(m, x, memory):
        return m.o(merged(by_hand(heads(m.q(x)), heads(m.k(memory)), heads(m.v(memory)))))

    model = Model(run, **{name: nn.Linear(WIDTH, WIDTH) for name in "qkvo"})
    found = weights(roles(model, (rows(2, 5, WIDTH), rows(2, 7, WIDTH))))
    assert list(found.values()) == ["query", "key", "value", "readout"]


def chunk(x):
    return tuple(heads(one) for one in x.chunk(3, -1))


def split(x):
    return tuple(heads(one) for one in x.split(WIDTH, -1))


def sliced(x):
    return heads(x[..., :12]), heads(x[..., 12:24]), heads(x[..., 24:])


def viewed(x):
    batch, length, _ = x.shape
    return x.view(batch, length, 3, HEADS, 4).permute(2, 0, 3, 1, 4).unbind(0)


def viewed_and_indexed(x):
    batch, length, _ = x.shape
    packed = x.reshape(batch, length, 3, HEADS, 4).permute(2, 0, 3, 1, 4)
    return packed[0], packed[1], packed[2]


PACKINGS = [chunk, split, sliced, viewed, viewed_and_indexed]


@pytest.mark.parametrize("attend", [fused, by_hand, rotated], ids=lambda one: one.__name__)
@pytest.mark.parametrize("cut", PACKINGS, ids=lambda cut: cut.__name__)
def test_a_packed_projection_is_three_blocks(cut, attend):
    """The three matrices share their input only, so each is drawn on its own."""
    model = Model(
        lambda m, x: m.o(merged(attend(*cut(m.qkv(x))))),
        qkv=nn.Linear(WIDTH, 3 * WIDTH), o=nn.Linear(WIDTH, WIDTH),
    )  # fmt: skip
    found = sites(model, rows(2, 5, WIDTH))["qkv.weight"]
    assert found.role == "query_key_value"
    assert [(b.name, b.size) for b in found.layout.blocks] == [
        ("query", 12), ("key", 12), ("value", 12),
    ]  # fmt: skip
    assert found.layout.fan_out == WIDTH


def test_packed_blocks_may_have_different_sizes():
    """One projection of four query heads, two key and two value heads."""

    def run(m, x):
        q, k, v = m.qkv(x).split((16, 8, 8), -1)
        k, v = (heads(one, 2).repeat_interleave(2, 1) for one in (k, v))
        return m.o(merged(fused(heads(q, 4), k, v)))

    model = Model(run, qkv=nn.Linear(16, 32), o=nn.Linear(16, 16))
    found = sites(model, rows(2, 5, 16))["qkv.weight"]
    assert [(b.name, b.size) for b in found.layout.blocks] == [
        ("query", 16), ("key", 8), ("value", 8),
    ]  # fmt: skip


def test_packed_per_head_is_packed_but_has_no_consecutive_blocks():
    """GPT-NeoX stores query, key and value of the first head, then those of the second."""

    def run(m, x):
        batch, length, _ = x.shape
        packed = m.qkv(x).view(batch, length, HEADS, 3 * 4).transpose(1, 2)
        return m.o(merged(fused(*packed.chunk(3, -1))))

    model = Model(run, qkv=nn.Linear(WIDTH, 3 * WIDTH), o=nn.Linear(WIDTH, WIDTH))
    found = sites(model, rows(2, 5, WIDTH))["qkv.weight"]
    assert (found.role, found.layout.blocks) == ("query_key_value", ())


def test_keys_and_values_may_be_packed_alone():
    """As in cross-attention."""

    def run(m, x, memory):
        k, v = m.kv(memory).chunk(2, -1)
        return m.o(merged(fused(heads(m.q(x)), heads(k), heads(v))))

    model = Model(
        run, q=nn.Linear(WIDTH, WIDTH), kv=nn.Linear(7, 2 * WIDTH), o=nn.Linear(WIDTH, WIDTH)
    )
    found = sites(model, (rows(2, 5, WIDTH), rows(2, 4, 7)))
    assert (found["q.weight"].role, found["kv.weight"].role) == ("query", "key_value")
    assert [b.name for b in found["kv.weight"].layout.blocks] == ["key", "value"]


def test_a_packed_weight_may_be_cut_before_it_is_used():
    """As torch's own attention does with in_proj_weight."""

    def run(m, x):
        q, k, v = (F.linear(x, w) for w in m.qkv.chunk(3))
        return m.o(merged(fused(heads(q), heads(k), heads(v))))

    model = Model(run, qkv=parameter(3 * WIDTH, WIDTH), o=nn.Linear(WIDTH, WIDTH))
    found = sites(model, rows(2, 5, WIDTH))["qkv"]
    assert (found.role, found.uses) == ("query_key_value", 1)
    assert [b.name for b in found.layout.blocks] == ["query", "key", "value"]


def test_weights_with_a_head_axis_are_told_apart():
    """As in einsum code bases; heads are outputs of the first three and inputs of the last."""

    def run(m, x):
        q, k, v = (torch.einsum("bti,ihd->bhtd", x, w) for w in (m.q, m.k, m.v))
        return torch.einsum("bhtd,hdo->bto", by_einsum(q, k, v), m.o)

    shapes = {"q": (12, 3, 4), "k": (12, 3, 4), "v": (12, 3, 4), "o": (3, 4, 12)}
    model = Model(run, **{name: parameter(*shape) for name, shape in shapes.items()})
    found = sites(model, rows(2, 5, WIDTH))
    assert [found[name].role for name in "qkvo"] == ["query", "key", "value", "readout"]
    assert str(found["q"].layout) == "matrix product [in=12, out=3, out=4]"
    assert str(found["o"].layout) == "matrix product [in=3, in=4, out=12]"


def test_convolutions_may_make_query_key_and_value():
    """Images: 1x1 convolutions, positions flattened."""

    def run(m, x):
        batch, _, height, width = x.shape
        q, k, v = (part(x).flatten(2).transpose(1, 2) for part in (m.q, m.k, m.v))
        return m.o(by_hand(q, k, v).transpose(1, 2).reshape(batch, 8, height, width))

    model = Model(run, **{name: nn.Conv2d(8, 8, 1) for name in "qkvo"})
    found = weights(roles(model, rows(2, 8, 3, 3)))
    assert list(found.values()) == ["query", "key", "value", "readout"]


def test_packed_convolutions_are_cut_along_their_channels():
    """As in diffusion U-Nets: one 1x1 convolution, chunked along axis 1."""

    def run(m, x):
        batch, _, height, width = x.shape
        q, k, v = (one.flatten(2).transpose(1, 2) for one in m.qkv(x).chunk(3, 1))
        return m.o(fused(q, k, v).transpose(1, 2).reshape(batch, 8, height, width))

    model = Model(run, qkv=nn.Conv2d(8, 24, 1), o=nn.Conv2d(8, 8, 1))
    found = sites(model, rows(2, 8, 3, 3))["qkv.weight"]
    assert found.role == "query_key_value"
    assert [(b.name, b.size) for b in found.layout.blocks] == [
        ("query", 8), ("key", 8), ("value", 8),
    ]  # fmt: skip


def test_keys_that_pass_a_low_rank_are_keys_at_its_end():
    """The last weight before the attention is the key; what it reads is a weight like others."""

    def run(m, x):
        return m.o(merged(fused(heads(m.q(x)), heads(m.k_up(m.k_down(x))), heads(m.v(x)))))

    model = Model(
        run, q=nn.Linear(12, 12), k_down=nn.Linear(12, 4), k_up=nn.Linear(4, 12),
        v=nn.Linear(12, 12), o=nn.Linear(12, 12),
    )  # fmt: skip
    assert list(weights(roles(model, rows(2, 5, 12))).values()) == [
        "query", "weight", "key", "value", "readout",
    ]  # fmt: skip


def test_keys_through_a_norm_are_keys():
    """Query and key norms, with learned scales, stand between the weight and the product."""

    def run(m, x):
        q, k = m.q_norm(heads(m.q(x))), m.k_norm(heads(m.k(x)))
        return m.o(merged(fused(q, k, heads(m.v(x)))))

    model = Model(
        run, q=nn.Linear(12, 12), k=nn.Linear(12, 12), v=nn.Linear(12, 12), o=nn.Linear(12, 12),
        q_norm=nn.RMSNorm(4), k_norm=nn.LayerNorm(4),
    )  # fmt: skip
    found = sites(model, rows(2, 5, 12))
    assert [found[f"{n}.weight"].role for n in "qkv"] == ["query", "key", "value"]
    assert [found[f"{n}.weight"].normalized_output for n in "qkv"] == [True, True, False]
    assert [found[n].role for n in ("q_norm.weight", "k_norm.weight", "k_norm.bias")] == [
        "norm_scale", "norm_scale", "norm_shift",
    ]  # fmt: skip


def test_linear_attention_has_no_softmax_and_no_roles():
    """Said only where it was seen: three matrices of a product without softmax stay weights."""

    def run(m, x):
        q, k, v = (heads(part(x)) for part in (m.q, m.k, m.v))
        return m.o(merged(q @ (k.transpose(-2, -1) @ v)))

    found = weights(roles(Model(run, **{n: nn.Linear(12, 12) for n in "qkvo"}), rows(2, 5, 12)))
    assert list(found.values()) == ["weight", "weight", "weight", "readout"]


MULTIHEAD = {
    "packed": {},
    "packed, no bias": {"bias": False},
    "batch first": {"batch_first": True},
    "extra tokens": {"add_bias_kv": True},
    "apart": {"kdim": 7, "vdim": 5},
    "apart, no bias": {"kdim": 7, "vdim": 5, "bias": False},
}


@pytest.mark.parametrize("need_weights", [False, True], ids=["fused", "with weights"])
@pytest.mark.parametrize("options", MULTIHEAD.values(), ids=MULTIHEAD)
def test_torch_s_attention_is_attention(options, need_weights):
    """Packed or apart, with or without bias, fused or returning its weights."""
    layer = nn.MultiheadAttention(WIDTH, HEADS, **options)
    model = Model(lambda m, q, k, v: m.a(q, k, v, need_weights=need_weights)[0], a=layer)
    batch = (rows(5, 2, 12), rows(4, 2, layer.kdim), rows(4, 2, layer.vdim))
    if layer.batch_first:
        batch = tuple(one.transpose(0, 1) for one in batch)
    found = sites(model, batch)
    if "kdim" in options:
        assert found["a.q_proj_weight"].role == "query"
        assert found["a.k_proj_weight"].role == "key"
        assert found["a.v_proj_weight"].role == "value"
    else:
        assert found["a.in_proj_weight"].role == "query_key_value"
    assert found["a.out_proj.weight"].role == "readout"
    for name, _ in layer.named_parameters():
        assert found[f"a.{name}"].layout == layout(layer, name)
        assert found[f"a.{name}"].uses > 0
    for name in ("in_proj_bias", "out_proj.bias"):
        assert options.get("bias", True) == (f"a.{name}" in found)
        if f"a.{name}" in found:
            assert found[f"a.{name}"].role == "bias"


@pytest.mark.parametrize("training", [False, True])
def test_self_attention_of_torch_takes_no_hidden_path(training):
    """In evaluation mode torch runs a transformer layer as one operation that says nothing."""
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 24, batch_first=True)
    found = sites(nn.TransformerEncoder(layer, 2), rows(2, 5, WIDTH), training=training)
    first = {
        n.removeprefix("layers.0."): s.role for n, s in found.items() if n.startswith("layers.0")
    }
    assert first == {
        "self_attn.in_proj_weight": "query_key_value",
        "self_attn.in_proj_bias": "bias",
        "self_attn.out_proj.weight": "residual_out",
        "self_attn.out_proj.bias": "bias",
        "linear1.weight": "weight",
        "linear1.bias": "bias",
        "linear2.weight": "residual_out",
        "linear2.bias": "bias",
        "norm1.weight": "norm_scale",
        "norm1.bias": "norm_shift",
        "norm2.weight": "norm_scale",
        "norm2.bias": "norm_shift",
    }


def test_an_added_relative_bias_is_no_signal():
    """Swin: a row for each relative place is added to the scores; T5: of a layer's table."""
    places = torch.arange(5)[:, None] - torch.arange(5)[None] + 4

    def run(m, x):
        q, k, v = (heads(part(x)) for part in (m.q, m.k, m.v))
        rows_of = m.table[places.view(-1)] if isinstance(m.table, nn.Parameter) else m.table(places)
        scores = q @ k.transpose(-2, -1) + rows_of.view(5, 5, HEADS).permute(2, 0, 1)[None]
        return m.o(merged(scores.softmax(-1) @ v))

    tables = {
        "table": (parameter(9, HEADS), "elementwise"),
        "table.weight": (nn.Embedding(9, HEADS), "embedding"),
    }
    for name, (table, role) in tables.items():
        model = Model(run, table=table, **{n: nn.Linear(12, 12) for n in "qkvo"})
        found = sites(model, rows(2, 5, 12))
        assert [found[f"{n}.weight"].role for n in "qkvo"] == ["query", "key", "value", "readout"]
        assert (found[name].role, found[name].uses) == (role, 1)
        assert {site.summands for site in found.values()} == {1}


def test_a_learned_query_is_what_is_multiplied():
    """Attention pooling: the query is a parameter by itself and passes no weight."""

    def run(m, x):
        return fused(m.query.expand(2, 1, 12), m.k(x), m.v(x))

    model = Model(run, query=parameter(1, 1, 12), k=nn.Linear(12, 12), v=nn.Linear(12, 12))
    found = sites(model, rows(2, 5, 12))
    assert (found["k.weight"].role, found["v.weight"].role) == ("key", "value")
    assert found["query"].uses == 1
