"""What a gain is not for is refused in words; what it is asked about is left as it was."""

import gc
import math
import subprocess
import sys
import weakref

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from fanin import FaninError, Gated, gain, moments
from fanin._gains import canonical


class Swish(nn.Module):
    """x sigmoid(beta x) with a learned beta, and dropout while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(1.702))
        self.dropout = nn.Dropout()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.dropout(x * torch.sigmoid(self.beta * x))


class OwnRelu(nn.ReLU):
    """A subclass that computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu().square()


def test_a_subclass_with_its_own_forward_is_not_mistaken():
    """It is what it computes, not what it is called."""
    module = OwnRelu()
    assert canonical(module) is module
    assert gain(module) == pytest.approx(gain("relu^2"), rel=1e-12)


def test_a_module_is_left_as_it_was():
    """Mode, buffers, gradients, dtype, hooks' records: looking changes nothing."""
    module, seen = Swish(), []
    module.register_forward_hook(lambda *_: seen.append(1))
    assert gain(module) == pytest.approx(gain("quick_gelu"), rel=1e-7)  # beta is float32
    assert module.training
    assert module.dropout.training
    assert module.calls == 0
    assert module.beta.grad is None
    assert module.beta.dtype == torch.float32
    assert module.beta.requires_grad
    assert seen == []


def test_a_closure_over_a_parameter_gets_no_gradient():
    """autograd is asked for the derivative by x alone."""
    beta = nn.Parameter(torch.tensor(2.0))
    assert gain(lambda x: beta * torch.relu(x)) == pytest.approx(gain("relu") / 2)
    assert beta.grad is None


def test_the_random_state_is_put_back_even_after_a_refusal():
    """A gain asked for in the middle of a run does not change the run."""
    before = torch.random.get_rng_state()
    gain(lambda x: x.tanh())
    with pytest.raises(FaninError, match="random"):
        gain(torch.rand_like)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_gain_is_the_same_in_any_gradient_mode_and_leaves_it(mode):
    """Initialization runs under no_grad; a server under inference_mode."""
    with mode():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        found = moments(lambda x: torch.where(x > 0.37, x, 0.1 * x)).derivative_second
        slopes = moments(Swish()).derivative_second
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    assert found == pytest.approx(stats.norm.sf(0.37) + 0.01 * stats.norm.cdf(0.37), rel=1e-10)
    assert slopes == pytest.approx(moments("quick_gelu").derivative_second, rel=1e-7)


def test_default_device_and_dtype_do_not_matter():
    """A model may be built on meta, in bfloat16, when its gains are asked for."""

    def phi(x: Tensor) -> Tensor:
        return torch.maximum(x, torch.tensor(0.0, dtype=x.dtype))

    usual = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.bfloat16)
        with torch.device("meta"):
            assert gain(phi) == pytest.approx(math.sqrt(2), rel=1e-12)
    finally:
        torch.set_default_dtype(usual)


def test_the_first_import_may_happen_under_a_meta_device():
    """The quadrature's nodes are made at import."""
    code = """
import torch
with torch.device("meta"), torch.inference_mode():
    from fanin import gain
    first = gain(lambda x: x.tanh())
print(first == gain(lambda x: x.tanh()))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "True\n"


def test_no_tensor_outlives_the_call():
    """No graph, no cache: what phi saw is freed when the gain is known."""
    seen: list[weakref.ref[Tensor]] = []

    def phi(x: Tensor) -> Tensor:
        y = x.tanh()
        seen.extend([weakref.ref(x), weakref.ref(y)])
        return y

    gain(phi)
    gc.collect()
    assert len(seen) > 4
    assert all(reference() is None for reference in seen)


@pytest.mark.parametrize("name", ["relu", "leaky_relu(0.2)", "gelu", "swiglu", "conv2d"])
def test_the_gain_of_a_name_needs_no_tensor(name):
    """It is asked for once a layer, in models of thousands: closed forms and constants only."""

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls += 1
            return func(*args, **(kwargs or {}))

    with Count() as count:
        gain(name)
        assert count.calls == 0
        gain(lambda x: x.tanh())
        assert count.calls > 0


REFUSED = {
    "softmax": (nn.Softmax(dim=-1), "neighbours"),
    "softmax of channels": (nn.Softmax(dim=1), "Dimension out of range"),
    "layer norm": (nn.LayerNorm(60), "normalized_shape"),
    "functional layer norm": (lambda x: functional.layer_norm(x, x.shape[-1:]), "neighbours"),
    "batch norm": (nn.BatchNorm1d(60), "expected 2D or 3D"),
    "max pool": (nn.MaxPool1d(2), "max_pool1d"),
    "linear": (nn.Linear(60, 60), "cannot be multiplied"),
    "centering": (lambda x: x - x.mean(), "neighbours"),
    "cumulative sum": (lambda x: x.cumsum(-1), "neighbours"),
    "sorting": (lambda x: x.sort().values, "neighbours"),
    "dropout function": (functional.dropout, "random"),
    "random slope": (lambda x: x * torch.rand(()), "random"),
    "maxout": (lambda x: x.view(-1, 2).amax(1), r"\(60,\) becomes \(30,\)"),
    "a tuple": (lambda x: (x, x), "gives a tuple"),
    "booleans": (lambda x: x > 0, "torch.bool"),
    "complex": (lambda x: x * 1j, "complex128"),
    "an error of its own": (lambda x: x.no_such, "no_such"),
    "a slope for each channel": (nn.Sequential(nn.Tanh(), nn.PReLU(3)), "parameter numbers = 3"),
    "logarithm": (torch.log, r"phi\(-4.1\) = nan"),
    "too fast": (lambda x: torch.exp(x * x / 4), "does not settle"),
    "a pole": (lambda x: 1 / x, "does not settle"),
    "zero": (lambda x: 0 * x, "zero everywhere"),
    "a class": (nn.ReLU, "type"),
    "nothing": (None, "NoneType"),
    "a number": (2.0, "float"),
    "a gate that is a product": (Gated(nn.GLU()), "GLU"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_a_function_of_one_number_is_refused_in_words(case):
    """A gain for softmax or a norm would be a number without a meaning."""
    activation, reason = REFUSED[case]
    with pytest.raises(FaninError, match=reason) as refused:
        gain(activation)
    assert "fix:" in str(refused.value)


def test_a_prelu_whose_slopes_differ_is_refused():
    """There is no one gain for it."""
    module = nn.PReLU(3)
    with torch.no_grad():
        module.weight[1] = 0.5
    with pytest.raises(FaninError, match="2 different slopes"):
        gain(module)
    with pytest.raises(FaninError, match="without values"):
        gain(nn.PReLU(device="meta"))


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("rellu", "relu"),
        ("sigmiod", "sigmoid"),
        ("leaky_relu(x)", r"leaky_relu\(negative_slope\)"),
        ("leaky_relu(1,2)", r"leaky_relu\(negative_slope\)"),
        ("leaky_relu(nan)", r"leaky_relu\(negative_slope\)"),
        ("relu(1)", "write relu"),
        ("threshold", r"threshold\(threshold, value\)"),
        ("hardtanh(3,-2)", "min_val cannot be greater"),
        ("softmax", "the function itself"),
        ("", "the function itself"),
    ],
)
def test_a_wrong_name_is_refused_with_the_way_out(name, way_out):
    """Typing errors are the common ones."""
    with pytest.raises(FaninError, match=way_out):
        gain(name)


def test_a_wrong_gate_is_refused_when_it_is_made():
    """A value that cannot be used cannot be made."""
    with pytest.raises(FaninError, match="silu"):
        Gated("siluu")
    with pytest.raises(FaninError, match="no activation has this name"):
        Gated("swiglu")


@pytest.mark.parametrize("variance", [0, -1, math.nan, math.inf])
def test_a_variance_that_is_none_is_refused(variance):
    """z must be Gaussian with a spread."""
    with pytest.raises(FaninError, match="above 0"):
        moments("relu", variance=variance)


def test_a_gain_that_does_not_exist_is_refused():
    """A step has no gradient, a constant no variance, sqrt|x| no second moment of slope."""
    with pytest.raises(FaninError, match="backward gain does not exist"):
        gain(torch.sign, convention="backward")
    with pytest.raises(FaninError, match="std gain does not exist"):
        gain(lambda x: 0 * x + 0.1, convention="std")
    with pytest.raises(FaninError, match="backward gain does not exist"):
        gain(lambda x: x.abs().sqrt(), convention="backward")
    assert gain(lambda x: x.abs().sqrt()) == pytest.approx((2 / math.pi) ** -0.25, rel=1e-9)
    with pytest.raises(FaninError, match="no such convention"):
        gain("relu", convention="fan_in")  # type: ignore[arg-type]
