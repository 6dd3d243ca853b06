"""A saved report is data: it comes back as it was, and nothing in it is ever run."""

import json
from dataclasses import fields, is_dataclass, replace
from errno import ENOSPC
from math import inf, isnan, nan
from types import NoneType, UnionType
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.audit import samples

from fanin import FaninError
from fanin._audit._json import SCHEMA, as_data
from fanin._audit._limits import Limits
from fanin._audit._report import Report

SIMPLE = {
    str: st.text(max_size=8),
    int: st.integers(-(2**61), 2**61),
    bool: st.booleans(),
    float: st.floats(),
    # Limits are checked when they are made.
    Limits: st.sampled_from([Limits(), Limits(dead=0.125, hopeless=1e9)]),
}


def values(kind):
    """Any value of a field of this type."""
    if kind in SIMPLE:
        return SIMPLE[kind]
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{one.name: values(hints[one.name]) for one in fields(kind)})
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is UnionType:
        (inner,) = (one for one in get_args(kind) if one is not NoneType)
        return st.none() | values(inner)
    first, *rest = get_args(kind)
    if rest == [Ellipsis]:
        return st.lists(values(first), max_size=2).map(tuple)
    return st.tuples(*(values(one) for one in get_args(kind)))


def same(one, other):
    """Equal, where two that are not a number are."""
    if is_dataclass(one):
        pairs = [(getattr(one, name.name), getattr(other, name.name)) for name in fields(one)]
        return type(one) is type(other) and all(same(*pair) for pair in pairs)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return type(other) is float and (one == other or (isnan(one) and isnan(other)))
    return type(one) is type(other) and one == other


@given(values(Report))
def test_a_report_comes_back_as_it_was(report):
    """Every field of every record, whatever it holds: also what is no number."""
    assert same(Report.from_json(report.to_json()), report)
    assert Report.from_json(report.to_json(indent=2)).to_json() == report.to_json()


@pytest.mark.parametrize("sample", samples.ALL, ids=lambda one: one.__name__)
def test_a_file_holds_the_whole_report(sample, tmp_path):
    """And what is printed of it is the same."""
    report = sample()
    report.save(tmp_path / "audit.json")
    loaded = Report.load(str(tmp_path / "audit.json"))
    assert same(loaded, report)
    assert str(loaded) == str(report)
    assert [path.name for path in tmp_path.iterdir()] == ["audit.json"]


def test_the_text_is_json_that_any_reader_takes():
    """Python's NaN is no JSON; here it is a text, which no other field of numbers has."""

    def refuse(constant):
        raise AssertionError(constant)

    data = json.loads(samples.not_finite().to_json(), parse_constant=refuse)
    assert data["schema"] == SCHEMA
    assert data["loss"]["value"] == "nan"
    assert data["places"][2]["signal"]["gradient"] == "inf"


def test_versions_can_be_compared_line_by_line():
    """A place, a parameter and a finding has a line of its own."""
    report = samples.transformer()
    lines = report.to_json().splitlines()
    records = len(report.places) + len(report.parameters) + len(report.findings)
    assert len(lines) > records
    changed = replace(report.places[3], shape=(1,))
    other = replace(report, places=(*report.places[:3], changed, *report.places[4:]))
    pairs = zip(lines, other.to_json().splitlines(), strict=True)
    assert sum(one != two for one, two in pairs) == 1


def changed(**changes):
    return json.dumps({**as_data(samples.healthy()), **changes})


def place(**changes):
    first = {**as_data(samples.healthy())["places"][0], **changes}
    return changed(places=[first])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "Expecting value"),
        ("[" * 100_000, "without end"),
        ("[]", "[]"),
        ("{}", "{}"),
        (changed(format="fanin plan"), "fanin plan"),
        (changed(verdict="fine"), "verdict"),
        (place(code="import os"), "code"),
        (place(depth=1.5), "1.5"),
        (place(depth=True), "True"),
        (place(depth=1 << 70), "1180591620717411303424"),
        (place(signal=None), "None"),
        (place(signal={"second_moment": 1.0}), "no such field"),
        (place(signal={"second_moment": "much", "size": 3}), "much"),
        (place(signal={"second_moment": inf, "size": 3}), "Infinity is not JSON"),
        (place(signal={"second_moment": 1.5, "size": 3}).replace("1.5", "1e400"), "inf"),
        (place(shape=3), "3"),
        (changed(versions=[["fanin"]]), "1 values"),
        (changed(findings=[{"code": "x", "severity": "fatal"}]), "fatal"),
        (changed(draws=None), "None"),
        (changed(limits={"dead": -1.0}), "-1.0"),
        ('{"format": NaN}', "NaN"),
    ],
)
def test_any_other_text_is_refused(text, found):
    """With what is wrong in it, and never by another exception."""
    with pytest.raises(FaninError) as error:
        Report.from_json(text)
    assert found in error.value.found


@pytest.mark.parametrize("schema", [SCHEMA + 1, 0, None, "1", 1.0, True])
def test_another_schema_is_told_as_such(schema):
    """The way out is the other version of fanin."""
    with pytest.raises(FaninError, match="schema that this fanin does not read"):
        Report.from_json(changed(schema=schema))


def test_an_unknown_field_is_answered_with_the_nearest():
    """A field that is misspelled is no finding that is silently lost."""
    with pytest.raises(FaninError, match="findings"):
        Report.from_json(changed(finding=[]))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    """A picture, say."""
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FaninError, match="not the text of a report"):
        Report.load(tmp_path / "a.json")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """What was there before a failed save is there after it."""
    target = tmp_path / "audit.json"
    samples.healthy().save(target)
    before = target.read_text(encoding="utf-8")
    monkeypatch.setattr(type(target), "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        samples.vanishing().save(target)
    assert target.read_text(encoding="utf-8") == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_report_with_nan_equals_its_copy():
    """NaN is not itself, but a report is what its file says."""
    report = replace(samples.not_finite(), learning_rate=nan)
    again = Report.from_json(report.to_json())
    assert again == report
    assert hash(again) == hash(report)
    assert again != replace(report, learning_rate=0.1)
    assert report != "a report"


def test_equal_reports_are_equal_files():
    """1 is 1.0, and Limits(total=100) is Limits(total=100.0)."""
    one = replace(samples.healthy(), learning_rate=1, limits=Limits(total=100))
    other = replace(samples.healthy(), learning_rate=1.0, limits=Limits(total=100.0))
    assert one == other
    assert one.to_json() == other.to_json() == Report.from_json(one.to_json()).to_json()


def test_a_machine_that_will_not_write_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    """Not the one beside it that was written first."""

    def full(path, *_, **__):
        raise OSError(ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(type(tmp_path), "write_text", full)
    with pytest.raises(OSError, match="No space left") as caught:
        samples.healthy().save(tmp_path / "audit.json")
    assert caught.value.filename == str(tmp_path / "audit.json")


def test_what_is_not_finite_stays_what_it_was():
    """nan, inf and -inf, which are findings."""
    report = replace(samples.healthy(), learning_rate=-inf)
    assert Report.from_json(report.to_json()).learning_rate == -inf
    report = replace(report, learning_rate=nan)
    assert isnan(Report.from_json(report.to_json()).learning_rate)
