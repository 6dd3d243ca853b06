"""Each number of a place is the one that plain torch gives, and its name says where it is from."""

import copy
from math import prod

import pytest
import torch
from tests.audit.plain import (
    correlation,
    moment,
    parameter,
    place,
    position_correlation,
    second_moments,
    variance,
)
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name

from fanin import audit

# Squares are summed in single precision, pairwise.
SINGLE = 1e-5


def total(result):
    """A loss whose gradient differs from entry to entry."""
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)
    return (result * weights).sum()


def layers_of(model, x):
    """What each layer of a chain gives, without writing in place."""
    found = []
    for layer in copy.deepcopy(model):
        if getattr(layer, "inplace", False):
            layer.inplace = False
        x = layer(x)
        found.append(x)
    return found


def assert_agrees(report, names, tensors, *, rel=SINGLE):
    """Signals of the named places are those of the tensors of a graph that `total` ends."""
    gradients = second_moments(total(tensors[-1]), tensors)
    for name, tensor, gradient in zip(names, tensors, gradients, strict=True):
        signal = place(report, name).signal
        assert signal.second_moment == pytest.approx(moment(tensor), rel=rel), name
        assert signal.variance == pytest.approx(variance(tensor), rel=30 * rel), name
        assert signal.correlation == pytest.approx(correlation(tensor), abs=30 * rel), name
        assert signal.gradient == pytest.approx(gradient, rel=10 * rel), name
        assert signal.size == tensor[0].numel(), name
        assert prod(place(report, name).shape) == tensor.numel(), name
        assert signal.finite == 1.0, name


CHAINS = {
    "activations": lambda: nn.Sequential(
        nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.GELU(), nn.Linear(5, 3), nn.Softplus()
    ),
    "written in place": lambda: nn.Sequential(
        nn.Linear(6, 8),
        nn.ReLU(inplace=True),
        nn.Linear(8, 5),
        nn.SiLU(inplace=True),
        nn.Linear(5, 3),
    ),
    "normalized": lambda: nn.Sequential(
        nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ELU()
    ),
    "without biases": lambda: nn.Sequential(
        nn.Linear(6, 8, bias=False), nn.Sigmoid(), nn.Linear(8, 3, bias=False)
    ),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_each_layer_of_a_chain_has_the_moments_and_the_gradient_of_plain_torch(chain):
    """Forward against the layers called one by one, backward against torch.autograd.grad."""
    model, x = CHAINS[chain](), torch.randn(7, 6) + 0.3
    report = audit(model, x, loss=total, training=True)
    assert [one.name for one in report.places] == [str(index) for index in range(len(model))]
    assert_agrees(report, [one.name for one in report.places], layers_of(model, x))


@pytest.mark.parametrize(
    ("dtype", "rel"), [(torch.float64, 1e-6), (torch.bfloat16, 0.03), (torch.float16, 0.005)]
)
def test_other_precisions_are_measured_too(dtype, rel):
    """The numbers are those of the tensors as they are; a half has as many digits as it has."""
    model = CHAINS["activations"]().to(dtype)
    x = torch.randn(7, 6, dtype=dtype) + 0.3
    report = audit(model, x, loss=total)
    tensors = layers_of(model, x)
    for one, tensor in zip(report.places, tensors, strict=True):
        assert one.signal.second_moment == pytest.approx(moment(tensor), rel=SINGLE)
        assert one.signal.variance == pytest.approx(variance(tensor), rel=1e-4)
    gradients = second_moments(total(tensors[-1]), tensors)
    for one, gradient in zip(report.places, gradients, strict=True):
        assert one.signal.gradient == pytest.approx(gradient, rel=rel)


def test_a_variance_sixteen_orders_below_the_second_moment_keeps_its_digits():
    """A deep sigmoid net: E y^2 stays 1 while what tells inputs apart is all but gone."""
    x = 1 + 1e-8 * torch.randn(64, 32, dtype=torch.float64)
    model = nn.Sequential(nn.Identity(), nn.Hardtanh(-2, 2))
    signal = audit(model, x, loss=total, training=False).places[0].signal
    assert signal.variance / signal.second_moment < 2e-16
    assert signal.variance == pytest.approx(variance(x), rel=1e-6)
    assert signal.correlation == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 2e-3, 1e-4, 1e-6, 1e-9])
def test_a_small_variance_in_single_precision_has_three_digits(share):
    """However it is computed: by differences of sums where it is large, centred where not."""
    x = 1 + share**0.5 * torch.randn(32, 40, generator=torch.Generator().manual_seed(1))
    signal = audit(nn.Hardtanh(-9, 9), x, loss=total).places[0].signal
    assert signal.variance == pytest.approx(variance(x), rel=1e-3)


def test_positions_of_a_sequence_have_a_correlation_of_their_own():
    """Rank collapse in attention: positions become alike while inputs differ."""
    model, x = nn.Sequential(nn.Linear(6, 8), nn.Tanh()), torch.randn(5, 4, 6)
    x = x + 2 * torch.randn(5, 1, 6)
    report = audit(model, x, loss=total)
    for one, tensor in zip(report.places, layers_of(model, x), strict=True):
        assert one.signal.correlation == pytest.approx(correlation(tensor), abs=1e-5)
        assert one.signal.position_correlation == pytest.approx(
            position_correlation(tensor), abs=1e-5
        )


def test_channels_of_a_convolution_are_no_positions():
    """[batch, channels, length] is as [batch, positions, features] to the eye."""
    report = audit(nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU()), torch.randn(5, 3, 9))
    assert [one.signal.position_correlation for one in report.places] == [None, None]


def test_one_input_has_no_variance_over_the_batch():
    """None, and not zero, which would be a collapse."""
    signal = audit(nn.Linear(3, 4), torch.randn(1, 3), training=False).places[0].signal
    assert (signal.variance, signal.correlation) == (None, None)
    assert signal.second_moment > 0


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6)
        self.second, self.head = nn.Conv2d(6, 4, 3, groups=2, bias=False), nn.Linear(4, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def steps(self, x):
        first = self.first(x)
        normal = self.norm(first)
        bent = F.leaky_relu(normal)
        second = self.second(bent)
        pooled = self.pool(second)
        return [first, normal, bent, second, pooled, self.head(pooled.flatten(1))]

    def forward(self, x):
        return self.steps(x)[-1]


def test_convolutions_norms_and_pools_are_as_in_plain_torch():
    """In training: batch norm uses the batch."""
    model, x = Convolutional(), torch.randn(6, 3, 9, 9)
    names = ["first", "norm", "leaky_relu", "second", "pool", "head"]
    report = audit(model, x, loss=total, training=True)
    assert [one.name for one in report.places] == names
    assert_agrees(report, names, copy.deepcopy(model).train().steps(x))
    weights = {one.name: one.weight for one in report.layers}
    assert weights == {"first": "first.weight", "second": "second.weight", "head": "head.weight"}


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = nn.Linear(6, 6)
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.head = nn.Linear(6, 2)

    def steps(self, x):
        found = [self.inside(x)]
        for block in self.blocks:
            branch = torch.tanh(block(found[-1]))
            found.append(found[-1] + branch)
        return [*found, self.head(found[-1])]

    def forward(self, x):
        return self.steps(x)[-1]


def test_sums_of_a_residual_stream_are_marked_and_get_the_gradient_of_both_ways():
    """The gradient at a sum is that of the stream: through the branch and past it."""
    model, x = Residual(), torch.randn(7, 6)
    report = audit(model, x, loss=total)
    assert_agrees(
        report, ["inside", "add", "add #2", "add #3", "head"], copy.deepcopy(model).steps(x)
    )
    sums = [one for one in report.places if one.stream is not None]
    assert [one.name for one in sums] == ["add", "add #2", "add #3"]
    assert len({one.stream for one in sums}) == 1
    names = [one.name for one in report.places]
    assert [[names[index] for index in one.inputs] for one in sums] == [
        ["inside", "tanh"], ["add", "tanh #2"], ["add #2", "tanh #3"],
    ]  # fmt: skip
    assert [one.depth for one in report.layers] == [1, 2, 3, 4, 5]


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.cell = kind(6, 5, batch_first=True, **options)
        self.head = nn.Linear(5 * (1 + bool(options.get("bidirectional"))), 3)

    def steps(self, x):
        states, _ = self.cell(x)
        return [states, self.head(states)]

    def forward(self, x):
        return self.steps(x)[-1]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (nn.LSTM, {}),
        (nn.LSTM, {"num_layers": 2, "bidirectional": True}),
        (nn.GRU, {}),
        (nn.RNN, {"nonlinearity": "relu"}),
    ],
)
def test_a_recurrent_layer_is_one_place(kind, options):
    """Its states at every step, and their gradient."""
    model, x = Recurrent(kind, **options), torch.randn(4, 7, 6)
    report = audit(model, x, loss=total)
    assert [one.weight for one in report.layers] == ["cell.weight_ih_l0", "head.weight"]
    # Behind a recurrent layer torch adds a linear layer's bias in an operation of its own.
    ends = [report.places[0].name, report.places[-1].name]
    assert_agrees(report, ends, copy.deepcopy(model).steps(x))


class Attention(nn.Module):
    """One packed projection, and torch's fused attention."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def steps(self, x):
        packed = self.qkv(x)
        parts = packed.unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts)
        return [packed, mixed, self.out(mixed.transpose(1, 2).flatten(2))]

    def forward(self, x):
        return self.steps(x)[-1]


def test_packed_attention_is_as_in_plain_torch():
    """The packed projection and the mixture of values, with their gradients."""
    model, x = Attention(), torch.randn(5, 6, 8)
    report = audit(model, x, loss=total)
    names = [one.name for one in report.places]
    assert (names[0], names[-1], report.places[1].kind) == ("qkv", "out", "attention")
    assert_agrees(report, names, copy.deepcopy(model).steps(x))
    assert report.places[1].inputs == (0,)


@pytest.mark.parametrize(("inputs", "positions"), [(4, 7), (4, 6), (4, 8), (4, 4)])
def test_inputs_are_told_apart_where_the_batch_is_not_in_front(inputs, positions):
    """nn.MultiheadAttention works on [positions, batch, features], and merges the first two."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    # All positions are equal, so that attention gives the value of any of them.
    x = torch.randn(inputs, 1, 8).expand(inputs, positions, 8)
    report = audit(layer, x, loss=total)
    attention = layer.self_attn
    packed = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    written = F.linear(packed[..., 16:], attention.out_proj.weight, attention.out_proj.bias)
    expected = {"self_attn.in_proj_weight": packed, "self_attn.out_proj": written}
    for name, tensor in expected.items():
        signal = place(report, name).signal
        assert signal.variance == pytest.approx(variance(tensor), rel=1e-3), name
        assert signal.correlation == pytest.approx(correlation(tensor), abs=1e-4), name
        assert signal.position_correlation == pytest.approx(1, abs=1e-4), name


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_layer_is_as_in_plain_torch(norm_first):
    """Its linears and its norms, by forward hooks on an unwatched copy."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=norm_first)
    x = torch.randn(5, 7, 8)
    report = audit(layer, x, loss=total, training=True)
    twin, seen = copy.deepcopy(layer), {}
    for name in ("norm1", "linear1", "linear2", "norm2"):
        twin.get_submodule(name).register_forward_hook(
            lambda _module, _args, out, name=name: seen.__setitem__(name, out)
        )
    gradients = second_moments(total(twin(x)), list(seen.values()))
    for (name, tensor), gradient in zip(seen.items(), gradients, strict=True):
        signal = place(report, name).signal
        assert signal.second_moment == pytest.approx(moment(tensor), rel=SINGLE), name
        assert signal.variance == pytest.approx(variance(tensor), rel=1e-3), name
        assert signal.gradient == pytest.approx(gradient, rel=1e-3), name


def test_dropout_is_drawn_as_in_a_run_without_audit():
    """The model sees the generator as it was, and what comes out of dropout is a place."""
    model = nn.Sequential(nn.Linear(6, 50), nn.Dropout(0.5), nn.Linear(50, 3))
    x = torch.randn(9, 6)
    torch.manual_seed(5)
    report = audit(model, x, loss=total, training=True)
    torch.manual_seed(5)
    first = model[0](x)
    dropped = model[1](first)
    assert place(report, "1").signal.second_moment == pytest.approx(moment(dropped), rel=SINGLE)
    assert_agrees(report, ["0", "1", "2"], [first, dropped, model[2](dropped)])


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def steps(self, x):
        first = self.layer(x)
        bent = torch.relu(first)
        return [first, bent, self.layer(bent)]

    def forward(self, x):
        return self.steps(x)[-1]


def test_a_layer_that_runs_twice_is_two_places_of_one_weight():
    """Each with its own signal; the parameter's gradient is that of both."""
    model, x = Shared(), torch.randn(7, 6)
    report = audit(model, x, loss=total)
    assert [(one.name, one.weight) for one in report.layers] == [
        ("layer", "layer.weight"), ("layer #2", "layer.weight"),
    ]  # fmt: skip
    steps = copy.deepcopy(model).steps(x)
    assert_agrees(report, [one.name for one in report.places], steps)
    (gradient,) = second_moments(total(model(x)), [model.layer.weight])
    assert parameter(report, "layer.weight").gradient == pytest.approx(gradient, rel=1e-4)


def test_complex_signals_have_the_mean_square_of_their_length():
    """E |z|^2; both parts of a number are one number."""
    model = nn.Sequential(
        nn.Linear(6, 5, dtype=torch.complex64), nn.Linear(5, 3, dtype=torch.complex64)
    )
    x = torch.randn(7, 6, dtype=torch.complex64)
    report = audit(model, x, loss=lambda result: result.abs().square().sum())
    first = model[0](x)
    result = model[1](first)
    found = torch.autograd.grad(result.abs().square().sum(), [first, result])
    for one, tensor, gradient in zip(report.places, [first, result], found, strict=True):
        wide = tensor.detach().to(torch.complex128)
        assert one.signal.size == tensor[0].numel()
        assert one.signal.second_moment == pytest.approx(
            float(wide.abs().square().mean()), rel=SINGLE
        )
        centred = wide - wide.mean(0)
        assert one.signal.variance == pytest.approx(float(centred.abs().square().mean()), rel=1e-4)
        assert one.signal.gradient == pytest.approx(float(gradient.abs().square().mean()), rel=1e-4)
        assert one.signal.position_correlation is None


class ManyWays(nn.Module):
    """Takes a number of tensors, and returns them in containers."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(4, 5)

    def forward(self, first, second):
        return {"sum": self.a(first) + self.b(second), "parts": (self.a(first), [second])}


@pytest.mark.parametrize("as_mapping", [False, True])
def test_a_batch_is_a_tuple_or_a_mapping_and_a_result_anything(as_mapping):
    """As wherever fanin runs a model."""
    model, first, second = ManyWays(), torch.randn(7, 6), torch.randn(7, 4)
    batch = {"first": first, "second": second} if as_mapping else (first, second)
    report = audit(model, batch, loss=lambda result: total(result["sum"]))
    whole = model.a(first) + model.b(second)
    found = place(report, "add")
    assert found.signal.second_moment == pytest.approx(moment(whole), rel=SINGLE)
    assert found.signal.gradient == pytest.approx(*second_moments(total(whole), [whole]), rel=1e-5)
    # What no loss depends on has no gradient.
    assert place(report, "a #2").signal.gradient is None


def test_what_does_not_depend_on_the_input_is_no_place():
    """A causal mask, positions' angles: they say nothing of a start."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x):
            angles = torch.arange(6.0).sin() * 2
            return self.layer(x) * angles

    assert [one.name for one in audit(Masked(), torch.randn(3, 6)).places] == ["layer", "mul"]


def test_an_embedding_is_a_layer_with_the_signal_of_its_rows():
    """A table is looked up; its rows get the gradient."""
    model = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 3))
    ids = torch.arange(20).reshape(4, 5) % 11
    report = audit(model, ids, loss=total)
    assert [one.weight for one in report.layers] == ["0.weight", "1.weight"]
    assert_agrees(report, ["0", "1"], layers_of(model, ids))


def test_operations_that_return_no_tensor_are_passed_over():
    """``item`` and checks on values are common in models."""

    class Looking(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x):
            assert not torch.equal(x, x + 1)
            return self.layer(x) * x.abs().max().item()

    report = audit(Looking(), torch.randn(3, 6))
    assert "layer" in [one.name for one in report.places]
