"""A user's callable as a function of one number: checked, and run without leaving a trace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TypeAlias

import torch
from torch import Tensor, nn

from fanin._errors import FaninError

__all__ = ["require_elementwise", "runnable", "undisturbed", "value_and_derivative"]

Function: TypeAlias = Callable[[Tensor], Tensor]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Gradients can be taken inside, whatever the caller's mode; the random state is put back."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(mode=False), torch.enable_grad():
        yield


def value_and_derivative(function: Function, x: Tensor) -> tuple[Tensor, Tensor]:
    """phi(x) and the phi'(x) that autograd gives, both float64 and detached.

    At a kink or jump phi' is what autograd says; a quadrature node does not fall on one.
    """
    leaf = x.detach().requires_grad_()
    y = function(leaf.clone())  # phi may work in place, which a leaf does not allow
    if not y.requires_grad:
        return y, torch.zeros_like(y)
    # The gradient of the sum: given grad_outputs, torch's first call imports sympy for 0.5 s.
    total = y.sum()
    (slope,) = torch.autograd.grad(total, leaf, allow_unused=True, materialize_grads=True)
    return y.detach(), slope


def runnable(activation: Function, where: str) -> Function:
    """The callable on float64 CPU tensors, its output checked and every failure told apart.

    A module is copied, in evaluation mode and float64: the caller's is not touched.
    """
    try:
        function = _copy(activation) if isinstance(activation, nn.Module) else activation
    except Exception as cause:
        raise _refusal(where, f"it cannot be copied: {_in_a_line(cause)}") from cause

    def run(x: Tensor) -> Tensor:
        try:
            # phi may make tensors: not on the caller's default device, which may be meta.
            with torch.device("cpu"):
                y = function(x)
        except Exception as cause:
            raise _refusal(where, _in_a_line(cause)) from cause
        if not isinstance(y, Tensor):
            raise _refusal(where, f"it gives a {type(y).__name__}, not a tensor")
        if y.shape != x.shape:
            raise _refusal(where, f"shape {tuple(x.shape)} becomes {tuple(y.shape)}")
        if not y.is_floating_point():
            raise _refusal(where, f"it gives {y.dtype}, not real floating-point numbers")
        return y.double()

    return run


def require_elementwise(function: Function, deviation: float, where: str) -> None:
    """Pass if 60 values within four standard deviations say: elementwise, fixed, finite.

    Raises:
        FaninError: a value changes with its neighbours and shape, or from call to call, or is
            not finite.
    """
    x = deviation * torch.linspace(-4.1, 3.9, 60, dtype=torch.float64, device="cpu")
    y = function(x.clone()).detach()
    if not bool(y.isfinite().all()):
        bad = int((~y.isfinite()).nonzero()[0])
        raise _refusal(where, f"phi({x[bad].item():.4g}) = {y[bad].item()}")
    if not torch.equal(y, function(x.clone()).detach()):
        raise _refusal(where, "two calls with one input differ: it is random")
    # Twenty-four of the points, in another order and shape.
    some = (7 * torch.arange(24, device="cpu") % 60).view(2, 3, 4)
    # Vector and scalar code of one function differ in the last bit; phi may compute in float32.
    slack = 1e-6 * y.abs().max()
    if bool(((function(x[some]).detach() - y[some]).abs() > slack).any()):
        raise _refusal(where, "a value changes when its neighbours and the shape do")


def _copy(module: nn.Module) -> nn.Module:
    copy = deepcopy(module).double().eval().requires_grad_(requires_grad=False)
    for part in copy.modules():
        part._forward_hooks.clear()  # noqa: SLF001 - a copied hook writes to the caller's records
    return copy


def _in_a_line(cause: Exception) -> str:
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"


def _refusal(where: str, found: str) -> FaninError:
    return FaninError(
        "the activation is not a function of one number, applied to each element alone",
        where=where,
        found=found,
        fix="give an elementwise activation, or Gated(...) for a product of two inputs",
    )
