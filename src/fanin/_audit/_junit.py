"""A report as JUnit XML, which every CI shows: a test for each kind of finding."""

from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree

from fanin._audit._print import findings_text, report_text, verdict
from fanin._audit._records import Finding
from fanin._audit._report import Report

__all__ = ["CHECKS", "junit_xml"]

_SUITE: Final = "fanin.audit"
CHECKS: Final = (
    "closed-branch",
    "collapsed-inputs",
    "dead-units",
    "dominant-branch",
    "drawn-norm",
    "drowned-branches",
    "empty-parameter",
    "equal-units",
    "exploding-gradient",
    "exploding-signal",
    "exploding-stream",
    "frozen-parameter",
    "identical-layers",
    "initial-loss",
    "large-logits",
    "large-update",
    "lost-update",
    "no-gradient",
    "not-finite",
    "off-centre-targets",
    "one-hot-attention",
    "outlier-layer",
    "padding-row",
    "rank-collapse",
    "saturated-gates",
    "saturated-units",
    "small-batch",
    "small-update",
    "spread-target",
    "undrawn-parameter",
    "uniform-attention",
    "unscaled-batch",
    "unused-parameter",
    "vanishing-gradient",
    "vanishing-signal",
    "wrong-fan",
    "zero-norm",
    "zero-weight",
)
"""The codes of the findings: each is a test, also where nothing was found."""


def junit_xml(report: Report, checks: Sequence[str] = CHECKS, *, strict: bool = False) -> str:
    """One suite: a test for each code of ``checks`` and of the findings, and the report as text.

    A test fails by an error, and if ``strict`` by a warning; what does not fail it is its output.

    >>> print(junit_xml(Report(model="Net", batch="", mode=""), ["not-finite"]).splitlines()[2])
      <testsuite name="fanin.audit" tests="1" failures="0" errors="0" skipped="0">
    """
    failing = {finding.code for finding in report.at_least("warning" if strict else "error")}
    codes = list(dict.fromkeys([*checks, *(finding.code for finding in report.findings)]))
    counts = {"tests": len(codes), "failures": len(failing), "errors": 0, "skipped": 0}
    numbers = {name: str(count) for name, count in counts.items()}
    suites = ElementTree.Element("testsuites", {"name": "fanin"} | numbers)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": _SUITE} | numbers)
    _properties(suite, report)
    for code in codes:
        found = [finding for finding in report.findings if finding.code == code]
        _test(suite, report, code, found, fails=code in failing)
    ElementTree.SubElement(suite, "system-out").text = _allowed(report_text(report))
    ElementTree.indent(suites)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(suites, "unicode")}\n'


def _properties(suite: ElementTree.Element, report: Report) -> None:
    said = (
        ("model", report.model),
        ("batch", report.batch),
        ("verdict", verdict(report)),
        *report.versions,
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in said:
        attributes = {"name": _allowed(name), "value": _allowed(value)}
        ElementTree.SubElement(properties, "property", attributes)


def _test(
    suite: ElementTree.Element, report: Report, code: str, found: Sequence[Finding], *, fails: bool
) -> None:
    names = {"classname": _allowed(f"{_SUITE}.{report.model}"), "name": _allowed(code)}
    test = ElementTree.SubElement(suite, "testcase", names)
    if not found:
        return
    first = found[0]
    message = f"at {first.where}: {first.measured}; expected {first.expected}"
    text = _allowed(findings_text(found))
    if fails:
        # One only: readers of JUnit take the first.
        attributes = {"type": first.severity, "message": _allowed(message)}
        ElementTree.SubElement(test, "failure", attributes).text = text
    else:
        ElementTree.SubElement(test, "system-out").text = text


def _allowed(text: str) -> str:
    """The text without the characters that XML has no way to write."""
    return "".join(one if _is_allowed(ord(one)) else "\N{REPLACEMENT CHARACTER}" for one in text)


def _is_allowed(code: int) -> bool:
    return (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code < 0xD800
        or 0xE000 <= code < 0xFFFE
        or (code > 0xFFFF)
    )
