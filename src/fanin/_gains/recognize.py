"""An activation as a user gives it, and the one thing that it is."""

from collections.abc import Callable

from torch import Tensor, nn

from fanin._errors import FaninError
from fanin._gains.gated import Activation, Gated
from fanin._gains.names import GATES, Named, parse
from fanin._gains.torch_names import of_function, of_module

__all__ = ["canonical", "resolve", "where"]


def resolve(activation: Activation) -> Named | Gated | Callable[[Tensor], Tensor]:
    """A named activation, a product unit, or a callable about which nothing is known.

    Raises:
        FaninError: an unknown name, a PReLU whose slopes differ, or not an activation at all.
    """
    if isinstance(activation, str):
        return Gated(GATES[activation]) if activation in GATES else parse(activation)
    if isinstance(activation, Gated):
        return activation
    if isinstance(activation, nn.Module):
        return of_module(activation)
    if not callable(activation) or isinstance(activation, type):
        raise FaninError(
            "not an activation",
            where="activation",
            found=f"{activation!r} ({type(activation).__name__})",
            fix='a name such as "relu", a function of one tensor, a module, or Gated(...)',
        )
    return of_function(activation)


def canonical(activation: Activation) -> str | Callable[[Tensor], Tensor] | Gated:
    """The one name of an activation; a callable without a name is returned as it is.

    Modules are read in evaluation mode: dropout is the identity, RReLU has its mean slope.
    Parameters are left out when all of them are torch's defaults.

    Raises:
        FaninError: an unknown name, a PReLU whose slopes differ, or not an activation at all.

    >>> import torch
    >>> from fanin._gains import canonical
    >>> canonical(torch.nn.LeakyReLU(0.2)), canonical(torch.nn.functional.gelu)
    ('leaky_relu(0.2)', 'gelu')
    """
    found = resolve(activation)
    if isinstance(found, Named):
        return str(found)
    if isinstance(found, Gated):
        inner = canonical(found.activation)
        return next((name for name, gate in GATES.items() if gate == inner), found)
    return found


def where(activation: Activation) -> str:
    """How an error names the activation."""
    if isinstance(activation, nn.Module) and "\n" in repr(activation):
        return f"activation {type(activation).__name__}"
    if isinstance(activation, str | nn.Module | Gated):
        return f"activation {activation!r}"
    return f"activation {getattr(activation, '__name__', repr(activation))}"
