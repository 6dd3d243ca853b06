"""Fans against the variances that random weights give, forward and backward, on the real layer.

With iid weights of variance s², E y² = s² fan_in E x², and an input's gradient has mean square
s² fan_out E g² for each block that reads it. Inputs and arriving gradients are random signs, so
that E x² = E g² = 1 exactly, and chance is in the weights alone.

An output is linear in the weights, y = J w. The threshold comes from the law of |J w|² with the J
of this layer at these inputs, so outputs that share weights are not taken for independent ones. J
gives the spread only: the mean that is tested is the one the layout claims.
"""

from collections.abc import Callable
from math import prod

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.oracles.fan_cases import CASES, FUSED, HALVES, of_convolution, of_layer
from tests.thresholds import FALSE_ALARM, QuadraticForm
from torch import Tensor, nn

from fanin.initializers import VarianceScaling

STD = 0.3
DRAWS = 200

Response = Callable[[Tensor], Tensor]

kinds = pytest.mark.parametrize("kind", CASES)
few = settings(max_examples=12, derandomize=True, deadline=None, database=None)


def normals(shape: tuple[int, ...], draws: int = DRAWS) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return STD * torch.randn((draws, *shape), generator=generator, dtype=torch.float64)


def respond(response: Response, weights: Tensor) -> Tensor:
    """The layer's response to each weight, [draws, responses]."""
    return torch.stack([response(weight).detach() for weight in weights])


def linear_map(response: Response, shape: tuple[int, ...]) -> Tensor:
    """J [responses, weights], found by asking for the response to each weight alone."""
    basis = torch.eye(prod(shape), dtype=torch.float64).view(-1, *shape)
    return respond(response, basis).T


def agrees(found: Tensor, jacobian: Tensor, std: float, claimed: float) -> bool:
    """Whether responses [draws, responses] to weights of this std have the claimed mean square.

    A true claim fails with probability FALSE_ALARM, over the draws of the weights.
    """
    spread = QuadraticForm.of(std * jacobian, draws=len(found))
    low, high = spread.bounds(claimed * found.numel(), FALSE_ALARM)
    return low <= found.square().sum().item() <= high


def assert_measured(response: Response, shape: tuple[int, ...], fan: float) -> None:
    """Random weights agree with the fan, and would not with one a third more or less."""
    weights, jacobian = normals(shape), linear_map(response, shape)
    found = respond(response, weights)
    torch.testing.assert_close(found, weights.flatten(1) @ jacobian.T, rtol=1e-4, atol=1e-4)
    check = lambda fan: agrees(found, jacobian, STD, STD**2 * fan)
    assert check(fan)
    assert not check(fan * 4 / 3)
    assert not check(fan * 3 / 4)


@kinds
def test_the_outputs_have_the_variance_of_fan_in(kind):
    """The promise that every forward-scaled initializer rests on."""
    case = CASES[kind]()
    assert_measured(case.forward, case.where.shape, case.where.fan_in)


@kinds
def test_the_input_gradients_have_the_variance_of_fan_out(kind):
    """The promise that every backward-scaled initializer rests on."""
    case = CASES[kind]()
    assert_measured(case.backward, case.where.shape, case.where.fan_out)


@pytest.mark.parametrize("blocks", [HALVES, FUSED], ids=["equal blocks", "unequal blocks"])
def test_the_gradients_of_all_blocks_add_up_at_the_input(blocks):
    """What a packed layer's input receives is the sum of its blocks' fan_out."""
    outputs = sum(block.size for block in blocks)
    case = of_layer(nn.Linear(7, outputs, bias=False), 3, 7, blocks=blocks)
    total = sum(part.layout.fan_out for part in case.where.parts())
    assert_measured(case.backward, case.where.shape, total)


def test_a_constant_input_counts_by_its_mean_square_not_its_variance():
    """Outputs of ReLU have a mean: fan_in multiplies E x², which Var x is only a part of."""
    case = of_layer(nn.Linear(12, 30, bias=False), 1, 12)
    twos = torch.full((1, 12), 2.0, dtype=torch.float64)
    response = lambda w: case.product(w, twos).flatten() / 2
    assert_measured(response, case.where.shape, case.where.fan_in)


# --- the same check, where it must fail ----------------------------------------------------------


@kinds
def test_the_check_rejects_the_fans_of_torch_where_they_are_wrong(kind):
    """So the check above can fail; where torch is right, its fans and ours are the same numbers."""
    case = CASES[kind]()
    sides = {"in": (case.forward, case.where.fan_in), "out": (case.backward, case.where.fan_out)}
    for side, torch_fan in case.torch_fans().items():
        response, fan = sides[side]
        if side not in case.torch_is_wrong_about:
            assert torch_fan == fan
            continue
        jacobian = linear_map(response, case.where.shape)
        found = normals(case.where.shape).flatten(1) @ jacobian.T
        assert agrees(found, jacobian, STD, STD**2 * fan)
        assert not agrees(found, jacobian, STD, STD**2 * torch_fan)


def test_a_claim_is_refused_seldom_if_true_and_always_if_half_again():
    """The bound itself: over many experiments with outputs that share weights."""
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(30, 12, generator=generator, dtype=torch.float64)
    form = QuadraticForm.of(jacobian, draws=100)
    draws = torch.randn(2000, 100, 12, generator=generator, dtype=torch.float64)
    sums = (draws @ jacobian.T).square().sum((1, 2))

    def refused(claim: float) -> float:
        low, high = form.bounds(claim, false_alarm=0.2)
        return ((sums < low) | (sums > high)).double().mean().item()

    assert refused(form.mean) < 0.2
    assert refused(1.5 * form.mean) == 1


# --- shapes chosen by hypothesis -----------------------------------------------------------------


@st.composite
def convolutions(draw) -> nn.Module:
    """Zero-padded, plain or transposed, with groups, stride and dilation."""
    kind = draw(st.sampled_from([nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d]))
    groups = draw(st.integers(1, 3))
    inputs, outputs = (groups * draw(st.integers(1, 3)) for _ in range(2))
    kernel, stride, dilation = (draw(st.integers(1, 3)) for _ in range(3))
    padding = draw(st.integers(0, dilation * (kernel - 1)))
    return kind(
        inputs, outputs, kernel, stride, padding, groups=groups, dilation=dilation, bias=False
    )


@few
@given(layer=convolutions(), size=st.integers(4, 6))
def test_any_zero_padded_convolution_has_the_variances_of_its_counted_fans(layer, size):
    """Borders lower both variances; with the input size given the fans are lowered as much."""
    axes = layer.weight.dim() - 2
    reach = layer.dilation[0] * (layer.kernel_size[0] - 1) - 2 * layer.padding[0]
    assume(size > reach if isinstance(layer, (nn.Conv1d, nn.Conv2d)) else reach + size > 0)
    case = of_convolution(layer, *(size,) * axes)
    weights = normals(case.where.shape)
    for response, fan in (
        (case.forward, case.where.fan_in),
        (case.backward, case.where.fan_out),
    ):
        jacobian = linear_map(response, case.where.shape)
        assert agrees(respond(response, weights), jacobian, STD, STD**2 * fan)


# --- from the initializer to the layer -----------------------------------------------------------


@pytest.mark.parametrize("fan", ["in", "out"])
@kinds
def test_variance_scaling_keeps_the_signal_or_the_gradient(kind, fan):
    """What the user buys: mean square 1 forward with fan="in", backward with fan="out"."""
    case = CASES[kind]()
    start = VarianceScaling(1.0, fan=fan)
    empty = torch.empty(case.where.shape, dtype=torch.float64)
    draws = [start.fill_(empty.clone(), layout=case.where, seed=seed) for seed in range(DRAWS)]
    jacobian = linear_map(case.forward if fan == "in" else case.backward, case.where.shape)
    found = torch.stack(draws).flatten(1) @ jacobian.T
    assert agrees(found, jacobian, start.std(case.where), 1.0)
