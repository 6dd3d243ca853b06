"""Faults are put into healthy starts: each is found, once, in the right place, and cured."""

import pytest
import torch
from tests.audit.faults.nets import Case
from tests.audit.faults.table import FAULTS, Fault

import fanin
from fanin._audit import Report, audit


def started(fault: Fault) -> Case:
    torch.manual_seed(0)
    case = fault.case()
    if fault.plan:
        fanin.initialize(case.model, case.batch, seed=0)
    return case


def audited(fault: Fault, case: Case) -> Report:
    target = case.target if fault.loss else None
    return audit(case.model, case.batch, loss=case.loss, target=target)


def said(report: Report) -> list[tuple[str, str, str]]:
    return [(one.severity, one.code, one.where) for one in report.findings]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found_once_in_the_right_place_and_its_remedy_cures_it(fault: Fault):
    """Before: nothing worse than a note. With it: its code, its place. After the remedy: gone."""
    case = started(fault)
    if fault.curable:
        assert audited(fault, case).ok, said(audited(fault, case))
    fault.put(case.model)
    found = audited(fault, case)
    assert (fault.severity, fault.code, fault.where) in said(found), said(found)
    worse = [one for one in found.findings if one.severity != "note" and one.code != fault.code]
    assert [one.code for one in worse] == list(fault.beside), said(found)
    finding = next(one for one in found.findings if one.code == fault.code)
    if not fault.curable:
        assert finding.remedy.startswith("# ")
        return
    names = {"fanin": fanin, "torch": torch, "model": case.model, "batch": case.batch}
    exec(finding.remedy, names)  # noqa: S102 - that it can be pasted and run is the claim
    after = audited(fault, case)
    assert fault.code not in [one.code for one in after.findings], said(after)
    assert after.ok, said(after)


def test_the_suite_has_at_least_25_faults_and_most_of_the_codes():
    """A suite that shrinks must say so."""
    assert len(FAULTS) >= 25
    assert len({fault.code for fault in FAULTS}) >= 20
