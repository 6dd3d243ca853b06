"""JUnit XML as CI systems read it: suites of tests with at most one failure each."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.audit import samples

from fanin._audit import _findings
from fanin._audit._junit import CHECKS as ALL_CHECKS
from fanin._audit._junit import junit_xml
from fanin._audit._print import report_text

CHECKS = ["vanishing-signal", "initial-loss", "not-finite"]


def suite(report, **options):
    root = ElementTree.fromstring(junit_xml(report, **options))  # noqa: S314 - our own text
    assert root.tag == "testsuites"
    (only,) = root
    return only


def failed(report, **options):
    tests = suite(report, **options).iter("testcase")
    return [test.get("name") for test in tests if test.find("failure") is not None]


@pytest.mark.parametrize("sample", samples.ALL, ids=lambda one: one.__name__)
@pytest.mark.parametrize("strict", [False, True])
def test_the_text_has_the_form_that_ci_reads(sample, strict):
    """Names and counts of the suite, a class and a name for each test, and no tag unknown."""
    found = suite(sample(), checks=CHECKS, strict=strict)
    tests = found.findall("testcase")
    failures = [test.findall("failure") for test in tests]
    assert int(found.get("tests")) == len(tests)
    assert int(found.get("failures")) == sum(map(len, failures))
    assert max(map(len, failures)) <= 1
    assert all(test.get("name") and test.get("classname") for test in tests)
    known = ["properties", *["testcase"] * len(tests), "system-out"]  # in the schema's order
    assert [child.tag for child in found] == known


def test_what_was_looked_at_and_is_well_is_a_test_that_passed():
    """Else a healthy model would be a suite without tests, which CI takes for a broken one."""
    found = suite(samples.healthy(), checks=CHECKS)
    assert [test.get("name") for test in found.iter("testcase")] == CHECKS
    assert failed(samples.healthy(), checks=CHECKS) == []


def test_the_tests_are_all_kinds_of_findings():
    """A kind that is not among them would be no test until it fails."""
    files = Path(_findings.__file__).parent.glob("*.py")
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    assert sorted(set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', code))) == sorted(ALL_CHECKS)
    assert len(suite(samples.healthy()).findall("testcase")) == len(ALL_CHECKS)


def test_an_error_fails_and_a_warning_only_if_strict():
    """A note never does."""
    assert failed(samples.transformer()) == ["initial-loss"]
    assert failed(samples.transformer(), strict=True) == ["initial-loss", "one-hot-attention"]


def test_what_does_not_fail_is_still_to_be_read():
    """As the output of its test."""
    tests = suite(samples.transformer()).iter("testcase")
    texts = {test.get("name"): test.findtext("system-out") for test in tests}
    assert "few keys are seen" in texts["one-hot-attention"]


def test_findings_of_one_kind_are_one_failure_with_all_of_them():
    """Readers of JUnit take the first failure of a test."""
    report = samples.vanishing()
    first, second = report.findings[:2]
    report = replace(report, findings=(first, replace(second, code=first.code)))
    assert failed(report) == [first.code]
    failure = next(suite(report).iter("failure"))
    assert first.reason[:40] in failure.text
    assert second.where in failure.text
    assert failure.get("message").startswith("at 2: the variance over the batch falls")


def test_the_report_is_its_output():
    """Letter for letter."""
    report = samples.exploding()
    assert suite(report).findtext("system-out") == report_text(report)


@pytest.mark.parametrize("name", ["<b>&\"'", "nul \0 and \x1b[31m", "\ud800", "層.0", "]]>"])
def test_any_name_is_written_so_that_it_can_be_read(name):
    """Names are the user's; XML has no way to write some characters."""
    first = replace(samples.vanishing().findings[0], where=name, reason=name)
    report = replace(samples.vanishing(), model=name, findings=(first,))
    assert failed(report) == ["vanishing-signal"]


def test_the_same_report_is_the_same_text():
    """No date, no name of the machine: two runs can be compared."""
    assert junit_xml(samples.vanishing()) == junit_xml(samples.vanishing())
