"""A remedy is code that can be pasted, fits a terminal, and touches what it names alone."""

import pytest
import torch
from torch import nn

import fanin
from fanin import audit
from fanin._audit import _remedies
from fanin.initializers import Normal


def done(remedy: str, model: nn.Module, batch: object) -> None:
    exec(remedy, {"fanin": fanin, "torch": torch, "model": model, "batch": batch})  # noqa: S102


NAMES = [f"transformer.layers.{k}.self_attn.in_proj_weight" for k in range(12)]


@pytest.mark.parametrize(
    "remedy",
    [
        _remedies.redraw(NAMES),
        _remedies.redraw(NAMES[:1]),
        _remedies.redraw_as([(name, Normal(0.02)) for name in NAMES]),
        _remedies.redraw_as([(name, 0.0) for name in NAMES[:1]]),
        _remedies.ones(NAMES),
        _remedies.ones(NAMES[:1]),
        _remedies.trainable(NAMES),
        _remedies.advice("word " * 60),
    ],
)
def test_a_remedy_is_python_of_lines_that_fit_beside_an_indent(remedy):
    """A report has 80 columns, and indents it by four."""
    compile(remedy, "remedy", "exec")
    assert max(map(len, remedy.splitlines())) <= 76


def test_a_report_of_many_copies_fits_a_terminal():
    """`nn.TransformerEncoder` copies its layer, and each matrix of each copy is named."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model, batch = nn.TransformerEncoder(layer, 3), torch.randn(4, 5, 16)
    report = audit(model, batch)
    assert [one.code for one in report.at_least("warning")] == ["identical-layers"]
    assert max(map(len, str(report).splitlines())) <= 80
    done(report.findings[0].remedy, model, batch)
    assert audit(model, batch).ok


def test_a_remedy_for_all_that_there_is_runs_too():
    """A rule for the others would match nothing, and a rule that does is an error."""
    model, batch = nn.Embedding(50, 8), torch.randint(50, (16,))
    nn.init.normal_(model.weight, 0, 1e12)
    (finding,) = audit(model, batch).at_least("error")
    done(finding.remedy, model, batch)
    assert audit(model, batch).ok


@pytest.mark.parametrize("is_trained", [True, False])
def test_a_remedy_leaves_alone_what_it_does_not_name(is_trained):
    """Also where a plan would keep what it names, since it is not trained."""
    model = nn.Sequential(
        *(layer for _ in range(6) for layer in (nn.Linear(32, 32), nn.ReLU())), nn.Linear(32, 5)
    )
    batch = torch.randn(64, 32)
    fanin.initialize(model, batch, seed=0)
    with torch.no_grad():
        model[4].weight.mul_(10)
    model[4].weight.requires_grad_(is_trained)
    before = {name: one.clone() for name, one in model.named_parameters()}
    (finding,) = audit(model, batch, target=torch.arange(64) % 5).at_least("warning")
    done(finding.remedy, model, batch)
    changed = [n for n, one in model.named_parameters() if not torch.equal(one, before[n])]
    assert changed == ["4.weight"]
    assert audit(model, batch, target=torch.arange(64) % 5).ok
