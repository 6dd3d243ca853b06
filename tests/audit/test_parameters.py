"""Each parameter's values, its gradient and its first step are those of plain torch."""

import copy

import pytest
import torch
from tests.audit.plain import moment, parameter
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name
from torch.nn.utils.parametrizations import weight_norm

from fanin import audit


def built():
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 5), nn.PReLU(), nn.Linear(5, 3)
    )


def squared(result):
    return result.square().mean()


def test_values_and_gradients_have_the_moments_of_plain_torch():
    """Of every parameter, in the model's order, and of every buffer of floats."""
    model, x = built(), torch.randn(9, 6)
    report = audit(model, x, loss=squared, training=True)
    twin = copy.deepcopy(model)
    squared(twin(x)).backward()
    names = [name for name, _ in model.named_parameters()]
    buffers = [name for name, one in model.named_buffers() if one.is_floating_point()]
    assert [one.name for one in report.parameters] == names + buffers
    for name, tensor in twin.named_parameters():
        found = parameter(report, name)
        assert found.second_moment == pytest.approx(moment(tensor), rel=1e-5, abs=1e-30)
        assert found.mean == pytest.approx(
            float(tensor.detach().double().mean()), rel=1e-5, abs=1e-8
        )
        assert found.gradient == pytest.approx(moment(tensor.grad), rel=1e-4, abs=1e-16)
        assert found.shape == tuple(tensor.shape)
        assert (found.trainable, found.dtype, found.finite) == (True, "float32", 1.0)
        assert found.zeros == pytest.approx(float((tensor == 0).double().mean()))


@pytest.mark.parametrize(
    ("name", "optimizer", "rate"),
    [("sgd", torch.optim.SGD, 0.1), ("adam", torch.optim.Adam, 0.001)],
)
def test_the_first_step_of_an_optimizer_is_foreseen(name, optimizer, rate):
    """rms(step) / rms(values), against a step that torch really makes."""
    model, x = built(), torch.randn(9, 6)
    report = audit(model, x, loss=squared, training=True, optimizer=name, learning_rate=rate)
    twin = copy.deepcopy(model)
    chosen = optimizer(twin.parameters(), lr=rate)
    squared(twin(x)).backward()
    before = {key: one.detach().double().clone() for key, one in twin.named_parameters()}
    chosen.step()
    assert (report.optimizer, report.learning_rate) == (name, rate)
    for key, after in twin.named_parameters():
        if before[key].abs().max() == 0:
            assert parameter(report, key).update is None
            continue
        step = moment(after.detach().double() - before[key]) ** 0.5
        expected = step / moment(before[key]) ** 0.5
        # The difference of two nearly equal numbers of single precision, by one step.
        assert parameter(report, key).update == pytest.approx(expected, rel=2e-3, abs=1e-8), key


def test_rows_of_a_table_that_were_not_looked_up_do_not_move():
    """Adam's step is not one of equal size everywhere: with no gradient there is none."""
    model, ids = nn.Sequential(nn.Embedding(50, 4), nn.Linear(4, 3)), torch.arange(10).view(5, 2)
    report = audit(model, ids, loss=squared, learning_rate=0.01)
    twin = copy.deepcopy(model)
    chosen = torch.optim.Adam(twin.parameters(), lr=0.01)
    squared(twin(ids)).backward()
    before = twin[0].weight.detach().clone()
    chosen.step()
    expected = (moment(twin[0].weight.detach() - before) / moment(before)) ** 0.5
    assert parameter(report, "0.weight").update == pytest.approx(expected, rel=1e-3)


def test_a_sparse_gradient_is_measured_as_the_whole_that_it_stands_for():
    """Its missing rows are zeros."""
    model, ids = nn.Embedding(50, 4, sparse=True), torch.tensor([[1, 2], [2, 3], [7, 9]])
    dense = nn.Embedding(50, 4, _weight=model.weight.detach().clone())
    found, expected = (audit(one, ids, loss=squared).parameters[0] for one in (model, dense))
    assert found.gradient == pytest.approx(expected.gradient, rel=1e-5)
    assert found.update == pytest.approx(expected.update, rel=1e-5)


def test_a_parameter_that_is_zero_has_no_ratio():
    """Nothing to compare a step with; its gradient is there all the same."""
    model, x = nn.Linear(6, 4), torch.randn(7, 6)
    nn.init.zeros_(model.bias)
    found = parameter(audit(model, x, loss=squared), "bias")
    assert found.update is None
    assert found.gradient > 0
    assert (found.second_moment, found.zeros) == (0, 1)


def test_a_parameter_that_no_gradient_reaches_has_none():
    """Frozen, and never run."""

    class Partly(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, x):
            return self.used(x)

    model = Partly()
    model.used.bias.requires_grad_(requires_grad=False)
    report = audit(model, torch.randn(7, 6), loss=squared)
    assert parameter(report, "used.weight").gradient > 0
    for name in ("used.bias", "idle.weight", "idle.bias"):
        assert parameter(report, name).gradient is None, name
        assert parameter(report, name).update is None, name
    assert not parameter(report, "used.bias").trainable
    assert parameter(report, "idle.bias").trainable


def test_a_tied_parameter_is_one_record_with_the_gradient_of_both_uses():
    """An embedding that is the readout too."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(11, 6)
            self.head = nn.Linear(6, 11, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids):
            return self.head(self.table(ids))

    model, ids = Tied(), torch.arange(8).view(4, 2)
    report = audit(model, ids, loss=squared)
    assert [one.name for one in report.parameters] == ["table.weight"]
    squared(model(ids)).backward()
    assert report.parameters[0].gradient == pytest.approx(moment(model.table.weight.grad), rel=1e-4)


def test_a_parametrized_weight_is_one_record_of_the_weight_itself():
    """weight_norm keeps a length and a direction; what multiplies is their product."""
    model, x = weight_norm(nn.Linear(6, 4)), torch.randn(7, 6)
    report = audit(model, x, loss=squared)
    found = parameter(report, "weight")
    assert found.second_moment == pytest.approx(moment(model.weight), rel=1e-4)
    assert found.shape == (4, 6)
    (gradient,) = torch.autograd.grad(squared(F.linear(x, w := model.weight, model.bias)), [w])
    assert found.gradient in (None, pytest.approx(moment(gradient), rel=1e-4))


def test_layers_of_equal_drawn_values_are_told():
    """``[layer] * 3`` by deep copies: they stay equal as long as their gradients are."""
    first = nn.Linear(6, 6)
    model = nn.Sequential(first, copy.deepcopy(first), nn.Linear(6, 6), copy.deepcopy(first))
    report = audit(model, torch.randn(7, 6))
    assert {one.name: one.same_as for one in report.parameters} == {
        "0.weight": "", "0.bias": "", "1.weight": "0.weight", "1.bias": "0.bias",
        "2.weight": "", "2.bias": "", "3.weight": "0.weight", "3.bias": "0.bias",
    }  # fmt: skip


def test_constants_are_equal_without_being_copies():
    """All biases are zero and all norms one: no news."""
    model = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 6), nn.LayerNorm(6))
    for index in (0, 2):
        nn.init.zeros_(model[index].bias)
    assert not any(one.same_as for one in audit(model, torch.randn(7, 6)).parameters)


def test_values_that_are_not_finite_are_counted():
    """The moments are of the others."""
    model = nn.Linear(4, 5)
    with torch.no_grad():
        model.weight[0, :2] = torch.tensor([float("nan"), float("inf")])
    found = parameter(audit(model, torch.randn(7, 4)), "weight")
    assert found.finite == 18 / 20
    finite = model.weight[model.weight.isfinite()]
    assert found.second_moment == pytest.approx(moment(finite), rel=1e-5)


def test_a_gradient_that_is_not_finite_is_not_a_number():
    """Rather than the moment of what is left."""
    model, x = nn.Linear(6, 4), torch.randn(7, 6)
    report = audit(model, x, loss=lambda result: result.abs().sqrt().sum() * float("inf"))
    found = parameter(report, "weight").gradient
    assert found != found  # noqa: PLR0124 - the only number that is not itself


def test_a_bfloat16_parameter_has_the_moments_of_its_values():
    """Summed in single precision."""
    model, x = nn.Linear(60, 40, dtype=torch.bfloat16), torch.randn(7, 60, dtype=torch.bfloat16)
    found = parameter(audit(model, x, loss=squared), "weight")
    assert found.second_moment == pytest.approx(moment(model.weight), rel=1e-5)
    assert found.dtype == "bfloat16"


def test_roles_are_those_of_the_trace():
    """What a parameter does is known as in a plan."""
    roles = {one.name: one.role for one in audit(built(), torch.randn(9, 6)).parameters}
    assert roles["1.weight"] == "norm_scale"
    assert roles["5.weight"] == "readout"
    assert roles["1.running_mean"] == "buffer"


def test_a_gradient_is_let_go_as_soon_as_it_is_measured():
    """All gradients at once are as much memory as the model."""
    model, held = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)), []

    def look(_gradient):
        held.extend(one for one in model.parameters() if one.grad is not None)

    model[0].weight.register_hook(look)
    report = audit(model, torch.randn(7, 6), loss=squared, spectrum=False)
    assert parameter(report, "2.weight").gradient > 0
    assert not held
