"""Fans against a count of connections, made by the layer itself.

With every weight and every input 1 (and no bias) an output is the number of weight-multiplied
connections that reach it, and after backpropagating ones an input's gradient is the number that
leave it. So mean(y) = E / outputs is fan_in and mean(x.grad) = E / inputs is fan_out: whole numbers
in float64, compared to the last digits.
"""

from collections.abc import Callable
from math import isclose

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import one_hot

from fanin import Block, Layout, layout

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

few = settings(max_examples=40, derandomize=True, deadline=None, database=None)
many = settings(few, max_examples=250, suppress_health_check=[HealthCheck.too_slow])
sizes = st.integers(1, 6)


def ones(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.float64)


def with_ones(layer: nn.Module) -> nn.Module:
    layer = layer.double()
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    return layer


def count(call: Callable[[Tensor], Tensor], *shape: int) -> tuple[float, float]:
    """(E / outputs, E / inputs) of a function of an input of this shape, whose weights are ones."""
    x = ones(*shape).requires_grad_()
    y = call(x)
    y.sum().backward()
    assert isclose(y.sum().item(), x.grad.sum().item(), rel_tol=1e-12), "both sums are E"
    return y.mean().item(), x.grad.mean().item()


def assert_counts(where: Layout, counted: tuple[float, float]) -> None:
    assert isclose(where.fan_in, counted[0], rel_tol=1e-12)
    assert isclose(where.fan_out * max(1, len(where.blocks)), counted[1], rel_tol=1e-12)


# --- dense ---------------------------------------------------------------------------------------


@few
@given(inputs=sizes, outputs=sizes, batch=sizes)
def test_a_linear_layer_has_in_and_out_connections(inputs, outputs, batch):
    """The plain case, and the only one that torch.nn.init and fanin share by definition."""
    layer = with_ones(nn.Linear(inputs, outputs, bias=False))
    assert_counts(layout(layer), count(layer, batch, inputs))


@few
@given(first=sizes, second=sizes, outputs=sizes)
def test_a_bilinear_output_sums_all_pairs(first, second, outputs):
    """Two axes are summed over; fan_out is that of the first input, as documented."""
    layer = with_ones(nn.Bilinear(first, second, outputs, bias=False))
    assert_counts(layout(layer), count(lambda x: layer(x, ones(3, second)), 3, first))


@few
@given(width=sizes, half=sizes)
def test_each_half_of_a_packed_gated_layer_has_its_own_fan_out(width, half):
    """What meets at the input is the sum over blocks: blocks * fan_out."""
    layer = with_ones(nn.Linear(width, 2 * half, bias=False))
    where = layout(layer, blocks=[Block("gate", half), Block("up", half)])
    assert_counts(where, count(layer, 2, width))
    for part, rows in zip(where.parts(), (slice(0, half), slice(half, None)), strict=True):
        assert_counts(part.layout, count(lambda x, rows=rows: layer(x)[:, rows], 2, width))


@few
@given(width=sizes, query=sizes, other=sizes)
def test_each_block_of_a_fused_projection_has_its_own_fan_out(width, query, other):
    """Grouped queries: fewer keys and values than queries, so the blocks are of unequal size."""
    layer = with_ones(nn.Linear(width, query + 2 * other, bias=False))
    blocks = [Block("query", query), Block("key", other), Block("value", other)]
    where = layout(layer, blocks=blocks)
    counted = count(layer, 2, width)
    assert where.fan_in == counted[0]
    assert sum(part.layout.fan_out for part in where.parts()) == counted[1]
    for part in where.parts():
        rows = part.index[0]
        assert_counts(part.layout, count(lambda x, rows=rows: layer(x)[:, rows], 2, width))


@few
@given(experts=sizes, inputs=sizes, outputs=sizes)
def test_an_expert_is_a_matrix_of_its_own(experts, inputs, outputs):
    """(experts, out, in), used through torch.bmm: the expert axis is never summed over."""
    weight = ones(experts, outputs, inputs)
    where = Layout(tuple(weight.shape), "batch out in")
    assert_counts(where, count(lambda x: torch.bmm(x, weight.mT), experts, 3, inputs))


@few
@given(inputs=sizes, outputs=sizes)
def test_a_weight_used_from_the_right_has_its_inputs_first(inputs, outputs):
    """x @ w, as GPT-2 stores its weights: the axes are the other way round, the fans are not."""
    weight = ones(inputs, outputs)
    assert_counts(Layout((inputs, outputs), "in out"), count(lambda x: x @ weight, 2, inputs))


# --- convolutions --------------------------------------------------------------------------------


@st.composite
def convolutions(draw, *, modes: tuple[str, ...]) -> tuple[nn.Module, tuple[int, ...]]:
    """A convolution of 1 to 3 axes with anything torch allows, and an input size that fits it."""
    axes = draw(st.integers(1, 3))
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(axes))
    kernel, dilation = each(1, 4 - axes // 2), each(1, 2)
    reach = tuple(d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
    mode = draw(st.sampled_from(modes))
    padding = draw(st.sampled_from(["same", "valid", each(0, 2)]))
    stride = (1,) * axes if padding == "same" else each(1, 3)
    both = {"same": reach, "valid": (0,) * axes}.get(padding) or tuple(2 * p for p in padding)
    # Reflection needs a border narrower than the input, the others at most as wide.
    least = tuple(max(1, r + 1 - b, b + 1) for r, b in zip(reach, both, strict=True))
    size = tuple(n + draw(st.integers(0, 4 - axes)) for n in least)
    layer = CONVOLUTIONS[axes - 1](
        *_channels(draw), kernel, stride, padding, dilation, padding_mode=mode, bias=False
    )
    return with_ones(layer), size


def _channels(draw) -> tuple[int, int]:
    return draw(st.integers(1, 4)), draw(st.integers(1, 4))


@st.composite
def grouped(draw, cases) -> tuple[nn.Module, tuple[int, ...]]:
    """The same convolution with its channels in groups, up to one channel a group."""
    layer, size = draw(cases)
    groups = draw(st.integers(1, 3))
    given_to_it = {
        name: getattr(layer, name)
        for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    }
    if isinstance(layer, TRANSPOSED):
        given_to_it["output_padding"] = layer.output_padding
    channels = (layer.in_channels * groups, layer.out_channels * groups)
    return with_ones(type(layer)(*channels, **given_to_it, groups=groups, bias=False)), size


# A remark on speed: torch pads an even kernel on one side only, which is counted here too.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@many
@given(case=grouped(convolutions(modes=("zeros",))))
def test_taps_that_fall_on_zero_padding_are_not_connections(case):
    """With the input size known the fans are exact, borders, stride and groups included."""
    layer, size = case
    counted = count(layer, 2, layer.in_channels, *size)
    assume(counted[0] > 0)  # where every output sees padding only, test_layout has the error
    assert_counts(layout(layer, input_size=size), counted)


@many
@given(case=grouped(convolutions(modes=("circular", "reflect", "replicate"))))
def test_padding_with_the_input_itself_loses_no_connection(case):
    """Every tap reads some input, so an output has all its connections up to the border."""
    layer, size = case
    assert_counts(layout(layer, input_size=size), count(layer, 2, layer.in_channels, *size))


@st.composite
def seamless(draw) -> tuple[nn.Module, tuple[int, ...]]:
    """A circular convolution whose stride divides the input: every position is an interior one."""
    axes = draw(st.integers(1, 3))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    # An even reach can be padded evenly, so that a stride of 1 loses no position.
    dilation = tuple(
        2 if s == 1 and k == 2 else draw(st.integers(1, 2))
        for s, k in zip(stride, kernel, strict=True)
    )
    padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    size = tuple(
        s * draw(st.integers(-(-max(p, 1) // s), 4)) for s, p in zip(stride, padding, strict=True)
    )
    layer = CONVOLUTIONS[axes - 1](
        *_channels(draw), kernel, stride, padding, dilation, padding_mode="circular", bias=False
    )
    return with_ones(layer), size


@many
@given(case=grouped(seamless()))
def test_without_an_input_size_the_fans_are_those_away_from_borders(case):
    """(in / groups) K and (out / groups) K / stride, whatever the dilation."""
    layer, size = case
    counted = count(layer, 2, layer.in_channels, *size)
    assert_counts(layout(layer), counted)
    assert layout(layer) == layout(layer, input_size=size)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_zero_padded_interior_has_the_fans_given_without_an_input_size(stride, dilation):
    """Gradients of a strided convolution come in phases; the mean over one stride is fan_out."""
    layer = with_ones(nn.Conv1d(4, 6, 5, stride, 4, dilation, groups=2, bias=False))
    x = ones(1, 4, 20 * stride).requires_grad_()
    y = layer(x)
    y.sum().backward()
    middle = slice(10 * stride, 11 * stride)
    assert y[..., y.size(-1) // 2].unique().tolist() == [layout(layer).fan_in]
    assert isclose(x.grad[..., middle].mean().item(), layout(layer).fan_out, rel_tol=1e-12)


@pytest.mark.parametrize("multiplier", [1, 4])
def test_a_depthwise_output_sums_over_its_kernel_only(multiplier):
    """fan_out is multiplier * K: torch.nn.init gives channels times that."""
    layer = with_ones(
        nn.Conv2d(8, 8 * multiplier, 3, padding=1, padding_mode="circular", groups=8, bias=False)
    )
    assert_counts(layout(layer), count(layer, 1, 8, 5, 5))
    assert (layout(layer).fan_in, layout(layer).fan_out) == (9, 9 * multiplier)


@st.composite
def transposed(draw) -> tuple[nn.Module, tuple[int, ...]]:
    """A transposed convolution with anything torch allows, and an input size that fits it."""
    axes = draw(st.integers(1, 3))
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(axes))
    kernel, stride, dilation = each(1, 4 - axes // 2), each(1, 3), each(1, 2)
    steps = tuple(zip(kernel, stride, dilation, strict=True))
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for _, s, d in steps)
    padding = each(0, 2)
    size = tuple(
        draw(st.integers(max(1, -(-(2 * p - d * (k - 1)) // s) + 1), 5))
        for (k, s, d), p in zip(steps, padding, strict=True)
    )
    layer = TRANSPOSED[axes - 1](
        *_channels(draw), kernel, stride, padding, extra, dilation=dilation, bias=False
    )
    return with_ones(layer), size


@many
@given(case=grouped(transposed()))
def test_a_transposed_convolution_is_counted_with_its_axes_the_other_way_round(case):
    """Padding takes outputs away, output_padding adds some without taps: both are counted."""
    layer, size = case
    counted = count(layer, 2, layer.in_channels, *size)
    assume(counted[0] > 0)
    assert_counts(layout(layer, input_size=size), counted)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_interior_of_a_transposed_convolution_is_a_checkerboard_of_mean_fan_in(
    stride, dilation
):
    """Where the stride does not divide the kernel outputs come in phases; fan_in is their mean."""
    layer = with_ones(
        nn.ConvTranspose1d(4, 6, 5, stride, 1, groups=2, dilation=dilation, bias=False)
    )
    x = ones(1, 4, 20).requires_grad_()
    y = layer(x)
    y.sum().backward()
    middle = slice(10 * stride, 11 * stride)
    assert isclose(y[..., middle].mean().item(), layout(layer).fan_in, rel_tol=1e-12)
    assert x.grad[..., 10].unique().tolist() == [layout(layer).fan_out]


# --- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "width"), [(7, 3), (2, 5), (9, 1)])
def test_an_embedding_picks_one_row(words, width):
    """fan_in is 1, never the size of the table: one entry of a one-hot input is not zero."""
    table = with_ones(nn.Embedding(words, width))
    rows = torch.arange(words)
    hot = one_hot(rows, words).double().requires_grad_()
    y = hot @ table.weight
    assert torch.equal(y, table(rows))
    y.sum().backward()
    picked = hot.grad[hot.detach().bool()]
    assert y.unique().tolist() == [layout(table).fan_in] == [1]
    assert picked.unique().tolist() == [layout(table).fan_out] == [width]


@pytest.mark.parametrize(("bag", "width"), [(1, 4), (5, 3)])
def test_a_bag_that_sums_has_one_connection_for_each_row(bag, width):
    """Measured through per_sample_weights, which are the inputs of a bag."""
    table = with_ones(nn.EmbeddingBag(9, width, mode="sum"))
    rows = torch.arange(2 * bag).view(2, bag) % 9
    counted = count(lambda x: table(rows, per_sample_weights=x), 2, bag)
    assert_counts(layout(table, bag_size=bag), counted)


@pytest.mark.parametrize(("bag", "width"), [(1, 4), (5, 3)])
def test_a_row_of_a_bag_that_averages_counts_the_square_of_its_share(bag, width):
    """Coefficients are 1/n, not 1: variances add up by their squares, and so do connections."""
    table = with_ones(nn.EmbeddingBag(9, width, mode="mean"))
    rows = torch.arange(bag)[None]
    hot = one_hot(rows, 9).double().requires_grad_()
    y = hot.mean(1) @ table.weight
    assert torch.allclose(y, table(rows), rtol=1e-15)
    (back,) = torch.autograd.grad(y.sum(), hot, create_graph=True)
    forward = torch.autograd.grad(y[0, 0], table.weight, retain_graph=True)[0]
    backward = torch.autograd.grad(back[0, 0, rows[0, 0]], table.weight)[0]
    where = layout(table, bag_size=bag)
    assert isclose(where.fan_in, forward.square().sum().item(), rel_tol=1e-12)
    assert isclose(where.fan_out, backward.square().sum().item(), rel_tol=1e-12)
