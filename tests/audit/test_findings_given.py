"""What the user gave, and what the loss says of it: a start is not blamed for either."""

import pytest
import torch
from tests.audit.faults import nets
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name

import fanin
from fanin import audit


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def started(depth: int = 1) -> nets.Case:
    case = nets.plain(depth)
    fanin.initialize(case.model, case.batch, seed=0)
    return case


def said(report) -> list[tuple[str, str, str]]:
    return [(one.severity, one.code, one.where) for one in report.at_least("warning")]


NAN = torch.nan


def spoiled(tensor, value):
    found = tensor.clone()
    found.view(-1)[5] = value
    return found


@pytest.mark.parametrize("value", [NAN, torch.inf])
def test_a_batch_that_is_not_finite_is_told_at_the_batch(value):
    """The first layer is as innocent as every other."""
    case = started()
    found = audit(case.model, spoiled(case.batch, value), target=case.target)
    assert said(found) == [("error", "not-finite", "batch")]
    assert found.findings[0].remedy.startswith("# ")


def test_a_target_that_is_not_finite_is_told_at_the_target():
    """No slope of a square root broke."""
    case = started()
    target = spoiled(torch.randn(64, nets.CLASSES), NAN)
    found = audit(case.model, case.batch, target=target)
    assert said(found) == [("error", "not-finite", "target")]


def test_a_mask_of_minus_infinity_in_the_batch_is_no_finding():
    """It is made of -inf on purpose, and the softmax takes it."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))

        def forward(self, x, mask):
            scores = self.query(x) @ self.key(x).transpose(1, 2) / 32**0.5
            return x + torch.softmax(scores + mask, -1) @ self.value(x)

    net, mask = Masked(), torch.full((9, 9), -torch.inf).triu(1)
    batch = (torch.randn(4, 9, 32), mask)
    fanin.initialize(net, batch, seed=0)
    assert audit(net, batch).ok


LOSSES = {
    "nan": lambda output, target: F.cross_entropy(output, target) * NAN,
    "every label is left out": lambda output, target: F.cross_entropy(
        output, torch.full_like(target, -100)
    ),
    "targets that are too long": lambda output, _: F.ctc_loss(
        output.log_softmax(-1)[:, None], torch.ones(1, 80, dtype=torch.long),
        torch.tensor([64]), torch.tensor([80]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_loss_that_is_not_finite_of_finite_outputs_is_told_at_the_loss(loss):
    """Its gradients are NaN or 0, which says nothing of the layers."""
    case = started()
    found = audit(case.model, case.batch, loss=loss, target=case.target)
    assert said(found) == [("error", "not-finite", "loss")]


def floats(case):
    return torch.randn(64, nets.CLASSES)


def rare(case):
    return (torch.rand(64, nets.CLASSES) < 0.1).float()


FAIR = {
    "cross-entropy, summed": (nn.CrossEntropyLoss(reduction="sum"), None),
    "cross-entropy, smoothed and weighted": (
        nn.CrossEntropyLoss(torch.linspace(0.1, 9, 10), reduction="sum", label_smoothing=0.1), None,
    ),
    "cross-entropy of each": (
        lambda output, target: F.cross_entropy(output, target, reduction="none").sum(), None,
    ),
    "squared error, summed": (nn.MSELoss(reduction="sum"), floats),
    "squared error of each": (
        lambda output, target: F.mse_loss(output, target, reduction="none").sum(), floats,
    ),
    "squared error, turned round": (
        lambda output, target: F.mse_loss(5 * target, output), floats,
    ),
    "several labels, few of them": (
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor(50.0), reduction="sum"), rare,
    ),
    "a part of a loss that is mostly another": (
        lambda output, target: F.mse_loss(output, target) + 1e6, floats,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAIR)
def test_a_fair_start_is_fair_by_any_reduction_of_the_loss(name):
    """What is judged is what one element costs, not their sum nor what is added to it."""
    loss, target = FAIR[name]
    case = started()
    given = case.target if target is None else target(case)
    found = audit(case.model, case.batch, loss=loss, target=given)
    assert [one.code for one in found.findings] == []
    assert found.loss.observed == pytest.approx(found.loss.uninformed, rel=1.5)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_readout_that_costs_much_is_found_by_any_reduction(reduction):
    """The other side of the same: 1000 times too large."""
    case = started()
    with torch.no_grad():
        case.model[2].weight.mul_(1000)
    loss = nn.CrossEntropyLoss(reduction=reduction)
    (finding,) = audit(case.model, case.batch, loss=loss, target=case.target).findings
    assert (finding.severity, finding.code, finding.where) == ("error", "outlier-layer", "2")
    assert "nats" in finding.reason


def test_targets_are_called_far_from_zero_only_where_they_are():
    """A summed error of centred targets is large, and they are not far from anything."""
    case = started()
    far = audit(case.model, case.batch, target=50 + floats(case), loss=nn.MSELoss(reduction="sum"))
    assert [one.code for one in far.findings] == ["off-centre-targets"]
    assert "mean 50" in far.findings[0].reason


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_an_output_and_a_target_that_are_both_repeated_are_an_error():
    """(64, 1) and (64,): torch warns once, and trains on the mean."""
    net, batch = nn.Linear(20, 1), torch.randn(64, 20)
    found = audit(net, batch, target=torch.randn(64), loss=F.mse_loss)
    assert said(found) == [("error", "spread-target", "loss")]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_inputs_that_are_a_thousand_times_too_large_are_told_at_the_batch(activation):
    """No layer is at fault, and no draw of one would help."""
    case = nets.plain(3, activation)
    fanin.initialize(case.model, case.batch, seed=0)
    found = audit(case.model, 1000 * case.batch, target=case.target)
    assert said(found) == [("error", "unscaled-batch", "batch")]
    assert "1,0" in found.findings[0].measured or "std 9" in found.findings[0].measured


def test_large_inputs_that_a_norm_takes_in_are_no_finding():
    """Pixels from 0 to 255 before a batch norm cost nothing."""
    net = nn.Sequential(nn.BatchNorm1d(20), nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 10))
    batch, target = 1000 * torch.randn(64, 20), torch.arange(64) % 10
    fanin.initialize(net, batch, seed=0)
    assert audit(net, batch, target=target).ok


def test_inputs_of_zeros_are_no_layer_s_fault():
    """Of nothing a weight has no gradient."""
    case = started()
    found = audit(case.model, torch.zeros_like(case.batch), target=case.target)
    assert "no-gradient" not in [one.code for one in found.findings]


@pytest.mark.parametrize(("rate", "code"), [(100.0, "large-update"), (1e-9, "small-update")])
def test_another_learning_rate_is_advised_where_the_weights_are_fair(rate, code):
    """A draw has no part in it; the rate that is named is a cure."""
    case = started()
    (finding,) = audit(case.model, case.batch, target=case.target, learning_rate=rate).findings
    assert finding.code == code
    assert finding.remedy.startswith("# Take a learning rate")
    text = finding.remedy.replace("\n#", "")
    advised = float(text.partition(" here")[0].rpartition(" ")[2].replace(",", ""))
    better = advised * (0.9 if code == "large-update" else 1.1)
    assert audit(case.model, case.batch, target=case.target, learning_rate=better).ok
