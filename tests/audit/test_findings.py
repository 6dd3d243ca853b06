"""What the audit says, and what it keeps quiet about: starts that look odd and are meant."""

import re
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest
import torch
from tests.audit.faults import nets
from tests.audit.faults.table import all_biases, of_gain, scale, set_to
from torch import nn

import fanin
from fanin._audit import Limits, Report, audit

ROOT = Path(__file__).parents[2]


def started(case: nets.Case) -> nets.Case:
    fanin.initialize(case.model, case.batch, seed=0)
    return case


def codes(report: Report, least: str = "note") -> list[str]:
    return [finding.code for finding in report.at_least(least)]


def look(case: nets.Case, **options) -> Report:
    return audit(case.model, case.batch, target=case.target, **options)


# What is meant, or harmless -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["head.weight", "blocks.1.down.weight", "blocks.0.attention.out.weight"]
)
def test_a_zero_readout_or_residual_writer_is_silent(name):
    """Both are common on purpose; the zero gradients behind them pass with the first step."""
    case = started(nets.language_model())
    set_to(case.model, name, 0)
    assert look(case).ok


def test_a_last_gamma_or_a_branch_scale_of_zero_is_silent():
    """Goyal et al. 2017 and De & Smith 2020 start branches at nothing."""
    case = started(nets.residual(4, norm=True, scale=0.1))
    set_to(case.model, "blocks.2.scale", 0)
    assert look(case).ok


def test_a_zero_adapter_beside_a_layer_is_silent():
    """LoRA: the base layer goes around B, and B has a gradient."""

    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base, self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 4), nn.Linear(4, 64)
            nn.init.zeros_(self.b.weight)

        def forward(self, x):
            return self.base(x) + self.b(self.a(x))

    net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), Adapted(), nn.ReLU(), nn.Linear(64, 10))
    batch = torch.randn(64, 20)
    fanin.initialize(net, batch, seed=0)
    assert not net[2].b.weight.any()
    assert audit(net, batch, target=torch.arange(64) % 10).ok


@pytest.mark.parametrize("factor", [10, 0.1])
def test_the_size_of_a_weight_before_a_norm_is_no_forward_fault(factor):
    """The norm divides by it."""
    case = started(nets.plain_norm(4))
    scale(case.model, "4.weight", factor)
    assert look(case).ok


def test_queries_of_any_size_behind_a_norm_are_the_architecture_s_choice():
    """Normalized queries and keys have scores of a size that no start changes: at most a note."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key = nn.Linear(64, 64), nn.Linear(64, 64)
            self.value, self.norm = nn.Linear(64, 64), nn.LayerNorm(64)

        def forward(self, x):
            scores = 5 * self.norm(self.query(x)) @ self.norm(self.key(x)).transpose(1, 2) / 8
            return x + torch.softmax(scores, -1) @ self.value(x)

    net, batch = nn.Sequential(Normed(), nn.Linear(64, 8)), torch.randn(8, 24, 64)
    fanin.initialize(net, batch, seed=0)
    found = audit(net, batch)
    assert "one-hot-attention" in codes(found)
    assert found.ok


def test_a_short_net_of_torch_s_start_has_a_note_at_most():
    """Three layers lose a factor of a hundred: they train, if slowly."""
    found = look(nets.plain(2))
    assert codes(found) == ["vanishing-signal"]
    assert found.ok


@pytest.mark.parametrize("seed", range(6))
def test_a_fair_draw_of_a_narrow_deep_net_is_not_blamed(seed):
    """8 units and 24 layers: the log of E x² strays by 5 from draw to draw, without any fault."""
    case = nets.plain(24, width=8)
    torch.manual_seed(seed)
    for module in case.model:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, sqrt(2 / module.in_features))
            nn.init.zeros_(module.bias)
    found = [one.code for one in look(case).findings if one.severity != "note"]
    assert "vanishing-signal" not in found
    assert "exploding-signal" not in found
    assert "vanishing-gradient" not in found


def test_a_mask_of_minus_infinity_is_not_a_broken_number():
    """The scores of a causal attention hold -inf before the softmax."""

    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))

        def forward(self, x):
            scores = self.query(x) @ self.key(x).transpose(1, 2) / 32**0.5
            scores = scores + torch.full((9, 9), -torch.inf).triu(1)
            return x + torch.softmax(scores, -1) @ self.value(x)

    net, batch = nn.Sequential(Causal(), nn.Linear(32, 5)), torch.randn(4, 9, 32)
    fanin.initialize(net, batch, seed=0)
    assert audit(net, batch).ok


def test_units_that_see_few_inputs_die_by_chance():
    """Of two inputs, a ReLU unit is shut for both once in four."""
    case = started(nets.plain(2, count=2))
    assert "dead-units" not in codes(look(case))


def test_equal_inputs_are_not_the_fault_of_the_units():
    """Nothing varies, so every unit is constant."""
    case = started(nets.plain(3))
    batch = torch.randn(1, nets.INPUTS).expand(64, -1)
    assert "dead-units" not in codes(audit(case.model, batch, target=case.target))


def test_copies_that_are_not_both_trained_are_silent():
    """A teacher or a target network is a copy by design."""
    case = started(nets.plain(6))
    with torch.no_grad():
        case.model.get_parameter("6.weight").copy_(case.model.get_parameter("4.weight"))
    case.model.get_parameter("6.weight").requires_grad_(False)
    assert "identical-layers" not in codes(look(case))


def test_a_model_of_mostly_frozen_parameters_is_silent():
    """That is what fine-tuning of a part looks like."""
    case = started(nets.plain(6))
    for parameter in list(case.model.parameters())[:-2]:
        parameter.requires_grad_(False)
    assert "frozen-parameter" not in codes(look(case))


# What is told -----------------------------------------------------------------------------------


def test_one_fault_is_one_finding_and_the_loss_is_told_there():
    """A readout of std 1: the layer is named, and what it costs; the loss is not named again."""
    case = started(nets.language_model())
    nn.init.normal_(case.model.head.weight)
    (finding,) = look(case).findings
    assert finding.where == "head"
    assert "nats" in finding.reason


def test_two_faults_are_two_findings():
    """The second is not a consequence of the first."""
    case = started(nets.plain(8))
    scale(case.model, "4.weight", 10)
    scale(case.model, "12.weight", 10)
    found = [(one.code, one.where) for one in look(case).findings if one.severity != "note"]
    assert found == [("outlier-layer", "4"), ("outlier-layer", "12")]


def test_a_trend_that_begins_late_is_told_where_it_begins():
    """Ten fair layers, then twenty of torch's: the eleventh is the first at fault."""
    case = nets.plain(30, width=128)
    torch.manual_seed(0)
    of_gain(case.model, sqrt(2))
    for module in list(case.model)[20:-1]:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, sqrt(1 / 3 / module.in_features))
    finding = look(case).findings[0]
    assert finding.code == "vanishing-signal"
    # One fair layer more or less is within the noise of a draw.
    assert finding.where in ("18", "20", "22")


def test_a_scale_of_zero_that_is_frozen_is_an_error():
    """Its branch is closed for good."""
    case = started(nets.residual(4, norm=True, scale=0.1))
    set_to(case.model, "blocks.2.scale", 0)
    case.model.get_parameter("blocks.2.scale").requires_grad_(False)
    finding = look(case).findings[0]
    assert (finding.severity, finding.code) == ("error", "frozen-parameter")
    assert finding.where == "blocks.2.scale"


def test_targets_far_from_zero_are_noted_with_what_to_do():
    """Of a mean squared error the excess is the targets' mean: no layer is at fault."""
    case = started(nets.plain(3))
    target = 50 + torch.randn(64, nets.CLASSES)
    found = audit(case.model, case.batch, target=target)
    assert codes(found) == ["off-centre-targets"]
    assert found.ok


def test_zero_queries_are_noted_as_uniform_attention():
    """Some start so on purpose."""
    case = started(nets.language_model())
    for block in case.model.blocks:
        set_to(block, "attention.query.weight", 0)
    found = look(case)
    assert codes(found) == ["uniform-attention"]


def test_batch_norm_over_two_numbers_is_noted_and_says_nothing_of_gradients():
    """(a, b) becomes (1, -1) whatever they are, and the gradient of that is nothing."""
    case = started(nets.plain_norm(6))
    found = audit(case.model, case.batch[:2], target=case.target[:2])
    assert "small-batch" in codes(found)
    assert found.ok


def test_gradients_fade_where_the_signal_does_not():
    """A sigmoid of large gain keeps E x², and passes back an eighteenth at each layer."""
    case = nets.plain(8, nn.Sigmoid)
    of_gain(case.model, 1.0)
    growths = {one.direction: one for one in look(case).growths}
    assert growths["backward"].per_layer < 0.1 < growths["forward"].per_layer


def test_an_overflow_is_told_at_the_first_operation_that_has_it():
    """What comes after it is not finite either, and not at fault."""

    class Overflowing(nn.Module):
        def forward(self, x):
            return torch.exp(1000 * x)

    net = nn.Sequential(nn.Linear(20, 64), Overflowing(), nn.Linear(64, 5))
    finding = audit(net, torch.randn(8, 20)).findings[0]
    assert finding.code == "not-finite"
    assert finding.where.startswith("1")


def test_an_empty_parameter_is_told():
    """A placeholder of a shard: a start of it does nothing, in silence."""

    class Sharded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Linear(20, 5)
            self.rest = nn.Linear(0, 0)

        def forward(self, x):
            return self.weight(x)

    with pytest.warns(UserWarning, match="zero-element"):
        net = Sharded()
    assert "empty-parameter" in codes(audit(net, torch.randn(4, 20)))


def test_a_layer_of_no_effect_has_no_gradient():
    """What is multiplied by an exact zero that is no parameter."""

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three = (nn.Linear(20, 20) for _ in range(3))

        def forward(self, x):
            return self.three(self.one(x) + 0.0 * self.two(x))

    found = audit(Cut(), torch.randn(8, 20))
    assert ("no-gradient", "two.weight") in [(one.code, one.where) for one in found.findings]


def test_saturation_by_biases_is_told_and_cured_by_them():
    """The weights are fair; the remedy leaves them."""
    case = started(nets.plain(3, nn.Tanh))
    set_to(case.model, "2.bias", 5)
    finding = next(one for one in look(case).findings if one.severity != "note")
    assert finding.code == "saturated-units"
    assert finding.where == "2"
    assert '"2.bias": 0' in finding.remedy


def test_all_findings_are_within_80_columns_of_code_that_compiles():
    """A remedy is pasted as it stands."""
    case = nets.plain(30)
    all_biases(case.model, 0.1)
    for finding in look(case).findings:
        compile(finding.remedy, "<remedy>", "exec")
        assert finding.where
        assert finding.measured
        assert finding.expected
        assert finding.reason.endswith(".")


def test_every_code_is_in_the_reference():
    """Who reads a finding can look it up."""
    page = (ROOT / "docs/reference/findings.md").read_text()
    sources = (ROOT / "src/fanin/_audit/_findings").glob("*.py")
    text = "".join(source.read_text() for source in sources)
    known = set(re.findall(r'code="([a-z-]+)"', text))
    known |= set(re.findall(r'"([a-z-]+)" if \w+ else "[a-z-]+",\n +severity', text))
    known |= {"vanishing-signal", "exploding-signal", "collapsed-inputs", "off-centre-targets"}
    known |= {"vanishing-gradient", "exploding-gradient", "initial-loss"}
    assert {code for code in known if f"\n### {code}\n" not in page} == set()
    assert set(re.findall(r"\n### ([a-z-]+)\n", page)) <= known


def test_norm_scales_that_were_drawn_are_the_cause_and_not_what_they_cause():
    """A rule that draws all parameters from N(0, 0.02): a norm then passes on next to nothing."""
    case = started(nets.plain_norm(6))
    for module in case.model:
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.weight, 0, 0.02)
    finding, *rest = look(case).findings
    assert (finding.code, finding.where) == ("drawn-norm", "2.weight")
    assert [one.code for one in rest if one.severity != "note"] == []
    exec(finding.remedy, {"torch": torch, "model": case.model})  # noqa: S102
    assert look(case).ok


def test_the_same_trend_in_several_runs_is_one_finding():
    """At the first of them, with the others beside it."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nets.plain(12).model, nets.plain(12).model

        def forward(self, x):
            return self.left(x) + self.right(x)

    (finding,) = (
        one for one in audit(Two(), torch.randn(16, 20)).findings if one.severity != "note"
    )
    assert finding.where.startswith("left.")
    assert any(name.startswith("right.") for name in finding.also)


def test_a_direction_of_which_one_step_is_read_has_no_gradient_for_its_memory():
    """`states[:, -1]` reads the backward direction after its first step: its state was zero."""

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(20, 16, batch_first=True, bidirectional=True)
            self.head = nn.Linear(32, 5)

        def forward(self, x):
            return self.head(self.rnn(x)[0][:, -1])

    net, batch = Last(), torch.randn(8, 7, 20)
    fanin.initialize(net, batch, seed=0)
    (finding,) = (one for one in audit(net, batch).findings if one.severity != "note")
    assert (finding.code, finding.where) == ("no-gradient", "rnn.weight_hh_l0_reverse")


def test_a_table_that_is_added_to_the_scores_is_named_where_it_makes_them_large():
    """Relative positions of std 10: no query or key is at fault, and drawing the table cures it."""

    class Relative(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))
            self.positions = nn.Embedding(17, 1)

        def forward(self, x):
            far = torch.arange(9)[:, None] - torch.arange(9) + 8
            scores = self.query(x) @ self.key(x).transpose(1, 2) / 32**0.5
            scores = scores + self.positions(far).squeeze(-1)
            return x + torch.softmax(scores, -1) @ self.value(x)

    net, batch = nn.Sequential(Relative(), nn.Linear(32, 5)), torch.randn(4, 9, 32)
    fanin.initialize(net, batch, seed=0)
    with torch.no_grad():
        net[0].positions.weight.mul_(500)
    finding = next(one for one in audit(net, batch).findings if one.code == "one-hot-attention")
    assert finding.where == "0.positions"
    exec(finding.remedy, {"fanin": fanin, "model": net, "batch": batch})  # noqa: S102
    assert audit(net, batch).ok


# Limits -----------------------------------------------------------------------------------------


def test_limits_move_the_thresholds():
    """A factor of 18 in one layer is a finding for who asks for less."""
    case = replace(started(nets.plain(3)), target=None)
    scale(case.model, "2.weight", 4.2)
    assert look(case).ok
    assert "outlier-layer" in codes(look(case, limits=Limits(total=50.0)))


def test_several_draws_are_judged_together():
    """Numbers are medians over draws; the plan is sound, so is the verdict."""
    case = nets.plain(6)
    plan = fanin.plan(case.model, case.batch)
    assert look(case, plan=plan, seed=0, draws=3).ok


@pytest.mark.parametrize(
    "wrong", [{"total": 0.5}, {"dead": 1.5}, {"total": 1e9}, {"entropy": 0.0}, {"slowest": "a"}]
)
def test_impossible_limits_are_refused(wrong):
    """At construction, in one sentence."""
    with pytest.raises(fanin.FaninError, match="no limit"):
        Limits(**wrong)
