"""A finding is as severe as the worst that it explains, and its numbers say why."""

import pytest
import torch
from tests.audit.faults import nets
from tests.audit.faults.table import by_torch, of_gain, scale
from torch import nn

import fanin
from fanin import audit


def worst(report):
    return next(one for one in report.findings if one.severity == report.worst)


@pytest.mark.parametrize("seed", range(8))
def test_a_fade_is_an_error_whichever_measure_of_it_is_worse(seed):
    """Just over a factor of 1000 in E x², the collapse of the inputs counts all the same."""
    case = nets.plain(30)
    by_torch(case.model)
    torch.manual_seed(seed)
    chosen = torch.randperm(64)[:8]
    report = audit(case.model, case.batch[chosen], target=case.target[chosen], spectrum=False)
    assert report.worst == "error"


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 7, 9, 12, 16, 20, 30])
def test_the_numbers_of_a_fade_are_beyond_the_limit_that_they_name(depth):
    """A note is over 32, a warning over 1000, an error over a million, in words and in numbers."""
    case = nets.plain(depth)
    by_torch(case.model)
    finding = worst(audit(case.model, case.batch, target=case.target))
    limit = {"note": "32", "warning": "1,000", "error": "1,000,000"}[finding.severity]
    if " in all" in finding.measured:
        total = 1 / float(finding.measured.split(" by ")[-1].split(" ")[0])
        assert limit in finding.expected
        assert total > float(limit.replace(",", ""))
    else:
        factor = float(finding.measured.split(" a factor of ")[1].split(" ")[0].replace(",", ""))
        assert factor > {"note": 1, "warning": 1e3, "error": 1e6}[finding.severity]


def test_other_places_are_listed_once_and_without_the_first():
    """Who reads `also` looks elsewhere."""
    for depth in (3, 12, 30):
        case = nets.plain(depth)
        by_torch(case.model)
        for finding in audit(case.model, case.batch, target=case.target).findings:
            assert finding.where not in finding.also
            assert len(set(finding.also)) == len(finding.also)


def test_a_loss_of_hundreds_of_nats_is_an_error_at_the_layer_that_makes_it():
    """Ten times the limit is, also where a layer explains it."""
    case = nets.plain(1)
    fanin.initialize(case.model, case.batch, seed=0)
    with torch.no_grad():
        case.model[2].weight.mul_(1000)
    report = audit(case.model, case.batch, target=case.target)
    finding = worst(report)
    assert (finding.severity, finding.code, finding.where) == ("error", "outlier-layer", "2")


@pytest.mark.parametrize(("std", "code"), [(1.0, "exploding-signal"), (0.001, "vanishing-signal")])
def test_the_same_std_for_every_weight_is_told_where_it_begins(std, code):
    """No layer is odd beside the others: all of them are."""
    case = nets.plain(4, width=256)
    for module in case.model:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, std)
    finding = worst(audit(case.model, case.batch, target=case.target))
    assert (finding.severity, finding.code, finding.where) == ("error", code, "0")


@pytest.mark.parametrize("bias", [0.01, 0.1])
@pytest.mark.parametrize("size", [0, 1e-4])
def test_a_readout_of_next_to_nothing_is_silent_whatever_its_bias(bias, size):
    """It starts at its bias for every input, and learns from the first step."""
    case = nets.plain(3)
    of_gain(case.model, 2**0.5)
    scale(case.model, "6.weight", size)
    nn.init.normal_(case.model[6].bias, 0, bias)
    assert audit(case.model, case.batch, target=case.target).ok


def test_a_dominant_branch_is_not_told_beside_the_layer_that_makes_it_so():
    """One layer of a block x50: its writer is as it should be."""
    case = nets.language_model(8)
    fanin.initialize(case.model, case.batch, seed=0)
    with torch.no_grad():
        case.model.blocks[1].attention.value.weight.mul_(50)
    found = audit(case.model, case.batch, target=case.target).at_least("warning")
    assert [(one.code, one.where) for one in found] == [
        ("outlier-layer", "blocks.1.attention.value")
    ]
