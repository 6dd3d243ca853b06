"""What the user gave, and what the loss says of it: a start is not blamed for either."""

import warnings

import pytest
import torch
from tests.audit.faults import nets
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name

import fanin
from fanin import audit


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


SPREAD = {
    "squared": F.mse_loss,
    "absolute": F.l1_loss,
    "smooth": F.smooth_l1_loss,
    "Huber's": nn.HuberLoss(),
    "a difference written out": lambda output, target: (target - output).abs().mean(),
}


@pytest.mark.parametrize("name", SPREAD)
def test_an_output_and_a_target_that_are_both_repeated_are_an_error(name):
    """(64, 1) and (64,): torch trains on the mean, and its warning would name a line of fanin's."""
    net, batch = nn.Linear(20, 1), torch.randn(64, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = audit(net, batch, target=torch.randn(64), loss=SPREAD[name])
    assert said(found) == [("error", "spread-target", "loss")]


PAIRS = {
    "outputs with each other": lambda output, _: (output - output.T).square().mean(),
    "outputs with centres": lambda output, _: (output - torch.arange(5.0)).square().mean(),
    "each with its own": lambda output, target: (output - target[:, None]).square().mean(),
    "in one axis more": lambda output, target: (output[..., None] - target[:, None, None]).mean(),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_that_are_meant_are_not_spread(name):
    """A loss of distances compares all with all."""
    net, batch = nn.Linear(20, 1), torch.randn(64, 20)
    found = audit(net, batch, target=torch.randn(64), loss=PAIRS[name])
    assert "spread-target" not in [one.code for one in found.findings]


def test_a_warning_of_the_user_s_own_loss_is_heard():
    """Only the one that a finding stands for is kept back."""

    def loss(output, target):
        warnings.warn("look here", stacklevel=1)
        return F.mse_loss(output, target)

    with pytest.warns(UserWarning, match="look here"):
        audit(nn.Linear(20, 1), torch.randn(8, 20), target=torch.randn(8, 1), loss=loss)


def test_a_readout_s_bias_may_be_the_mean_of_the_targets():
    """It is what an off-centre target is advised, and most of what the model gives."""
    case, target = started(3), 3e4 + torch.randn(64, nets.CLASSES)
    assert [one.code for one in audit(case.model, case.batch, target=target).findings] == [
        "off-centre-targets"
    ]
    with torch.no_grad():
        case.model[6].bias.fill_(3e4)
    assert [one.code for one in audit(case.model, case.batch, target=target).findings] == []


def test_a_bias_before_batch_norm_is_taken_off_and_no_fault():
    """Nor is the gradient behind it, which is of the size of what varies."""
    case = nets.plain_norm(4)
    fanin.initialize(case.model, case.batch, seed=0)
    with torch.no_grad():
        case.model[4].bias.fill_(20)
    assert audit(case.model, case.batch, target=case.target).ok


def test_a_parameter_that_the_loss_alone_uses_is_used():
    """The weights of several losses, as a model keeps them: Kendall, Gal & Cipolla 2018."""

    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.scales = nn.Linear(20, 3), nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return self.body(x)

    net, batch, target = Weighted(), torch.randn(64, 20), torch.randn(64, 3)

    def loss(output):
        error = (output - target).square().mean()
        return error * torch.exp(-net.scales[0]) + net.scales.sum()

    assert "unused-parameter" not in [one.code for one in audit(net, batch, loss=loss).findings]
    assert "unused-parameter" in [one.code for one in audit(net, batch, target=target).findings]


def test_large_inputs_that_a_norm_takes_in_are_not_to_blame_for_a_layer():
    """Of two faults that there might be, it is the one that there is."""
    net = nn.Sequential(nn.BatchNorm1d(20), nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 10))
    batch, target = 1000 * torch.randn(64, 20), torch.arange(64) % 10
    fanin.initialize(net, batch, seed=0)
    with torch.no_grad():
        net[3].weight.mul_(5)
    assert said(audit(net, batch, target=target)) == [("warning", "initial-loss", "3")]


def test_batch_norm_that_has_seen_nothing_is_said_in_evaluation_mode():
    """It normalizes by what no batch had, so that nothing is as in training."""
    case = nets.plain_norm(2)
    notes = [audit(case.model, case.batch, training=mode).notes for mode in (False, True)]
    said = ["batch norm has seen no batch" in " ".join(one) for one in notes]
    assert said == [True, False]
    case.model.train()(case.batch)
    assert "no batch" not in " ".join(audit(case.model, case.batch, training=False).notes)


def test_a_loss_that_no_operation_is_known_of_may_be_as_large_as_it_likes():
    """A sum over many entries is no power of a layer's size."""
    case = started(3)

    def loss(output):
        return 1e4 * (output.square().sum() + output.abs().sum())

    assert [one.code for one in audit(case.model, case.batch, loss=loss).findings] == []


def test_a_spectral_layer_is_measured_beside_the_transform_that_it_reads():
    """A Fourier transform makes 64 entries 64 times larger, in the square."""

    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv1d(1, 16, 1), nn.Conv1d(16, 1, 1)
            self.weight = nn.Parameter(torch.randn(16, 16, 8, dtype=torch.cfloat))

        def forward(self, x):
            modes = torch.fft.rfft(self.first(x))[..., :8]
            mixed = torch.einsum("bix,iox->box", modes, self.weight)
            return self.last(torch.fft.irfft(mixed, n=64))

    net, batch = Spectral(), torch.randn(8, 1, 64)
    fanin.initialize(net, batch, seed=0)
    assert said(audit(net, batch)) == []


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
