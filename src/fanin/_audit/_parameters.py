"""Each parameter as it stands, the gradient that arrives at it, and one step of an optimizer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from fanin._audit._measure import power, real
from fanin._audit._records import ParameterState
from fanin._site import Site
from fanin._trace._names import Tensors

__all__ = ["Optimizer", "Steps", "states_of"]

Optimizer: TypeAlias = Literal["adam", "sgd"]
_EPSILON = 1e-8
"""Adam's, which keeps it from dividing by zero."""


@final
@dataclass(frozen=True, slots=True)
class _Step:
    gradient: float
    update: float
    """E (step / learning rate)^2."""
    finite: float


@final
@dataclass(slots=True)
class Steps:
    """The first step of an optimizer, measured as each gradient arrives; gradients are not kept."""

    optimizer: Optimizer
    found: dict[int, _Step] = field(default_factory=dict)
    """By the tensor's id."""

    @contextmanager
    def listening(self, tensors: list[Tensors]) -> Iterator[None]:
        """Inside, a backward pass is measured, and leaves no gradient behind."""
        handles = [
            tensor.register_post_accumulate_grad_hook(self._taking())  # type: ignore[no-untyped-call]
            for one in tensors
            for tensor in one.tensors
            if not one.is_buffer and tensor.requires_grad and tensor.is_leaf
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _taking(self) -> Callable[[Tensor], None]:
        def hook(parameter: Tensor) -> None:
            gradient = parameter.grad
            parameter.grad = None
            if gradient is not None:
                self.found[id(parameter)] = self._step(gradient)

        return hook

    def _step(self, gradient: Tensor) -> _Step:
        values = real(gradient.coalesce().values() if gradient.is_sparse else gradient)
        share = values.numel() / max(gradient.numel(), 1)
        moment, finite = power(values)
        if self.optimizer == "sgd":
            return _Step(moment * share, moment * share, finite)
        # Adam's first step is the gradient over its own size.
        signs = values / (values.abs() + _EPSILON)
        return _Step(moment * share, power(signs)[0] * share, finite)


def states_of(
    tensors: list[Tensors], sites: dict[str, Site], steps: Steps, learning_rate: float
) -> tuple[ParameterState, ...]:
    """One record for each parameter and each buffer of floats, in the model's order."""
    found = [
        _state(one, sites[one.name], steps, learning_rate) for one in tensors if _has_values(one)
    ]
    return _with_clones(found, {one.name: one.tensors[0] for one in tensors})


def _has_values(one: Tensors) -> bool:
    tensor = one.tensors[0]
    return (tensor.is_floating_point() or tensor.is_complex()) and tensor.numel() > 0


def _state(one: Tensors, site: Site, steps: Steps, learning_rate: float) -> ParameterState:
    tensor = one.tensors[0].detach()
    values = real(tensor)
    moment, finite = power(values)
    step = steps.found.get(id(one.tensors[0])) if not one.stored else None
    ratio = None
    if step is not None and moment > 0:
        ratio = learning_rate * (step.update / moment) ** 0.5
    gradient = None
    if step is not None:
        gradient = step.gradient if step.finite == 1.0 else float("nan")
    return ParameterState(
        name=one.name,
        role=site.role,
        shape=tuple(tensor.shape),
        dtype=site.dtype,
        trainable=tensor.requires_grad if one.is_buffer else one.tensors[0].requires_grad,
        mean=float(values.mean(dtype=torch.float64)) if finite == 1.0 else float("nan"),
        second_moment=moment,
        gradient=gradient,
        update=ratio,
        finite=finite,
        zeros=1.0 - float(values.count_nonzero()) / values.numel(),
    )


def _with_clones(
    found: list[ParameterState], tensors: dict[str, Tensor]
) -> tuple[ParameterState, ...]:
    """The records, with the name of an earlier parameter of equal, drawn values."""
    first: dict[object, str] = {}
    states = []
    for one in found:
        key = (one.shape, one.dtype, one.second_moment, one.mean)
        is_drawn = one.second_moment - one.mean**2 > 1e-12 * one.second_moment
        other = first.setdefault(key, one.name) if is_drawn and one.role != "buffer" else one.name
        if other != one.name and torch.equal(tensors[other], tensors[one.name]):
            states.append(replace(one, same_as=other))
        else:
            states.append(one)
    return tuple(states)
