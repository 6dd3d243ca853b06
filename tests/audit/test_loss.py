"""The loss that is run backward is the one that is said, and so is what knowing nothing costs."""

from dataclasses import dataclass
from math import log

import pytest
import torch
from tests.audit.plain import moment, parameter
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name

from fanin import FaninError, audit


def gradient_of(model, loss):
    """E g^2 of the first weight, by torch."""
    weight = next(model.parameters())
    return moment(torch.autograd.grad(loss, [weight])[0])


def assert_loss(model, report, expected):
    """The value, and the gradient that arrives at the first weight."""
    assert report.loss.value == pytest.approx(float(expected.detach()), rel=1e-6)
    found = report.parameters[0].gradient
    assert found == pytest.approx(gradient_of(model, expected), rel=1e-4)


def test_a_given_loss_of_the_result_is_taken_and_named():
    """``loss(result)``, without a target."""
    model, x = nn.Linear(6, 4), torch.randn(7, 6)

    def energy(result):
        return result.square().mean()

    report = audit(model, x, loss=energy)
    assert_loss(model, report, energy(model(x)))
    assert report.loss.said == "energy, as given"
    assert report.loss.uninformed is None


def test_a_given_loss_takes_the_target_where_there_is_one():
    """``loss(result, target)``, as torch's own losses."""
    model, x, target = nn.Linear(6, 4), torch.randn(7, 6), torch.randn(7, 4)
    report = audit(model, x, loss=nn.SmoothL1Loss(), target=target)
    assert_loss(model, report, F.smooth_l1_loss(model(x), target))
    assert report.loss.said == "SmoothL1Loss, as given"


def test_a_lambda_has_no_name_to_say():
    """Rather than ``<lambda>``."""
    report = audit(nn.Linear(6, 4), torch.randn(7, 6), loss=lambda result: result.sum())
    assert report.loss.said == "the loss that was given"


def test_whole_numbers_along_all_but_the_last_axis_are_classes_of_the_last():
    """A language model: [batch, positions, classes] and [batch, positions]."""
    model, x = nn.Linear(6, 9), torch.randn(7, 5, 6)
    target = torch.randint(9, (7, 5))
    report = audit(model, x, target=target)
    assert_loss(model, report, F.cross_entropy(model(x).flatten(0, 1), target.flatten()))
    assert report.loss.said == "cross-entropy over the last axis, inferred"
    assert (report.loss.classes, report.loss.uninformed) == (9, pytest.approx(log(9)))


def test_whole_numbers_without_the_second_axis_are_classes_of_the_second():
    """Segmentation: [batch, classes, height, width] and [batch, height, width]."""
    model, x = nn.Conv2d(3, 5, 1), torch.randn(2, 3, 4, 6)
    target = torch.randint(5, (2, 4, 6))
    report = audit(model, x, target=target)
    assert_loss(model, report, F.cross_entropy(model(x), target))
    assert report.loss.said == "cross-entropy over the second axis, inferred"
    assert (report.loss.classes, report.loss.uninformed) == (5, pytest.approx(log(5)))


def test_positions_that_a_loss_leaves_out_are_left_out():
    """-100, torch's own sign for it."""
    model, x = nn.Linear(6, 9), torch.randn(7, 5, 6)
    target = torch.randint(9, (7, 5)).masked_fill(torch.rand(7, 5) < 0.5, -100)
    report = audit(model, x, target=target)
    assert_loss(model, report, F.cross_entropy(model(x).flatten(0, 1), target.flatten()))
    assert report.loss.uninformed == pytest.approx(log(9))


def test_a_target_of_floats_of_the_outputs_shape_is_a_regression():
    """Its variance is what the best constant loses."""
    model, x = nn.Linear(6, 4), torch.randn(7, 6)
    target = 3 + 2 * torch.randn(7, 4)
    report = audit(model, x, target=target)
    assert_loss(model, report, F.mse_loss(model(x), target))
    assert report.loss.said == "mean squared error, inferred"
    assert report.loss.uninformed == pytest.approx(float(target.double().var(correction=0)))


def test_truth_values_of_the_outputs_shape_are_labels_of_logits():
    """Yes or no: ln 2 is what knowing nothing costs."""
    model, x, target = nn.Linear(6, 4), torch.randn(7, 6), torch.rand(7, 4) < 0.3
    report = audit(model, x, target=target)
    assert_loss(model, report, F.binary_cross_entropy_with_logits(model(x), target.float()))
    assert report.loss.said == "binary cross-entropy of logits, inferred"
    assert report.loss.uninformed == pytest.approx(log(2))


def test_truth_values_are_labels_of_probabilities_where_all_outputs_are():
    """Behind a sigmoid there is no logit."""
    model, x = nn.Sequential(nn.Linear(6, 4), nn.Sigmoid()), torch.randn(7, 6)
    target = torch.rand(7, 4) < 0.3
    report = audit(model, x, target=target)
    assert_loss(model, report, F.binary_cross_entropy(model(x), target.float()))
    assert report.loss.said == "binary cross-entropy of outputs between 0 and 1, inferred"
    assert report.loss.uninformed == pytest.approx(log(2))


def test_a_readout_of_zeros_gives_logits_and_not_probabilities():
    """Zero is the logit of a half, and the probability of a certainty."""
    model, target = nn.Linear(6, 1), torch.arange(7)[:, None] % 2 == 0
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    report = audit(model, torch.randn(7, 6), target=target)
    assert report.loss.value == pytest.approx(log(2))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_loss_of_probabilities_has_the_price_of_a_half(reduction):
    """`nn.BCELoss` behind a sigmoid, with a weight for each class."""
    weight = torch.tensor([1.0, 2.0, 0.5, 4.0])
    model, x = nn.Sequential(nn.Linear(6, 4), nn.Sigmoid()), torch.randn(7, 6)
    report = audit(model, x, loss=nn.BCELoss(weight, reduction=reduction), target=torch.ones(7, 4))
    assert report.loss.uninformed == pytest.approx(log(2) * float(weight.mean()))
    expected = F.binary_cross_entropy(model(x), torch.ones(7, 4), weight)
    assert report.loss.observed == pytest.approx(float(expected.detach()), rel=1e-6)


def test_without_a_target_a_random_direction_stands_for_a_loss_and_says_so():
    """Its gradient at the output has the length 1 / batch for each input, whatever the output."""
    model, x = nn.Linear(6, 4), torch.randn(7, 6)
    report = audit(model, x)
    assert report.loss.said == "a random direction of the output, not a loss"
    assert report.loss.uninformed is None
    gradient = report.places[-1].signal.gradient
    assert gradient == pytest.approx((1 / 7 / 4**0.5) ** 2, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_random_direction_does_not_depend_on_the_size_of_the_output(scale):
    """Otherwise an exploding net would seem to have exploding gradients for that reason alone."""
    model, x = nn.Linear(6, 4), torch.randn(7, 6)
    plain = audit(model, x).places[-1].signal.gradient
    with torch.no_grad():
        model.weight.mul_(scale)
    assert audit(model, x).places[-1].signal.gradient == pytest.approx(plain, rel=1e-6)


def test_the_size_of_the_output_is_measured_beside_the_loss():
    """Logits of std 1 cost more than knowing nothing."""
    model, x = nn.Linear(6, 9), torch.randn(7, 6)
    report = audit(model, x, target=torch.randint(9, (7,)))
    assert report.loss.output_std == pytest.approx(moment(model(x)) ** 0.5, rel=1e-5)


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


class WithLabels(nn.Module):
    """As Hugging Face's: the loss is computed inside where labels are given."""

    def __init__(self, loss):
        super().__init__()
        self.head, self.own = nn.Linear(6, 9), loss

    def forward(self, x, labels=None):
        logits = self.head(x)
        return Output(logits, None if labels is None else self.own(logits, labels))


INSIDE = {
    "cross entropy": (
        F.cross_entropy, torch.arange(7) % 9, log(9), 9,
    ),
    "several labels": (
        F.binary_cross_entropy_with_logits, torch.arange(63.0).view(7, 9) % 2, log(2), None,
    ),
    "regression": (
        F.mse_loss, torch.arange(63.0).view(7, 9), float(torch.arange(63.0).var(correction=0)),
        None,
    ),
    "no known loss": (lambda logits, labels: (logits - labels).abs().mean(), torch.ones(7, 9),
                      None, None),
}  # fmt: skip


@pytest.mark.parametrize("case", INSIDE)
def test_the_models_own_loss_is_taken_where_its_result_has_one(case):
    """And what knowing nothing costs is read off the loss's operation, inside the model."""
    own, labels, uninformed, classes = INSIDE[case]
    model, x = WithLabels(own), torch.randn(7, 6)
    report = audit(model, {"x": x, "labels": labels})
    assert_loss(model, report, own(model.head(x), labels))
    assert report.loss.said == "the model's own loss"
    assert report.loss.classes == classes
    expected = None if uninformed is None else pytest.approx(uninformed)
    assert report.loss.uninformed == expected
    assert report.loss.output_std == pytest.approx(moment(model.head(x)) ** 0.5, rel=1e-5)


def test_a_target_is_compared_with_the_logits_of_a_result():
    """Of several tensors in a result, these are what a loss is of."""
    model, x = WithLabels(F.cross_entropy), torch.randn(7, 6)
    target = torch.randint(9, (7,))
    report = audit(model, x, target=target)
    assert_loss(model, report, F.cross_entropy(model(x).logits, target))
    given = audit(model, x, loss=F.cross_entropy, target=target)
    assert_loss(model, given, F.cross_entropy(model(x).logits, target))


def test_two_losses_in_one_run_have_no_one_price_of_knowing_nothing():
    """An auxiliary head: rather nothing than a wrong number."""
    model, x, target = nn.Linear(6, 9), torch.randn(7, 6), torch.randint(9, (7,))

    def both(result):
        return F.cross_entropy(result, target) + 0.3 * F.cross_entropy(result / 2, target)

    report = audit(model, x, loss=both)
    assert_loss(model, report, both(model(x)))
    assert (report.loss.uninformed, report.loss.classes) == (None, None)


def test_a_loss_of_one_entry_need_not_be_without_axes():
    """``[1]`` is one number too."""
    model, x = nn.Linear(6, 4), torch.randn(7, 6)
    report = audit(model, x, loss=lambda result: result.square().mean().reshape(1))
    assert_loss(model, report, model(x).square().mean())


def test_a_model_that_returns_a_number_is_its_own_loss():
    """What it returns is run backward."""

    class Energy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x):
            return self.layer(x).square().mean()

    model, x = Energy(), torch.randn(7, 6)
    report = audit(model, x)
    assert_loss(model, report, model(x))
    assert report.loss.said == "the model's result, a scalar"


def test_the_operations_of_a_loss_are_no_places_of_the_model():
    """The report is of the model."""
    model, x, target = nn.Linear(6, 9), torch.randn(7, 6), torch.randint(9, (7,))
    assert [one.name for one in audit(model, x, target=target).places] == ["linear"] or [
        one.weight for one in audit(model, x, target=target).places
    ] == ["weight"]


def test_a_result_without_gradient_is_said():
    """A frozen model is no error: its forward numbers stand."""
    model, x = nn.Linear(6, 4).requires_grad_(requires_grad=False), torch.randn(7, 6)
    report = audit(model, x)
    assert any("gradients: none" in note for note in report.notes)
    assert parameter(report, "weight").gradient is None
    assert report.places[0].signal.second_moment == pytest.approx(moment(model(x)), rel=1e-5)


def test_a_backward_pass_that_fails_is_said_and_the_forward_numbers_stand():
    """An operation written in place over what its derivative needs."""

    class Spoiled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x):
            kept = self.layer(x).exp()
            result = kept * 2
            kept.add_(1)
            return result

    report = audit(Spoiled(), torch.randn(7, 6))
    assert any("the backward pass failed" in note for note in report.notes)
    assert report.places[0].signal.second_moment > 0


def test_a_given_loss_sees_the_whole_result_and_torch_s_own_its_logits():
    """``loss=lambda out, y: F.cross_entropy(out.logits, y)`` is what the error's fix says."""
    model, x = WithLabels(F.cross_entropy), torch.randn(7, 6)
    target = torch.randint(9, (7,))
    for loss in (lambda out, wanted: F.cross_entropy(out.logits, wanted), nn.CrossEntropyLoss()):
        report = audit(model, x, loss=loss, target=target)
        assert_loss(model, report, F.cross_entropy(model(x).logits, target))


def test_a_target_that_the_model_s_own_loss_leaves_unused_is_said():
    """Labels in the batch are the model's own."""
    model, x = WithLabels(F.cross_entropy), torch.randn(7, 6)
    labels = torch.randint(9, (7,))
    report = audit(model, {"x": x, "labels": labels}, target=labels)
    assert "target= was not used" in report.loss.said


@pytest.mark.parametrize("wrong", [9, -1])
def test_a_class_that_the_output_does_not_have_is_refused_in_words(wrong):
    """torch raises an IndexError from within."""
    model, x = nn.Linear(6, 9), torch.randn(7, 6)
    with pytest.raises(FaninError, match=rf"class {wrong} of 9"):
        audit(model, x, target=torch.full((7,), wrong))


@pytest.mark.parametrize(
    ("target", "fix"),
    [
        (torch.zeros(7), r"target\[:, None\]"),
        (torch.zeros(7) == 0, r"target\[:, None\]"),
        ([0.0] * 7, "as_tensor"),
    ],
)
def test_a_target_that_nearly_fits_is_refused_with_how_to_mend_it(target, fix):
    """One axis too few, and no tensor."""
    with pytest.raises(FaninError, match=fix):
        audit(nn.Linear(6, 1), torch.randn(7, 6), target=target)
