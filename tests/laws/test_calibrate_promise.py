"""After a calibration every weight's output has the std that was wanted, whatever the model is."""

import warnings
from math import sqrt

import pytest
import torch
from tests.thresholds import normal_threshold, variance_threshold
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

import fanin
from fanin import recipes
from fanin._text import number

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
EXACT = 1e-3
"""LSUV's promise, as asked of this package; what is found is a thousand times closer."""


def batch(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def started(model, inputs, *, recipe=recipes.lsuv, seed=0, apply_seed=None, **how):
    """The calibrated plan, applied."""
    plan = fanin.plan(model, inputs, recipe=recipe).calibrate(model, inputs, seed=seed, **how)
    plan.apply(model, seed=seed if apply_seed is None else apply_seed)
    return plan


def outputs(model, inputs, *, training=False):
    """What each weighted module gave at each of its calls, biases being zero."""
    found = {}
    hooks = [
        module.register_forward_hook(
            lambda _module, _args, out, name=name: found.setdefault(name, []).append(out.detach())
        )
        for name, module in model.named_modules()
        if isinstance(module, WEIGHTED)
    ]
    with torch.no_grad():
        model.train(training)(inputs)
    for hook in hooks:
        hook.remove()
    return found


def stds(model, inputs, **mode):
    found = outputs(model, inputs, **mode)
    return {name: [float(out.std(correction=0)) for out in outs] for name, outs in found.items()}


def all_are(found, wanted):
    return all(abs(std - wanted) < EXACT * wanted for stds in found.values() for std in stds)


def stack(layers, activation=nn.ReLU, width=64):
    return nn.Sequential(
        *(one for _ in range(layers) for one in (nn.Linear(width, width), activation()))
    )


class Reversed(nn.Module):
    """The layers are registered last first."""

    def __init__(self, layers=10):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(layers))

    def forward(self, x):
        for layer in reversed(self.layers):
            x = functional.relu(layer(x))
        return x


class Residual(nn.Module):
    def __init__(self, blocks=8, width=32):
        super().__init__()
        self.stem = nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(blocks)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(functional.relu(x))


def convolutions(norm=True, dropout=0.0):
    return nn.Sequential(
        *(
            one
            for _ in range(6)
            for one in (
                nn.Conv2d(16, 16, 3, padding=1),
                nn.BatchNorm2d(16) if norm else nn.Identity(),
                nn.ReLU(),
                nn.Dropout(dropout),
            )
        )
    )


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU], ids=lambda one: one.__name__)
@pytest.mark.parametrize("layers", [10, 30, 100])
def test_every_layer_has_std_one_however_deep(layers, activation):
    """LSUV's promise. In one pass, as each layer is corrected before the next one sees it."""
    model, inputs = stack(layers, activation), batch(128, 64)
    started(model, inputs)
    assert all_are(stds(model, inputs), 1)


def test_the_order_is_that_of_execution():
    """The package lsuv takes the order of registration, and leaves such a net uncalibrated."""
    model, inputs = Reversed(), batch(64, 32)
    started(model, inputs)
    assert all_are(stds(model, inputs), 1)


def test_a_layer_that_is_used_six_times_has_the_target_at_its_first_use():
    """One factor cannot serve six inputs; the plan says what the others got."""
    model = nn.Sequential(*[nn.Linear(32, 32), nn.ReLU()] * 6)
    plan = started(model, batch(64, 32))
    first, *others = stds(model, batch(64, 32))["0"]
    assert abs(first - 1) < EXACT
    low, high = number(min(others)), number(max(others))
    assert f"at the other 5 the std is {low} to {high}" in plan["0.weight"].why


def test_a_residual_writer_gets_its_share_and_not_the_stream():
    """Divided by sqrt(writers), the branches add a variance of the target's square together."""
    model, inputs = Residual(blocks=8), batch(64, 32)
    started(model, inputs)
    found = stds(model, inputs)
    for name, (std,) in found.items():
        wanted = 1 / sqrt(8) if name.endswith(".2") else 1
        assert abs(std - wanted) < EXACT * wanted, name


def test_batch_norm_is_met_in_training_mode():
    """In evaluation a new batch norm divides by 1, and a net calibrated so is off in training."""
    model, inputs = convolutions(), batch(8, 16, 8, 8)
    started(model, inputs, training=True)
    assert all_are(stds(model, inputs, training=True), 1)
    model = convolutions()
    started(model, inputs, training=False)
    assert all_are(stds(model, inputs), 1)
    assert not all_are(stds(model, inputs, training=True), 1)


def test_dropout_is_met_in_training_mode():
    """It adds to the second moment what evaluation does not show: 1 / (1 - p), here doubled."""
    inputs = batch(64, 16, 8, 8)
    found = {}
    for training in (True, False):
        model = convolutions(norm=False, dropout=0.5)
        started(model, inputs, training=training)
        found[training] = stds(model, inputs, training=True)["20"][0]
    # Other masks than the calibration's: 6 layers, each an average over 65,536 numbers.
    assert abs(found[True] - 1) < 0.05
    assert found[False] > 1.5


def test_what_the_model_draws_is_a_function_of_the_seed():
    """So that a calibration under dropout can be repeated, whatever was drawn before."""
    model, inputs = convolutions(dropout=0.5), batch(8, 16, 8, 8)
    plan = fanin.plan(model, inputs, recipe=recipes.lsuv)
    first = plan.calibrate(model, inputs, training=True)
    torch.rand(17)
    assert plan.calibrate(model, inputs, training=True) == first
    assert plan.calibrate(model, inputs, training=True, seed=1) != first


@pytest.mark.parametrize("norm_first", [True, False], ids=["pre-norm", "post-norm"])
def test_transformers_are_calibrated_block_by_block(norm_first):
    """Query, key and value are one tensor and three matrices, each with std 1."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    inputs = batch(4, 10, 32)
    packed = []
    started(model, inputs)
    for layer in model.layers:
        layer.register_forward_pre_hook(
            lambda module, args: packed.append(
                (module.norm1(args[0]) if norm_first else args[0])
                @ module.self_attn.in_proj_weight.T
            )
        )
    found = stds(model, inputs)
    for name, (std,) in found.items():
        assert abs(std - (1 if name.endswith("linear1") else 1 / sqrt(6))) < EXACT, name
    for output in packed:
        for part in output.split(32, dim=-1):
            assert abs(part.std(correction=0) - 1) < EXACT
    assert len(packed) == 3


class ByHand(nn.Module):
    """Weights without modules: (in, out), batched, through einsum, slices and a convolution."""

    def __init__(self):
        super().__init__()
        self.inward = nn.Parameter(torch.randn(32, 24))
        self.packed = nn.Parameter(torch.randn(40, 24))
        self.experts = nn.Parameter(torch.randn(4, 20, 16))
        self.taps = nn.Parameter(torch.randn(6, 16, 3))
        self.seen = {}

    def forward(self, x):
        seen = self.seen
        x = seen["inward"] = x @ self.inward
        seen["first"] = functional.linear(x, self.packed[:20])
        x = functional.relu(seen["first"]) * functional.linear(x, self.packed[20:])
        each = torch.stack([x, 2 * x, x - 1, x.roll(1, 1)])
        seen["experts"] = torch.einsum("end,edo->eno", each, self.experts)
        x = functional.relu(seen["experts"]).permute(1, 2, 0)
        seen["taps"] = functional.conv1d(x, self.taps)
        return seen["taps"].mean(-1)


EACH_UNIT = {"experts": (1, 2)}
EACH_OUTPUT = {"inward": (0,), "first": (0,), "experts": (1,), "taps": (0, 2)}


@pytest.mark.parametrize("per", ["tensor", "output"])
def test_weights_without_modules_are_found_by_what_they_do(per):
    """The package lsuv skips raw parameters, and says nothing."""
    model, inputs = ByHand(), batch(64, 32)
    plan = started(model, inputs, per=per)
    with torch.no_grad():
        model(inputs)
    for name, output in model.seen.items():
        # Experts are units of their own, and each has its own mean.
        axes = EACH_OUTPUT[name] if per == "output" else EACH_UNIT.get(name)
        found = output.std(axes, correction=0)
        assert torch.allclose(found, torch.ones(()), atol=EXACT), name
    assert all(plan[name].factor for name in ("inward", "packed", "experts", "taps"))


class Rows(nn.Module):
    """Layers that are parametrized, in torch's two ways."""

    def __init__(self, one, other):
        super().__init__()
        self.first, self.second = one(nn.Linear(16, 24)), other(nn.Linear(24, 8))

    def forward(self, x):
        return self.second(functional.relu(self.first(x)))


@pytest.mark.parametrize("per", ["tensor", "output"])
def test_weight_norm_is_written_through(per):
    """The product is scaled by what it is computed from, also in the older way, by hooks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model, inputs = Rows(weight_norm, nn.utils.weight_norm), batch(64, 16)
    started(model, inputs, per=per)
    for (output,) in outputs(model, inputs).values():
        found = output.std(0 if per == "output" else (0, 1), correction=0)
        assert torch.allclose(found, torch.ones(()), atol=EXACT)


def test_a_parametrization_that_fixes_its_scale_is_left_alone():
    """Spectral norm divides by what one would multiply by."""
    model, inputs = Rows(spectral_norm, orthogonal), batch(64, 16)
    plan = fanin.plan(model, inputs, recipe=recipes.lsuv).calibrate(model, inputs)
    for name in ("first.weight", "second.weight"):
        assert "its parametrization fixes its scale; its output had std" in plan[name].why
        assert plan[name].factor == 1


class Unrolled(nn.Module):
    """A recurrent net by hand: its state starts at zero."""

    def __init__(self):
        super().__init__()
        self.inward, self.hidden = nn.Linear(8, 16), nn.Linear(16, 16)

    def forward(self, x):
        state = x.new_zeros(x.shape[0], 16)
        for step in x.unbind(1):
            state = torch.tanh(self.inward(step) + self.hidden(state))
        return state


def test_a_state_that_starts_at_zero_is_waited_for():
    """The first use has no spread; the second is measured."""
    model, inputs = Unrolled(), batch(32, 5, 8)
    started(model, inputs)
    found = stds(model, inputs)
    assert found["hidden"][0] == 0
    assert abs(found["hidden"][1] - 1) < EXACT
    assert abs(found["inward"][0] - 1) < EXACT


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_are_calibrated_gate_by_gate_at_their_input(kind):
    """One fused call for torch; here each layer's input product, over all steps, is measured."""
    model, inputs = kind(8, 16, num_layers=2, bidirectional=True, batch_first=True), batch(16, 7, 8)
    plan = started(model, inputs)
    for weight in (model.weight_ih_l0, model.weight_ih_l0_reverse):
        for gate in (inputs @ weight.detach().T).split(16, dim=-1):
            assert abs(gate.std(correction=0) - 1) < EXACT
    alone = kind(8, 16, bidirectional=True, batch_first=True)
    alone.load_state_dict({n: p for n, p in model.state_dict().items() if "_l0" in n})
    with torch.no_grad():
        second = alone(inputs)[0] @ model.weight_ih_l1.T
    for gate in second.split(16, dim=-1):
        assert abs(gate.std(correction=0) - 1) < EXACT
    assert plan["weight_hh_l0"].factor is None
    assert "Not calibrated" in plan["weight_hh_l0"].why


def test_the_bias_does_not_count():
    """A bias moves the mean of an output, not what the weight makes of its input."""
    model, inputs = stack(3), batch(64, 64)
    plan = fanin.plan(model, inputs, recipe=recipes.lsuv).replace(
        {"*.bias": fanin.initializers.Normal(5)}
    )
    plan.calibrate(model, inputs).apply(model, seed=0)
    found = outputs(model, inputs)
    for name, (output,) in found.items():
        product = output - model.get_submodule(name).bias
        assert abs(product.std(correction=0) - 1) < EXACT


@pytest.mark.filterwarnings("ignore:Complex modules")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.complex64])
def test_any_dtype(dtype):
    """Measured in float32 or better; the weights keep their own."""
    model, inputs = stack(4, nn.Identity).to(dtype), batch(64, 64).to(dtype)
    started(model, inputs)
    # Each weight is rounded once more than the measured copy was: eps at most, of 64 a sum.
    tolerance = max(EXACT, torch.finfo(dtype).eps)
    for (output,) in outputs(model, inputs).values():
        wide = output.to(torch.complex128 if dtype.is_complex else torch.float64)
        assert abs(wide.std(correction=0) - 1) < tolerance


@pytest.mark.parametrize("scale", [1e-22, 1e-12, 1e12, 1e22])
def test_signals_beyond_the_squares_of_float32(scale):
    """Their squares are infinite or zero in float32, their std is not."""
    model, inputs = stack(3), scale * batch(64, 64)
    started(model, inputs)
    assert all_are(stds(model, inputs), 1)


def test_casts_on_the_way_are_seen_through():
    """Autocast multiplies with a narrower copy of the weight, and keeps it for the next use."""

    class Cast(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = stack(3)

        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                return self.layers(self.layers(x))

    model, inputs = Cast(), batch(64, 64)
    started(model, inputs)
    found = outputs(model, inputs)
    for outs in found.values():
        assert abs(outs[0].float().std(correction=0) - 1) < torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_modes_of_the_model_s_own(mode):
    """A model may switch gradients on, and take some, or off for good."""

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = stack(3)

        def forward(self, x):
            with mode():
                x = x.clone().requires_grad_()
                out = self.layers(x)
                if out.requires_grad:
                    torch.autograd.grad(out.sum(), x)
                return out

    model, inputs = Own(), batch(64, 64)
    started(model, inputs)
    assert all_are(stds(model, inputs), 1)


def test_another_seed_is_off_by_its_sampling_error_and_no_more():
    """One Gaussian layer: its output's mean square is a quadratic form with a known spread.

    With C the inputs' second moments, m outputs and weights of variance s², the mean square has
    mean s² tr C and relative variance 2 tr C² / (m (tr C)²). Calibrated on one draw and applied
    with another, the log of its std has twice that variance over 4.
    """
    inputs = batch(256, 100) * torch.linspace(0.1, 2, 100)
    model = nn.Sequential(nn.Linear(100, 400))
    plan = fanin.plan(model, inputs, recipe=recipes.kaiming).calibrate(model, inputs, target=1.0)
    moments = inputs.T @ inputs / 256
    spread = float((moments @ moments).trace() / moments.trace() ** 2) / 400
    off = []
    for seed in range(1, 401):
        plan.apply(model, seed=seed)
        off.append(stds(model, inputs)["0"][0] - 1)
    found = torch.tensor(off)
    assert abs(found.mean()) < normal_threshold() * sqrt(spread / 2)
    assert abs(found.var() / (spread / 2) - 1) < variance_threshold(400, 3)
    plan.apply(model, seed=0)
    assert abs(stds(model, inputs)["0"][0] - 1) < 1e-6


def test_the_sharpest_form_of_the_promise():
    """The same seed gives the target up to the rounding of float32, at 30 layers."""
    model, inputs = stack(30), batch(128, 64)
    started(model, inputs)
    assert max(abs(std - 1) for (std,) in stds(model, inputs).values()) < 1e-5
