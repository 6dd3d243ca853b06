"""Embeddings, tied tables and readouts."""

import pytest
import torch
from tests.oracles.trace_models import Model, parameter, roles, rows, sites, tokens
from torch import nn
from torch.nn import functional

F = functional

LOOKUPS = {
    "Embedding": lambda m, ids: m.table(ids),
    "functional": lambda m, ids: F.embedding(ids, m.table.weight),
    "index": lambda m, ids: m.table.weight[ids],
    "index_select": lambda m, ids: m.table.weight.index_select(0, ids.flatten()),
    "scaled": lambda m, ids: m.table(ids) * 6**0.5,
    "gather": lambda m, ids: m.table.weight.gather(0, ids.flatten()[:, None].expand(-1, 6)),
}


@pytest.mark.parametrize("look", LOOKUPS.values(), ids=LOOKUPS)
def test_a_table_is_looked_up_however_it_is_written(look):
    """Rows are picked; an output is one row, so its fan_in is 1."""
    model = Model(
        lambda m, ids: m.head(look(m, ids)), table=nn.Embedding(10, 6), head=nn.Linear(6, 2)
    )
    found = sites(model, tokens(2, 5))
    assert (found["table.weight"].role, found["table.weight"].layout.fan_in) == ("embedding", 1)
    assert str(found["table.weight"].layout) == "lookup [lookup=10, out=6]"
    assert found["head.weight"].role == "readout"
    assert found["head.weight"].sources == ("table.weight",)
    assert (found["table.weight"].depth, found["head.weight"].depth) == (1, 2)


def test_a_parameter_that_is_looked_up_is_a_table():
    """No Embedding layer in sight."""
    model = Model(lambda m, ids: m.head(m.rows[ids]), rows=parameter(10, 6), head=nn.Linear(6, 2))
    found = sites(model, tokens(2, 5))["rows"]
    assert (found.role, str(found.layout)) == ("embedding", "lookup [lookup=10, out=6]")


def test_a_bag_is_a_table():
    """Sums or means of rows."""
    for mode in ("sum", "mean", "max"):
        model = nn.Sequential(nn.EmbeddingBag(10, 6, mode=mode), nn.Linear(6, 2))
        found = sites(model, tokens(4, 5))
        assert found["0.weight"].role == "embedding"
        assert found["1.weight"].sources == ("0.weight",)


def test_a_one_hot_product_is_a_product():
    """``one_hot @ w``: a matrix product with its own fans, as it ran."""
    model = Model(
        lambda m, ids: m.head(F.one_hot(ids, 10).float() @ m.w),
        w=parameter(10, 6),
        head=nn.Linear(6, 2),
    )
    found = sites(model, tokens(2, 5))["w"]
    assert (found.role, str(found.layout)) == ("weight", "matrix product [in=10, out=6]")


def test_a_slice_of_a_position_table_is_added_entry_by_entry():
    """``pos[:, :length]`` picks no rows by value."""
    model = Model(
        lambda m, x: m.head(m.stem(x) + m.pos[:, : x.shape[1]]),
        stem=nn.Linear(4, 6), pos=parameter(1, 9, 6), head=nn.Linear(6, 2),
    )  # fmt: skip
    found = sites(model, rows(2, 5, 4))["pos"]
    assert (found.role, found.uses) == ("elementwise", 1)
    assert str(found.layout) == "entry by entry [channel=1, channel=9, channel=6]"


# --- tied tables ----------------------------------------------------------------------------------

READINGS = {
    "functional": lambda m, h: F.linear(h, m.table.weight),
    "transposed product": lambda m, h: h @ m.table.weight.t(),
    "einsum": lambda m, h: torch.einsum("bti,vi->btv", h, m.table.weight),
    "scaled": lambda m, h: F.linear(h, m.table.weight) * 6**-0.5,
}


@pytest.mark.parametrize("read", READINGS.values(), ids=READINGS)
def test_a_table_tied_to_the_readout_is_one_site_with_two_roles(read):
    """First role: embedding, since its scale is what the model starts from."""
    model = Model(
        lambda m, ids: read(m, torch.tanh(m.w(m.table(ids)))),
        table=nn.Embedding(10, 6),
        w=nn.Linear(6, 6),
    )
    found = sites(model, tokens(2, 5))
    table = found["table.weight"]
    assert (table.role, table.other_roles, table.uses) == ("embedding", ("readout",), 2)
    assert str(table.layout) == "lookup [lookup=10, out=6]"
    assert found["w.weight"].role == "weight"


@pytest.mark.parametrize("table_first", [True, False], ids=["table first", "head first"])
def test_two_modules_of_one_parameter_are_one_site_under_the_first_name(table_first):
    """Whichever the model registers first gives the name; the other is listed as tied."""
    head, table = nn.Linear(6, 10, bias=False), nn.Embedding(10, 6)
    head.weight = table.weight
    parts = {"table": table, "head": head} if table_first else {"head": head, "table": table}
    model = Model(lambda m, ids: m.head(torch.tanh(m.table(ids))), **parts)
    found = sites(model, tokens(2, 5))
    assert len(found) == 1
    names = ["table.weight", "head.weight"][:: 1 if table_first else -1]
    site = found[names[0]]
    assert site.tied == (names[1],)
    assert {site.role, *site.other_roles} == {"embedding", "readout"}
    assert site.role == "embedding"
    assert site.uses == 2


def test_a_module_under_two_names_is_one_site():
    """An encoder's and a decoder's table are one object."""
    table = nn.Embedding(10, 6)
    model = Model(lambda m, ids: m.a(ids) @ m.b(ids).mT, a=table, b=table)
    found = sites(model, tokens(2, 5))
    assert list(found) == ["a.weight"]
    assert (found["a.weight"].tied, found["a.weight"].uses) == (("b.weight",), 2)


def test_a_tied_parameter_is_found_by_each_of_its_names():
    """And an unknown name gives the nearest."""
    import fanin

    table = nn.Embedding(10, 6)
    model = Model(lambda m, ids: m.b(m.a(ids).argmax(-1)), a=table, b=table)
    found = fanin.trace(model, tokens(2, 5))
    assert found["b.weight"] is found["a.weight"]
    with pytest.raises(fanin.FaninError, match="no such parameter"):
        found["a.wieght"]


def test_a_tied_pair_of_layers_uses_one_matrix_both_ways():
    """An autoencoder whose decoder is the encoder's transpose."""
    model = Model(lambda m, x: F.relu(F.linear(x, m.w)) @ m.w, w=parameter(8, 6))
    found = sites(model, rows(3, 6))["w"]
    assert found.uses == 2
    assert str(found.layout) == "matrix product [out=8, in=6]"
    assert {found.role, *found.other_roles} == {"weight", "readout"}


# --- readouts -------------------------------------------------------------------------------------


def test_the_last_weight_is_the_readout_whatever_follows_it():
    """Softmax, scale, squeeze and loss-like ends have no weight."""
    for end in (
        lambda x: x, lambda x: x.softmax(-1), lambda x: x.log_softmax(-1), lambda x: x.squeeze(-1),
        lambda x: x.sigmoid(), lambda x: (x * 3).mean(), lambda x: x.argmax(-1) * x.sum(),
        lambda x: F.normalize(x, dim=-1), lambda x: {"logits": [x]},
    ):  # fmt: skip
        model = Model(
            lambda m, x, end=end: end(m.b(F.relu(m.a(x)))), a=nn.Linear(6, 8), b=nn.Linear(8, 1)
        )
        assert roles(model, rows(3, 6)) == {
            "a.weight": "weight", "a.bias": "bias", "b.weight": "readout", "b.bias": "bias",
        }  # fmt: skip


def test_several_heads_are_several_readouts():
    """Policy and value; box and class."""
    model = Model(
        lambda m, x: (m.policy(h := F.relu(m.trunk(x))), {"value": m.value(h)}),
        trunk=nn.Linear(6, 8), policy=nn.Linear(8, 3), value=nn.Linear(8, 1),
    )  # fmt: skip
    found = roles(model, rows(3, 6))
    assert [found[f"{n}.weight"] for n in ("trunk", "policy", "value")] == [
        "weight", "readout", "readout",
    ]  # fmt: skip


def test_a_head_that_another_reads_is_no_readout():
    """Its output leaves the model, but a weight follows it on the way to another output."""
    model = Model(lambda m, x: (h := m.a(x), m.b(F.relu(h))), a=nn.Linear(6, 8), b=nn.Linear(8, 2))
    found = roles(model, rows(3, 6))
    assert (found["a.weight"], found["b.weight"]) == ("weight", "readout")


def test_a_model_that_returns_its_stream_has_no_readout():
    """An encoder without a head: the last writers write, and a final norm follows."""
    model = Model(
        lambda m, x: m.n((h := m.stem(x)) + m.down(F.relu(m.up(h)))),
        stem=nn.Linear(4, 6), up=nn.Linear(6, 8), down=nn.Linear(8, 6), n=nn.LayerNorm(6),
    )  # fmt: skip
    found = roles(model, rows(3, 4))
    assert "readout" not in found.values()
    assert found["down.weight"] == "residual_out"


def test_a_weight_whose_output_is_only_chosen_from_is_no_readout_of_the_model():
    """It must reach a result as numbers, not as an index."""
    model = Model(
        lambda m, x: m.table(m.a(x).argmax(-1)), a=nn.Linear(6, 10), table=nn.Embedding(10, 4)
    )
    found = roles(model, rows(3, 6))
    assert found["table.weight"] == "embedding"
    assert found["a.weight"] != "readout"


def test_outputs_in_any_container_count():
    """Tuples, lists, mappings, dataclasses and named tuples, nested."""
    from collections import namedtuple
    from dataclasses import dataclass

    @dataclass
    class Output:
        logits: torch.Tensor
        hidden: tuple

    Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - what users write
    ends = {
        "tuple": lambda x: (x, 1),
        "list in dict": lambda x: {"a": [None, x]},
        "dataclass": lambda x: Output(x, (None,)),
        "dataclass, deep": lambda x: Output(None, ({"a": x},)),
        "named tuple": lambda x: Pair(None, x),
        "set": lambda x: {x},
    }
    for name, end in ends.items():
        model = Model(lambda m, x, end=end: end(m.a(x)), a=nn.Linear(6, 3))
        assert (name, roles(model, rows(3, 6))["a.weight"]) == (name, "readout")


def test_a_model_that_returns_no_tensor_has_no_readout():
    """Nothing leaves it that a trace can see."""
    for end in (lambda x: None, lambda x: "text", lambda x: [1, 2]):
        model = Model(lambda m, x, end=end: end(m.a(x)), a=nn.Linear(6, 3))
        assert roles(model, rows(3, 6))["a.weight"] == "weight"


def test_a_loss_as_output_keeps_the_readout():
    """Models that compute their own loss."""
    model = Model(
        lambda m, x, y: F.cross_entropy(m.b(F.relu(m.a(x))), y),
        a=nn.Linear(6, 8),
        b=nn.Linear(8, 10),
    )
    found = roles(model, (rows(3, 6), tokens(3)))
    assert (found["a.weight"], found["b.weight"]) == ("weight", "readout")


def test_contrastive_towers_have_a_readout_each():
    """CLIP: two encoders, a product of their outputs, a learned temperature."""

    def run(m, x, y):
        a, b = F.normalize(m.a(x), dim=-1), F.normalize(m.b(y), dim=-1)
        return m.scale.exp() * a @ b.t()

    model = Model(run, a=nn.Linear(6, 4), b=nn.Linear(5, 4), scale=parameter(value=2.6))
    found = sites(model, (rows(3, 6), rows(3, 5)))
    assert (found["a.weight"].role, found["b.weight"].role) == ("readout", "readout")
    assert (found["scale"].role, found["scale"].built) == ("elementwise", "constant 2.6")
