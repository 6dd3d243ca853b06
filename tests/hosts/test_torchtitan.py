"""docs/how-to/torchtitan.md, on modules written after torchtitan's description of `Module`.

torchtitan itself is not installed here. What is modelled: `Config.param_init`, kept by `build` as
`_param_init`; `init_states`, children first; a parameter without an entry is a ValueError.
"""

from dataclasses import dataclass

import pytest
import torch
from tests.hosts.pages import run_page
from torch import nn


class Module(nn.Module):
    """A module that does not know how it starts."""

    _param_init = None

    def init_states(self):
        for child in self.children():
            child.init_states()
        for name, parameter in self.named_parameters(recurse=False):
            if self._param_init is None or name not in self._param_init:
                raise ValueError(f"no initializer for {name} of {type(self).__name__}")
            self._param_init[name](parameter)


@dataclass
class Config:
    """Of a module: its class, its arguments, its start."""

    kind: type
    arguments: tuple
    param_init: dict | None = None

    def build(self):
        module = self.kind(*self.arguments)
        if self.param_init is not None:
            module._param_init = self.param_init
        return module


class Linear(nn.Linear, Module):
    pass


class Embedding(nn.Embedding, Module):
    pass


class RMSNorm(nn.RMSNorm, Module):
    pass


class Model(Module):
    def __init__(self, table, norm, head):
        super().__init__()
        self.table, self.norm, self.head = table.build(), norm.build(), head.build()

    def forward(self, tokens):
        return self.head(self.norm(self.table(tokens)))


def configuration():
    table, norm = Config(Embedding, (32, 16)), Config(RMSNorm, (16,))
    return Config(Model, (table, norm, Config(Linear, (16, 32))))


@pytest.fixture
def page():
    """The names that the page defines."""
    return run_page("torchtitan.md", config=configuration())


def test_init_states_draws_what_apply_draws(page):
    """And every parameter has an entry, norms too."""
    other = configuration().build()
    page["plan"].apply(other, seed=0)
    for name, parameter in page["model"].named_parameters():
        assert torch.equal(parameter, other.get_parameter(name)), name


def test_the_configuration_may_hold_the_functions(page):
    """Written before the build, they do the same."""
    config = configuration()
    for path, part in zip(("table", "norm", "head"), config.arguments, strict=True):
        part.param_init = page["plan"].param_init(path, seed=0)
    model = config.build()
    model.init_states()
    for name, parameter in page["model"].named_parameters():
        assert torch.equal(parameter, model.get_parameter(name)), name


def test_a_module_that_the_plan_was_not_given_to_is_refused(page):
    """As torchtitan does: no parameter goes without a start in silence."""
    with pytest.raises(ValueError, match="no initializer for weight of Embedding"):
        configuration().build().init_states()
