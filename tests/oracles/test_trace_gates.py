"""Product units: the gate passes the activation, the value is multiplied by it."""

import pytest
import torch
from tests.oracles.trace_models import Model, parameter, rows, sites, writers
from torch import nn
from torch.nn import functional

from fanin import gain

F = functional

UNITS = {
    "swiglu": F.silu,
    "geglu": F.gelu,
    "reglu": F.relu,
    "glu": torch.sigmoid,
    "bilinear": lambda x: x,
}


def feed_forward(run, **parts):
    return Model(run, down=nn.Linear(16, 6), **parts)


@pytest.mark.parametrize(("name", "function"), UNITS.items(), ids=UNITS)
def test_two_layers_of_one_input_are_gate_and_value(name, function):
    """Unpacked: the down projection reads the product, and only it is no part of the unit."""
    model = feed_forward(
        lambda m, x: m.down(function(m.a(x)) * m.b(x)), a=nn.Linear(6, 16), b=nn.Linear(6, 16)
    )
    found = sites(model, rows(3, 6))
    assert {found["a.weight"].role, found["b.weight"].role} == {"gate", "gate_value"}
    if name != "bilinear":
        assert found["a.weight"].role == "gate"
    assert found["down.weight"].role == "readout"
    assert found["down.weight"].activation == name
    assert gain(found["down.weight"].activation) > 0
    assert set(found["down.weight"].sources) == {"a.weight", "b.weight"}


@pytest.mark.parametrize(("name", "function"), UNITS.items(), ids=UNITS)
def test_the_order_of_the_factors_does_not_matter(name, function):
    """value * gate, as PaLM writes it."""
    model = feed_forward(
        lambda m, x: m.down(m.b(x) * function(m.a(x))), a=nn.Linear(6, 16), b=nn.Linear(6, 16)
    )
    found = sites(model, rows(3, 6))
    if name != "bilinear":
        assert (found["a.weight"].role, found["b.weight"].role) == ("gate", "gate_value")
    assert found["down.weight"].activation == name


CUTS = {
    "chunk": lambda x: x.chunk(2, -1),
    "split": lambda x: x.split(16, -1),
    "slices": lambda x: (x[..., :16], x[..., 16:]),
    "unflatten and unbind": lambda x: x.unflatten(-1, (2, 16)).unbind(-2),
    "view and select": lambda x: (x.view(3, 2, 16)[:, 0], x.view(3, 2, 16)[:, 1]),
}


@pytest.mark.parametrize("gate_first", [True, False], ids=["gate first", "value first"])
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_a_packed_unit_has_two_blocks_in_the_order_of_the_weight(cut, gate_first):
    """Each half is a matrix of its own."""

    def run(m, x):
        first, second = cut(m.both(x))
        return m.down(F.silu(first) * second if gate_first else first * F.silu(second))

    found = sites(feed_forward(run, both=nn.Linear(6, 32)), rows(3, 6))
    names = [(b.name, b.size) for b in found["both.weight"].layout.blocks]
    assert found["both.weight"].role == "gated"
    assert names == [("gate", 16), ("value", 16)][:: 1 if gate_first else -1]
    assert found["down.weight"].activation == "swiglu"


def test_torch_s_glu_is_a_packed_unit_with_its_gate_last():
    """``a * sigmoid(b)``, one operation."""
    for half in (F.glu, nn.GLU()):
        model = feed_forward(lambda m, x, half=half: m.down(half(m.both(x))), both=nn.Linear(6, 32))
        found = sites(model, rows(3, 6))
        assert found["both.weight"].role == "gated"
        assert [b.name for b in found["both.weight"].layout.blocks] == ["value", "gate"]
        assert found["down.weight"].activation == "glu"


def test_a_glu_of_channels_is_cut_along_them():
    """Gated convolutions: WaveNet, Conformer."""
    model = Model(
        lambda m, x: m.down(F.glu(m.both(x), 1)), both=nn.Conv1d(6, 16, 3), down=nn.Conv1d(8, 6, 1)
    )
    found = sites(model, rows(2, 6, 9))
    assert [b.name for b in found["both.weight"].layout.blocks] == ["value", "gate"]
    assert found["both.weight"].role == "gated"

    def by_hand(m, x):
        a, b = m.both(x).chunk(2, 1)
        return m.down(a.tanh() * b.sigmoid())

    model = Model(by_hand, both=nn.Conv1d(6, 16, 3), down=nn.Conv1d(8, 6, 1))
    assert sites(model, rows(2, 6, 9))["both.weight"].uses == 1


def test_an_interleaved_unit_is_packed_without_consecutive_blocks():
    """Some store gate and value alternately: every second output is a gate."""

    def run(m, x):
        both = m.both(x)
        return m.down(F.silu(both[..., ::2]) * both[..., 1::2])

    found = sites(feed_forward(run, both=nn.Linear(6, 32)), rows(3, 6))["both.weight"]
    assert (found.role, found.layout.blocks) == ("gated", ())


def test_a_packed_parameter_cut_before_its_use_has_blocks_too():
    """Two products with two halves of one weight."""

    def run(m, x):
        gate, value = m.both.chunk(2)
        return m.down(F.silu(F.linear(x, gate)) * F.linear(x, value))

    found = sites(feed_forward(run, both=parameter(32, 6)), rows(3, 6))["both"]
    assert (found.role, found.uses) == ("gated", 1)
    assert [(b.name, b.size) for b in found.layout.blocks] == [("gate", 16), ("value", 16)]


def test_gated_experts_have_blocks_in_each_expert():
    """Mixtral stores gate and up of all experts in one tensor."""

    def run(m, x):
        gate, value = torch.bmm(x, m.both).chunk(2, -1)
        return torch.bmm(F.silu(gate) * value, m.down)

    model = Model(run, both=parameter(3, 6, 32), down=parameter(3, 16, 6))
    found = sites(model, rows(3, 4, 6))
    assert found["both"].role == "gated"
    assert str(found["both"].layout) == "matrix product [batch=3, in=6, out=32, blocks gate/value]"
    assert found["down"].activation == "swiglu"


@pytest.mark.skipif(not hasattr(torch, "_grouped_mm"), reason="torch has no grouped product yet")
def test_experts_in_one_grouped_product_are_matrices_of_their_own():
    """Tokens sorted by expert, one call for all of them."""

    def run(m, x):
        share, chosen = m.router(x).softmax(-1).topk(1, -1)
        order = chosen.flatten().argsort()
        ends = torch.bincount(chosen.flatten(), minlength=3).cumsum(0).int()
        both = torch._grouped_mm(x[order].bfloat16(), m.both.bfloat16(), offs=ends)
        gate, value = both.chunk(2, -1)
        y = torch._grouped_mm(F.silu(gate) * value, m.down.bfloat16(), offs=ends).float()
        return x + torch.zeros_like(x).index_add(0, order, y * share[order])

    model = Model(
        run, router=nn.Linear(16, 3), both=parameter(3, 16, 64), down=parameter(3, 32, 16)
    )
    found = sites(model, rows(10, 16))
    assert {n: found[n].role for n in ("router.weight", "both", "down")} == {
        "router.weight": "router", "both": "gated", "down": "residual_out",
    }  # fmt: skip
    assert str(found["both"].layout) == "matrix product [batch=3, in=16, out=64, blocks gate/value]"
    assert str(found["down"].layout) == "matrix product [batch=3, in=32, out=16]"
    assert found["down"].activation == "swiglu"


def test_in_a_swiglu_block_only_the_down_projection_writes():
    """Gate and value are multiplied before anything is added to the stream."""

    def run(m, x):
        h = m.norm(x)
        return x + m.down(F.silu(m.gate(h)) * m.up(h))

    model = feed_forward(run, gate=nn.Linear(6, 16), up=nn.Linear(6, 16), norm=nn.RMSNorm(6))
    found = sites(model, rows(3, 6))
    assert {n: s.role for n, s in found.items() if n.endswith("weight")} == {
        "down.weight": "residual_out", "gate.weight": "gate", "up.weight": "gate_value",
        "norm.weight": "norm_scale",
    }  # fmt: skip
    assert found["down.weight"].residual.norm == "pre"
    assert (found["gate.weight"].normalized_input, found["up.weight"].normalized_input) == (
        True,
        True,
    )


def test_a_gate_of_another_input_is_no_product_unit():
    """Squeeze and excitation: a factor per channel, computed from a pooled signal."""

    def run(m, x):
        h = m.conv(x)
        pooled = h.mean((2, 3), keepdim=True)
        return h * torch.sigmoid(m.expand(F.relu(m.squeeze(pooled))))

    model = Model(
        run, conv=nn.Conv2d(3, 8, 3), squeeze=nn.Conv2d(8, 2, 1), expand=nn.Conv2d(2, 8, 1)
    )
    found = sites(model, rows(2, 3, 9, 9))
    assert [found[f"{n}.weight"].role for n in ("conv", "squeeze", "expand")] != []
    assert not {"gate", "gate_value", "gated", "residual_out"} & {s.role for s in found.values()}


def test_a_product_of_a_signal_with_its_own_function_is_an_activation():
    """x * sigmoid(x) has one input; it is silu and no gate."""
    model = Model(
        lambda m, x: m.down((h := m.up(x)) * torch.sigmoid(h)),
        up=nn.Linear(6, 8),
        down=nn.Linear(8, 6),
    )
    found = sites(model, rows(3, 6))
    assert (found["up.weight"].role, found["down.weight"].activation) == ("weight", "silu")


def test_modulation_by_a_condition_is_no_residual_writer():
    """FiLM and adaLN: ``h (1 + scale) + shift``, both computed from a condition."""

    def run(m, x, c):
        scale, shift = m.condition(F.silu(c)).chunk(2, -1)
        return m.head(m.norm(m.w(x)) * (1 + scale) + shift)

    model = Model(
        run, w=nn.Linear(6, 8), condition=nn.Linear(4, 16), head=nn.Linear(8, 3),
        norm=nn.LayerNorm(8, elementwise_affine=False),
    )  # fmt: skip
    assert writers(model, (rows(3, 6), rows(3, 4))) == []


def test_a_gated_branch_still_writes():
    """DiT: ``x + gate * branch(x)``; the gate is a factor, the branch's last weight writes."""

    def run(m, x, c):
        gate = m.condition(F.silu(c))
        x = x + gate * m.down(F.gelu(m.up(m.norm(x))))
        return m.head(x)

    model = Model(
        run, up=nn.Linear(6, 8), down=nn.Linear(8, 6), condition=nn.Linear(4, 6),
        head=nn.Linear(6, 3), norm=nn.LayerNorm(6),
    )  # fmt: skip
    assert writers(model, (rows(3, 6), rows(3, 4))) == ["down.weight"]


def test_a_router_picks_experts():
    """Top-k of a linear map of the tokens, before or after a softmax."""

    def run(m, x, before):
        scores = m.router(x)
        weight, chosen = scores.topk(2, -1) if before else scores.softmax(-1).topk(2, -1)
        weight = weight.softmax(-1) if before else weight
        out = torch.zeros_like(x)
        for e, expert in enumerate(m.experts):
            token, slot = torch.where(chosen == e)
            out.index_add_(0, token, expert(x[token]) * weight[token, slot, None])
        return x + out

    def expert():
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6))

    for before in (True, False):
        model = Model(
            lambda m, x, before=before: run(m, x, before),
            router=nn.Linear(6, 3), experts=nn.ModuleList(expert() for _ in range(3)),
        )  # fmt: skip
        found = sites(model, rows(40, 6))
        assert found["router.weight"].role == "router"
        for e in range(3):
            assert found[f"experts.{e}.2.weight"].role == "residual_out"
            assert found[f"experts.{e}.0.weight"].role == "weight"


def test_a_router_by_argmax_is_a_router():
    """Switch: the one best expert."""

    def run(m, x):
        share, chosen = m.router(x).softmax(-1).max(-1)
        return torch.einsum("bi,bio->bo", x, m.w[chosen]) * share[:, None]

    model = Model(run, router=nn.Linear(6, 3), w=parameter(3, 6, 6))
    found = sites(model, rows(8, 6))
    assert found["router.weight"].role == "router"
    assert str(found["w"].layout) == "matrix product [batch=3, in=6, out=6]"


def test_a_soft_mixture_has_a_router_too():
    """Every expert on every token, weighted by a softmax."""

    def run(m, x):
        share = m.router(x).softmax(-1)
        return torch.einsum("be,beo->bo", share, torch.einsum("bi,eio->beo", x, m.w))

    model = Model(run, router=nn.Linear(6, 3), w=parameter(3, 6, 5))
    found = sites(model, rows(8, 6))
    assert found["w"].uses == 1
    assert found["router.weight"].role in ("router", "weight", "readout")
    assert found["router.weight"].activation_after == "identity"
