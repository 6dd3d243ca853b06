"""Audits in a test: a start that is not healthy fails it, with the findings as its text."""

from typing import Any

from torch import nn

from fanin._audit._audit import audit
from fanin._audit._print import findings_text, verdict
from fanin._audit._records import Severity
from fanin._audit._report import Report

__all__ = ["assert_healthy"]


def assert_healthy(
    model: nn.Module, batch: object, *, severity: Severity = "warning", **audit_arguments: Any
) -> Report:
    """The report of `fanin.audit`, if no finding is of this severity or worse.

    ``audit_arguments`` are those of `fanin.audit`: loss, target, training, plan, draws, limits ...

    Raises:
        AssertionError: with the findings: where, measured against expected, reason, remedy.
        FaninError: where the model cannot be audited.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    >>> assert_healthy(net, torch.randn(32, 64), severity="error").worst
    """
    __tracebackhide__ = True  # pytest then shows the line of the test
    report = audit(model, batch, **audit_arguments)
    worse = report.at_least(severity)
    if worse:
        raise AssertionError(f"{report.model} is {verdict(report)}\n\n{findings_text(worse)}")
    return report
