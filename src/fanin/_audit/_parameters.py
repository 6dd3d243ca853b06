"""Each parameter as it stands, the gradient that arrives at it, and one step of an optimizer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import isfinite, isnan, nan
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from fanin._audit._measure import power, real
from fanin._audit._records import ParameterState
from fanin._fill import padding_row
from fanin._site import Site
from fanin._trace._names import Tensors

__all__ = ["Optimizer", "Steps", "powers_of", "states_of", "trainable"]

Optimizer: TypeAlias = Literal["adam", "sgd"]
_EPSILON = 1e-8
"""Adam's, which keeps it from dividing by zero."""


def trainable(tensors: list[Tensors]) -> list[Tensor]:
    """The stored parameters at which gradients arrive."""
    return [
        tensor
        for one in tensors
        if not one.is_buffer
        for tensor in one.tensors
        if tensor.requires_grad and tensor.is_leaf
    ]


@final
@dataclass(frozen=True, slots=True)
class _Step:
    gradient: float
    update: float
    """E (step / learning rate)^2."""
    finite: float
    slope: float = nan
    """<gradient, values>: what the loss gains for each e-fold of the parameter."""


@final
@dataclass(slots=True)
class Steps:
    """The first step of an optimizer, measured as each gradient arrives; gradients are not kept."""

    optimizer: Optimizer
    found: dict[int, _Step] = field(default_factory=dict)
    """By the tensor's id."""
    computed: dict[str, Tensor] = field(default_factory=dict)
    """Weights that their modules compute from other tensors, by name."""

    def attach(self, computed: dict[str, Tensor]) -> None:
        """Ask for the gradients of computed weights too; no optimizer steps those."""
        self.computed = computed
        for tensor in computed.values():
            if tensor.requires_grad:
                tensor.register_hook(self._noting(tensor))  # type: ignore[no-untyped-call]

    def _noting(self, tensor: Tensor) -> Callable[[Tensor], None]:
        place = id(tensor)

        def hook(gradient: Tensor) -> None:
            moment, finite = power(real(gradient))
            self.found[place] = _Step(moment, nan, finite)

        return hook

    @contextmanager
    def listening(self, tensors: list[Tensors]) -> Iterator[None]:
        """Inside, a backward pass is measured, and leaves no gradient behind."""
        handles = [
            tensor.register_post_accumulate_grad_hook(self._taking())  # type: ignore[no-untyped-call]
            for tensor in trainable(tensors)
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
                self.found[id(parameter)] = self._step(gradient, parameter)

        return hook

    def _step(self, gradient: Tensor, parameter: Tensor) -> _Step:
        values = real(gradient.coalesce().values() if gradient.is_sparse else gradient)
        is_alike = not (gradient.is_sparse or gradient.is_complex())
        slope = float(torch.sum(values * real(parameter))) if is_alike else nan
        share = values.numel() / max(gradient.numel(), 1)
        moment, finite = power(values)
        if self.optimizer == "sgd":
            return _Step(moment * share, moment * share, finite, slope)
        # Adam's first step is the gradient over its own size.
        signs = values / (values.abs() + _EPSILON)
        return _Step(moment * share, power(signs)[0] * share, finite, slope)


def powers_of(tensors: list[Tensors], steps: Steps, loss: float) -> dict[str, float]:
    """By name, the power of a parameter's size as which the loss grows: d ln L / d ln |w|."""
    found = ((one.name, steps.found.get(id(one.tensors[0]))) for one in tensors)
    return {
        name: step.slope / loss
        for name, step in found
        if step is not None and loss > 0 and isfinite(step.slope)
    }


def states_of(
    tensors: list[Tensors], sites: dict[str, Site], steps: Steps, learning_rate: float
) -> tuple[ParameterState, ...]:
    """One record for each parameter and each buffer of floats, in the model's order."""
    found = [
        _state(one, sites[one.name], steps, learning_rate) for one in tensors if _has_values(one)
    ]
    return _with_clones(found, {one.name: one.tensors[0] for one in tensors if not one.stored})


def _has_values(one: Tensors) -> bool:
    tensor = one.tensors[0]
    return (tensor.is_floating_point() or tensor.is_complex()) and tensor.numel() > 0


def _state(one: Tensors, site: Site, steps: Steps, learning_rate: float) -> ParameterState:
    shown = steps.computed.get(one.name, one.tensors[0])
    tensor, step = shown.detach(), steps.found.get(id(shown))
    values = real(tensor)
    moment, finite = power(values)
    gradient, ratio = _stepped(step, moment, learning_rate)
    return ParameterState(
        name=one.name,
        role=site.role,
        shape=tuple(tensor.shape),
        dtype=site.dtype,
        trainable=shown.requires_grad,
        mean=_mean(values, finite),
        second_moment=moment,
        gradient=gradient,
        update=ratio,
        finite=finite,
        zeros=1.0 - float(values.count_nonzero()) / values.numel(),
        padding=_padding(one, values),
    )


def _stepped(
    step: _Step | None, moment: float, learning_rate: float
) -> tuple[float | None, float | None]:
    """E g^2, and the step over the values; nothing is said of a step that is not finite."""
    if step is None:
        return None, None
    if step.finite < 1.0:
        return nan, None
    if moment == 0 or isnan(step.update):
        return step.gradient, None
    return step.gradient, float(learning_rate * (step.update / moment) ** 0.5)


def _mean(values: Tensor, finite: float) -> float:
    """Of the finite entries."""
    kept = values if finite == 1.0 else values[values.isfinite()]
    return float(kept.mean(dtype=torch.float64)) if kept.numel() else 0.0


def _padding(one: Tensors, values: Tensor) -> float | None:
    """E x^2 of an embedding's padding row, which is meant to be zero."""
    row = None if one.is_buffer else padding_row(one.owner)
    return power(values[row])[0] if row is not None and values.ndim == 2 else None


def _with_clones(
    found: list[ParameterState], tensors: dict[str, Tensor]
) -> tuple[ParameterState, ...]:
    """The records, with the name of an earlier parameter of equal, drawn values."""
    first: dict[object, str] = {}
    states = []
    for one in found:
        key = (one.shape, one.dtype, one.second_moment, one.mean)
        is_drawn = one.role != "buffer" and one.name in tensors and _varies(tensors[one.name])
        other = first.setdefault(key, one.name) if is_drawn else one.name
        if other != one.name and torch.equal(tensors[other], tensors[one.name]):
            states.append(replace(one, same_as=other))
        else:
            states.append(one)
    return tuple(states)


def _varies(tensor: Tensor) -> bool:
    values = real(tensor)
    return bool(values.amin() < values.amax())
