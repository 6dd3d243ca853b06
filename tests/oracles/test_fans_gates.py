"""Fans of recurrent layers and attention, counted through the real torch layers.

A gate's own bias has one connection to each output, so what it moves is the measure of the gate:
with ones as weights of one gate (zeros in the others) and ones as inputs,

    fan_in  = (sum of d y / d w over the row of an output) / (d y / d bias)
    fan_out = (sum of d y / d x over the outputs) / (d y / d bias)

hold exactly, at any point and through any nonlinearity, since all units of the layer are alike.
Attention is measured on one token, for which the softmax is 1 and the module linear in its value
and output weights; the query and key weights are measured by F.linear, as the module uses them.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.nn.functional import linear

from fanin import Layout, layout

INPUTS, HIDDEN = 5, 7
CELLS = [nn.RNNCell, nn.GRUCell, nn.LSTMCell]
LAYERS = [nn.RNN, nn.GRU, nn.LSTM]


def ones(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.float64)


def alike(layer: nn.Module) -> nn.Module:
    """Weights 0 and biases 0.3: all units are equal, and every gate has a say in the output."""
    layer = layer.double()
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.fill_(0.3 if "bias" in name else 0)
    return layer


def step(layer: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """One time step, (x [in], h [hidden]) -> h' [hidden], of a recurrent layer or cell."""
    if isinstance(layer, nn.LSTMCell):
        return lambda x, h: layer(x, (h, ones(HIDDEN)))[0]
    if isinstance(layer, nn.LSTM):
        return lambda x, h: layer(x[None], (h[None], ones(1, HIDDEN)))[0][0]
    if isinstance(layer, nn.RNNCellBase):
        return layer
    return lambda x, h: layer(x[None], h[None])[0][0]


def assert_equal(found: Tensor, expected: float) -> None:
    torch.testing.assert_close(found, torch.full_like(found, expected), rtol=1e-12, atol=0)


def count_linear(weight: Tensor) -> tuple[float, float]:
    """(E / outputs, E / inputs) of F.linear with a parameter of ones."""
    x = ones(1, weight.size(1)).requires_grad_()
    y = linear(x, torch.ones_like(weight, dtype=torch.float64))
    y.sum().backward()
    return y.mean().item(), x.grad.mean().item()


# --- recurrent -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["ih", "hh"])
@pytest.mark.parametrize("kind", LAYERS + CELLS)
def test_a_gate_has_the_fans_of_its_own_matrix(kind, side):
    """The gates lie in one tensor, but an input's gradient through one gate knows of no other."""
    layer = alike(kind(INPUTS, HIDDEN))
    suffix = "_l0" if kind in LAYERS else ""
    weight, bias = getattr(layer, f"weight_{side}{suffix}"), getattr(layer, f"bias_{side}{suffix}")
    where = layout(layer, f"weight_{side}{suffix}")
    x, h = ones(INPUTS), ones(HIDDEN)
    for part in where.parts():
        with torch.no_grad():
            weight.zero_()[part.index] = 1
        by_weight, by_bias = torch.autograd.grad(step(layer)(x, h).sum(), (weight, bias))
        say = by_bias[part.index[0]]
        assert say.abs().min() > 1e-9
        assert_equal(by_weight[part.index].sum(1) / say, where.fan_in)
        by_input = jacobian(step(layer), (x, h))[side == "hh"]
        if side == "hh":
            # The carry of a GRU is no connection: it is on the diagonal, so that is left out, and
            # a unit's connection to itself is taken to be like those to the others.
            off_diagonal = by_input[~torch.eye(HIDDEN, dtype=torch.bool)].view(HIDDEN, HIDDEN - 1)
            assert_equal(off_diagonal.mean(1) * HIDDEN / say, where.fan_out)
        else:
            assert_equal(by_input.sum(0) / say.mean(), where.fan_out)


@pytest.mark.parametrize("projection", [1, 2, 3])
def test_a_projected_lstm_has_three_kinds_of_matrices(projection):
    """weight_hr is no gate: four blocks of it would not even have a size."""
    plain = alike(nn.LSTM(INPUTS, HIDDEN))
    layer = alike(nn.LSTM(INPUTS, HIDDEN, proj_size=projection))
    nn.init.ones_(layer.weight_hr_l0)
    state = (ones(1, projection), ones(1, HIDDEN))
    outputs = layer(ones(1, INPUTS), state)[0]
    unprojected = step(plain)(ones(INPUTS), ones(HIDDEN))
    where = layout(layer, "weight_hr_l0")
    assert_equal(outputs / unprojected[0], where.fan_in)
    gate = slice(3 * HIDDEN, None)
    by_bias = [
        torch.autograd.grad(y.sum(), bias)[0][gate]
        for y, bias in ((outputs, layer.bias_ih_l0), (unprojected, plain.bias_ih_l0))
    ]
    assert_equal(by_bias[0] / by_bias[1], where.fan_out)
    assert (where.fan_in, where.fan_out) == (HIDDEN, projection)
    assert (layout(layer, "weight_hh_l0").fan_in, len(layout(layer, "weight_hh_l0").blocks)) == (
        projection,
        4,
    )


@pytest.mark.parametrize("kind", LAYERS)
def test_deeper_layers_and_both_directions_are_read_by_their_own_width(kind):
    """The second layer of two directions reads twice the hidden size."""
    layer = kind(INPUTS, HIDDEN, num_layers=2, bidirectional=True)
    deep = kind(2 * HIDDEN, HIDDEN)
    for name, weight in layer.named_parameters():
        where = layout(layer, name)
        single = name.replace("_reverse", "").replace("_l1", "_l0")
        assert where == layout(deep if "_l1" in name else kind(INPUTS, HIDDEN), single)
        if name.startswith("weight"):
            counted = count_linear(weight)
            assert (where.fan_in, where.fan_out * max(1, len(where.blocks))) == counted


def bias_of(layer: nn.Module, **gates: float) -> nn.Module:
    """The layer with its weights at 0 and 50 times these numbers as its gates' biases."""
    layer = layer.double()
    blocks = {part.name: part.index for part in layout(layer, "bias_ih").parts()}
    assert gates.keys() <= blocks.keys()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        for gate, value in gates.items():
            layer.bias_ih[blocks[gate]] = 50.0 * value
    return layer


def test_the_gates_of_an_lstm_are_where_their_names_say():
    """Opened and shut one by one, each does what it is called."""
    x, h, c = ones(INPUTS), ones(HIDDEN), ones(HIDDEN) / 3
    state = lambda **gates: bias_of(nn.LSTMCell(INPUTS, HIDDEN), **gates)(x, (h, c))
    assert_equal(state(input=-1, forget=1)[1], 1 / 3)  # kept
    assert_equal(state(input=1, forget=-1, cell=-1)[1], -1.0)  # forgotten, and filled with the cell
    assert state(output=-1)[0].abs().max() < 1e-20  # shut
    torch.testing.assert_close(state(input=-1, forget=1, output=1)[0], torch.tanh(c))


def test_the_gates_of_a_gru_are_where_their_names_say():
    """torch's update gate keeps the old state when it is open."""
    x, h = ones(INPUTS), ones(HIDDEN) / 3
    layer = lambda **gates: bias_of(nn.GRUCell(INPUTS, HIDDEN), **gates)
    assert_equal(layer(update=1)(x, h), 1 / 3)  # kept
    assert_equal(layer(update=-1, new=-1)(x, h), -1.0)  # replaced
    reset = layer(update=-1, reset=-1)
    with torch.no_grad():
        reset.bias_hh[-HIDDEN:] = 1
    assert reset(x, h).abs().max() < 1e-20  # the recurrent part of the new state is shut out


# --- attention -----------------------------------------------------------------------------------


def attention(**given: int) -> nn.MultiheadAttention:
    return nn.MultiheadAttention(6, 2, bias=False, batch_first=True, dtype=torch.float64, **given)


def count_attention(layer: nn.Module, value_size: int) -> tuple[float, float]:
    """(E / outputs, E / inputs) of the value given to one token's attention."""
    token = ones(1, 1, layer.embed_dim)
    key = ones(1, 1, layer.kdim)
    value = ones(1, 1, value_size).requires_grad_()
    y = layer(token, key, value, need_weights=False)[0]
    y.sum().backward()
    return y.mean().item(), value.grad.mean().item()


def fans_of(where: Layout) -> tuple[float, float]:
    return where.fan_in, where.fan_out


@pytest.mark.parametrize("given", [{}, {"kdim": 4, "vdim": 5}, {"vdim": 3}], ids=str)
def test_a_value_projection_is_counted_through_the_attention_module(given):
    """One token attends to itself with weight 1, so only value and out_proj are in the way."""
    layer = attention(**given)
    packed = layer.in_proj_weight is not None
    where = layout(layer, "in_proj_weight" if packed else "v_proj_weight")
    value = where.parts()[2].layout if packed else where
    with torch.no_grad():
        rows = layer.in_proj_weight[where.parts()[2].index] if packed else layer.v_proj_weight
        rows.fill_(1)
        layer.out_proj.weight.copy_(torch.eye(6))
    assert fans_of(value) == count_attention(layer, layer.vdim)


def test_an_output_projection_is_counted_through_the_attention_module():
    """out_proj is a Linear, found by its dotted name."""
    layer = attention()
    with torch.no_grad():
        layer.in_proj_weight[12:] = torch.eye(6)
        layer.out_proj.weight.fill_(1)
    assert fans_of(layout(layer, "out_proj.weight")) == count_attention(layer, 6)


@pytest.mark.parametrize("given", [{}, {"kdim": 4, "vdim": 5}], ids=str)
def test_query_and_key_projections_are_matrices_of_their_own(given):
    """F.linear with the rows that the module splits off by itself (chunk(3))."""
    layer = attention(**given)
    if given:
        for name in ("q_proj_weight", "k_proj_weight"):
            assert fans_of(layout(layer, name)) == count_linear(getattr(layer, name))
        return
    where = layout(layer, "in_proj_weight")
    assert [part.name for part in where.parts()] == ["query", "key", "value"]
    for part, rows in zip(where.parts(), layer.in_proj_weight.chunk(3), strict=True):
        assert torch.equal(layer.in_proj_weight[part.index], rows)
        assert fans_of(part.layout) == count_linear(rows) == fans_of(where)
