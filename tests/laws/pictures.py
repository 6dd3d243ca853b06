"""All that can be compared of a model and of the world around it, and a model that spoils it."""

import random

import numpy as np
import torch
from torch import nn

__all__ = ["Careless", "picture", "same"]


class Careless(nn.Module):
    """Does in forward what users do: counts, caches, draws, freezes, adds hooks and buffers."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.calls, self.cache, self.seen = 0, {}, []
        self.loose = torch.zeros(4)
        self.generator = torch.Generator().manual_seed(1)
        self.register_buffer("total", torch.zeros(4))
        self.register_buffer("unset", None)

    def forward(self, x):
        self.calls += 1
        self.fresh = x
        self.cache["last"] = x
        self.seen.append(x)
        self.loose += 1
        self.total = self.total + x.detach().sum(0)
        self.unset = x.detach()
        self.inner.extra = nn.Identity()
        self.inner.register_forward_hook(lambda *_: None)
        self.inner.weight.requires_grad_(False)
        random.random()
        np.random.rand()  # noqa: NPY002 - the global generator is what this test is about
        torch.rand((), generator=self.generator)
        return self.inner(nn.functional.dropout(x)) + self.loose


def picture(model):
    """All that can be compared of a model and of the world around it."""
    world = [torch.get_rng_state(), random.getstate(), *np.random.get_state()[1:]]  # noqa: NPY002
    world += [torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()]
    modules = {}
    for name, module in model.named_modules():
        shown = {}
        for key, value in vars(module).items():
            entries = dict(value) if isinstance(value, dict) else value
            shown[key] = list(entries) if isinstance(entries, list) else entries
        modules[name] = shown
    values = {name: value.clone() for name, value in model.state_dict().items()}
    versions = {name: value._version for name, value in model.named_parameters()}
    own = {
        name: (vars(module)["loose"].clone(), module.generator.get_state())
        for name, module in model.named_modules()
        if isinstance(module, Careless)
    }
    gradients = [(p.grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    flags = [(p.requires_grad, p.is_leaf, dict(vars(p))) for p in model.parameters()]
    return world, modules, values, versions, own, gradients, flags


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one is other or (isinstance(other, torch.Tensor) and torch.equal(one, other))
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one is other or one == other
