"""Recurrent layers and cells, torch's and written out."""

import pytest
import torch
from tests.oracles.trace_models import Model, parameter, rows, sites, uses, writers
from torch import nn
from torch.nn import functional

from fanin import layout

F = functional

LAYERS = {
    "RNN": lambda: nn.RNN(5, 4),
    "RNN, relu": lambda: nn.RNN(5, 4, nonlinearity="relu"),
    "RNN, two layers, no bias": lambda: nn.RNN(5, 4, num_layers=2, bias=False),
    "LSTM": lambda: nn.LSTM(5, 4),
    "LSTM, bidirectional": lambda: nn.LSTM(5, 4, num_layers=2, bidirectional=True),
    "LSTM, projected": lambda: nn.LSTM(5, 4, num_layers=2, proj_size=3),
    "LSTM, dropout": lambda: nn.LSTM(5, 4, num_layers=2, dropout=0.5),
    "LSTM, batch first": lambda: nn.LSTM(5, 4, batch_first=True),
    "GRU": lambda: nn.GRU(5, 4),
    "GRU, bidirectional": lambda: nn.GRU(5, 4, bidirectional=True),
}


def expected_role(name):
    if "bias" in name:
        return "bias"
    return {"weight_ih": "weight", "weight_hh": "recurrent", "weight_hr": "projection"}[name[:9]]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_every_tensor_of_a_recurrent_layer_has_its_gates(make, training):
    """Layers, directions, projections: each gate is a matrix of its own."""
    layer = make()
    found = sites(layer, rows(7, 2, 5), training=training)
    for name, _ in layer.named_parameters():
        site = found[name]
        assert (name, site.role) == (name, expected_role(name))
        assert site.layout == layout(layer, name)
        assert site.uses == 1
        assert site.residual is None


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_packed_sequence_and_a_given_state_change_nothing(kind):
    """Other call signatures of the same layer."""
    layer = getattr(nn, kind)(5, 4)
    packed = nn.utils.rnn.pack_sequence([rows(4, 5), rows(2, 5)])
    state = torch.zeros(1, 2, 4)
    state = (state, state) if kind == "LSTM" else state
    plain = sites(layer, rows(7, 2, 5))
    for batch in ((packed,), (rows(7, 2, 5), state)):
        found = sites(layer, batch)
        assert {n: s.role for n, s in found.items()} == {n: s.role for n, s in plain.items()}
        assert {n: s.uses for n, s in found.items()} == {n: s.uses for n, s in plain.items()}


CELLS = {
    "RNNCell": lambda: nn.RNNCell(5, 4),
    "LSTMCell": lambda: nn.LSTMCell(5, 4),
    "GRUCell": lambda: nn.GRUCell(5, 4),
    "RNNCell, no bias": lambda: nn.RNNCell(5, 4, bias=False),
}


@pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)
def test_a_cell_is_a_layer_of_one_step(make):
    """Called by hand, once or in a loop over time."""
    cell = make()

    def run(m, x):
        state = None
        for step in x:
            state = m.cell(step, state)
        return state

    for length in (1, 3):
        found = sites(Model(run, cell=cell), rows(length, 2, 5))
        for name, _ in cell.named_parameters():
            site = found[f"cell.{name}"]
            assert (name, site.role) == (name, expected_role(name))
            assert site.layout == layout(cell, name)
            assert site.residual is None
            assert site.uses == length


def test_a_readout_behind_a_recurrent_layer_reads_its_state():
    """The sources of a readout are the matrices that made the state."""
    model = Model(
        lambda m, x: m.head(m.lstm(m.table(x))[0][-1]),
        table=nn.Embedding(10, 5), lstm=nn.LSTM(5, 4), head=nn.Linear(4, 3),
    )  # fmt: skip
    found = sites(model, torch.zeros(7, 2, dtype=torch.long))
    assert found["table.weight"].role == "embedding"
    assert found["lstm.weight_ih_l0"].sources == ("table.weight",)
    assert found["head.weight"].role == "readout"
    assert found["head.weight"].sources == ("lstm.weight_ih_l0", "lstm.weight_hh_l0")
    assert [found[n].depth for n in ("table.weight", "lstm.weight_ih_l0", "head.weight")] == [
        1,
        2,
        3,
    ]


def test_the_activation_before_a_recurrent_layer_is_seen():
    """Its input weights have one like any other."""
    model = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.GRU(5, 4))
    found = sites(model, rows(7, 2, 5))
    assert found["2.weight_ih_l0"].activation == "relu"
    assert found["0.weight"].activation_after == "relu"


def test_a_cell_by_hand_has_no_residual_stream():
    """``h = tanh(W x + U h)`` is a sum of two weights, not of the state and a branch."""

    def run(m, x):
        h = torch.zeros(2, 4)
        for step in x:
            h = torch.tanh(m.w(step) + m.u(h))
        return m.head(h)

    model = Model(run, w=nn.Linear(5, 4), u=nn.Linear(4, 4, bias=False), head=nn.Linear(4, 3))
    found = sites(model, rows(3, 2, 5))
    assert [s.residual for s in found.values()] == [None] * len(found)
    assert (found["w.weight"].summands, found["u.weight"].summands) == (2, 2)
    assert (found["w.weight"].role, found["u.weight"].role) == ("weight", "weight")
    assert found["head.weight"].activation == "tanh"
    assert uses(model, rows(3, 2, 5))["u.weight"] == 3


def test_an_lstm_by_hand_has_no_residual_stream_and_no_gated_unit():
    """``c = f c + i g``: gates that multiply a state are no GLU and no stream."""

    def run(m, x):
        h, c = torch.zeros(2, 4), torch.zeros(2, 4)
        for step in x:
            i, f, g, o = (m.w(step) + m.u(h)).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return m.head(h)

    model = Model(run, w=nn.Linear(5, 16), u=nn.Linear(4, 16), head=nn.Linear(4, 3))
    found = sites(model, rows(3, 2, 5))
    assert [found[f"{n}.weight"].role for n in ("w", "u", "head")] == [
        "weight",
        "weight",
        "readout",
    ]
    assert writers(model, rows(3, 2, 5)) == []


def test_a_gru_by_hand_has_no_residual_stream():
    """``h + z (n - h)`` interpolates: the update gate decides, so nothing is added to a stream."""

    def forms(m, step, h):
        z = torch.sigmoid(m.zx(step) + m.zh(h))
        r = torch.sigmoid(m.rx(step) + m.rh(h))
        n = torch.tanh(m.nx(step) + r * m.nh(h))
        return z, n

    def convex(m, x):
        h = torch.zeros(2, 4)
        for step in x:
            z, n = forms(m, step, h)
            h = (1 - z) * n + z * h
        return m.head(h)

    def moved(m, x):
        h = torch.zeros(2, 4)
        for step in x:
            z, n = forms(m, step, h)
            h = n + z * (h - n)
        return m.head(h)

    def lerped(m, x):
        h = torch.zeros(2, 4)
        for step in x:
            z, n = forms(m, step, h)
            h = torch.lerp(h, n, z)
        return m.head(h)

    names = {"zx": 5, "zh": 4, "rx": 5, "rh": 4, "nx": 5, "nh": 4}
    for run in (convex, moved, lerped):
        parts = {name: nn.Linear(size, 4) for name, size in names.items()}
        assert writers(Model(run, **parts, head=nn.Linear(4, 3)), rows(3, 2, 5)) == []


def test_a_decay_that_is_learned_is_no_activation():
    """A linear state space by hand: the decay is a parameter that multiplies the state."""

    def run(m, x):
        h = torch.zeros(2, 4)
        for step in x:
            h = m.decay * h + m.w(step)
        return m.head(h)

    model = Model(run, decay=parameter(4), w=nn.Linear(5, 4), head=nn.Linear(4, 3))
    found = sites(model, rows(3, 2, 5))
    assert (found["decay"].role, found["w.weight"].role) == ("elementwise", "weight")
    assert found["head.weight"].activation == "identity"


def test_a_residual_over_time_is_a_stream():
    """``h = h + f(h)`` of one shared layer: a stream into which one weight writes at each step."""

    def run(m, x):
        h = x
        for _ in range(3):
            h = h + m.down(F.relu(m.up(h)))
        return m.head(h)

    model = Model(run, up=nn.Linear(4, 8), down=nn.Linear(8, 4), head=nn.Linear(4, 3))
    found = sites(model, rows(2, 4))
    down = found["down.weight"]
    assert (down.role, down.uses, down.residual.count) == ("residual_out", 3, 3)
    assert found["up.weight"].role == "weight"


def test_a_branch_that_ends_in_a_state_has_no_writer():
    """A residual stack of recurrent layers: a state passed an activation after its weights."""

    def run(m, x):
        for layer in (m.a, m.b):
            x = x + layer(x)[0]
        return m.head(x)

    model = Model(run, a=nn.GRU(4, 4), b=nn.GRU(4, 4), head=nn.Linear(4, 3))
    found = sites(model, rows(7, 2, 4))
    assert found["a.weight_hh_l0"].role == "recurrent"
    assert found["a.weight_ih_l0"].role == "weight"
    assert found["head.weight"].join == "add"
