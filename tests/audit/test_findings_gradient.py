"""Weights that learn nothing are told, and those that are meant to learn nothing are not."""

import pytest
import torch
from tests.audit.faults import nets
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name
from torch.utils.checkpoint import checkpoint

import fanin
from fanin import audit


class Between(nn.Module):
    """Two layers, and something between them."""

    def __init__(self, between) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(20, 64), nn.Linear(64, 10)
        self.between = between

    def forward(self, x):
        return self.second(self.between(self.first(x).relu()))


class Without(Between):
    """The first layer runs without autograd."""

    def forward(self, x):
        with torch.no_grad():
            hidden = self.first(x)
        return self.second(hidden)


class Reentrant(Between):
    """torch: none of the inputs asks for a gradient, so none comes back."""

    def forward(self, x):
        return self.second(checkpoint(self.first, x, use_reentrant=True))


class Chosen(nn.Module):
    """The largest entry is looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.table = nn.Linear(20, 64), nn.Embedding(64, 64)
        self.second = nn.Linear(64, 10)

    def forward(self, x):
        return self.second(self.table(self.first(x).argmax(-1)))


CUT = {
    "detach": lambda: Between(torch.Tensor.detach),
    "numpy": lambda: Between(lambda x: torch.from_numpy(x.detach().numpy().copy())),
    "no_grad": lambda: Without(None),
    "checkpoint": lambda: Reentrant(None),
    "argmax": Chosen,
}


@pytest.mark.filterwarnings("ignore:None of the inputs")
@pytest.mark.parametrize("name", CUT)
def test_a_trained_weight_that_gets_no_gradient_is_told_by_name(name):
    """Nothing fails, and the layer stays as it was drawn."""
    report = audit(CUT[name](), torch.randn(32, 20), target=torch.arange(32) % 10)
    found = next(one for one in report.findings if one.severity != "note")
    assert (found.code, found.where) == ("no-gradient", "first.weight")


def test_without_a_loss_it_is_noted():
    """A codebook's own loss may train what only picks codes."""
    report = audit(Chosen(), torch.randn(32, 20))
    assert report.ok
    assert "no-gradient" in [one.code for one in report.findings]


@pytest.mark.parametrize("depth", [1, 6])
def test_a_loss_that_depends_on_nothing_is_an_error(depth):
    """It is detached, so that `backward` would fail."""
    case = nets.plain(depth)
    fanin.initialize(case.model, case.batch, seed=0)

    def loss(output, target):
        return F.cross_entropy(output.detach(), target)

    (found,) = audit(case.model, case.batch, target=case.target, loss=loss).findings
    assert (found.severity, found.code, found.where) == ("error", "no-gradient", "loss")


class Fails(torch.autograd.Function):
    @staticmethod
    def forward(_context, x):
        return 1 * x

    @staticmethod
    def backward(_context, _gradient):
        raise ValueError("there is no derivative")


def test_a_backward_pass_that_raises_is_an_error_with_its_words():
    """Training stops at its first step."""
    report = audit(Between(Fails.apply), torch.randn(32, 20), spectrum=False)
    (found,) = report.at_least("warning")
    assert (found.severity, found.code, found.where) == ("error", "no-gradient", "loss")
    assert "there is no derivative" in found.measured


def test_a_model_of_which_nothing_is_trained_is_noted():
    """That is what inference looks like."""
    case = nets.plain(1)
    case.model.requires_grad_(requires_grad=False)
    report = audit(case.model, case.batch, target=case.target)
    assert report.ok
    assert any("no parameter of the model is trainable" in note for note in report.notes)


def test_an_output_that_the_loss_does_not_read_is_silent():
    """An auxiliary head, and a loss of the other."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.more = nn.Linear(20, 64), nn.Linear(64, 64)
            self.head, self.other = nn.Linear(64, 10), nn.Linear(64, 3)

        def forward(self, x):
            hidden = self.more(self.trunk(x).relu()).relu()
            return self.head(hidden), self.other(hidden)

    net, batch = Two(), torch.randn(32, 20)
    fanin.initialize(net, batch, seed=0)
    target = torch.arange(32) % 10
    assert audit(net, batch).ok
    assert audit(net, batch, loss=lambda out, y: F.cross_entropy(out[0], y), target=target).ok
