"""The rows of the two tables: texts only; what is sorted by is read from the report itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import final

from fanin._audit._page.series import MEASURES
from fanin._audit._records import ParameterState, Place
from fanin._audit._report import Report
from fanin._text import number

__all__ = ["Column", "Row", "parameter_columns", "parameter_rows", "place_columns", "place_rows"]

_ORDER = ("note", "warning", "error")


@final
@dataclass(frozen=True, slots=True)
class Column:
    """A column: ``key`` is what the script sorts by, ``title`` explains it."""

    key: str
    label: str
    title: str = ""
    text: bool = False


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; ``step`` tells layers and residual sums from the other operations."""

    index: int
    cells: tuple[str, ...]
    beside: str
    severity: str = ""
    step: bool = True


_PLACES = (
    Column("index", "#", "in the order of the run"),
    Column("name", "layer", "the module, and what runs there", text=True),
    Column("shape", "shape", "of the output", text=True),
    Column("std", "std", "√(E x²) of the output"),
    Column("variance", "variance over the batch", "E (x − its mean over the batch)²"),
    Column("gradient", "gradient", "length of the loss's gradient of one input"),
    Column("correlation", "correlation", "the mean cosine of two different inputs"),
    Column(
        "dead",
        "dead",
        "the share of units, here or in the activation behind, that are the same for all inputs",
    ),
    Column(
        "saturated",
        "saturated",
        "the share of entries on a flat part of the activation, here or behind",
    ),
    Column("entropy", "entropy", "of attention, as a part of what uniform attention has"),
)
_OPTIONAL = ("dead", "saturated", "entropy")

_PARAMETERS = (
    Column("name", "parameter", "", text=True),
    Column("role", "role", "what it does in the model", text=True),
    Column("shape", "shape", "", text=True),
    Column("std", "std", "√(E w²) of its values"),
    Column("update", "update ÷ weight", "root mean square of the optimizer's first step, by std"),
    Column("gradient", "gradient", "of the loss, per entry, root mean square"),
    Column("state", "", "what is unusual about it", text=True),
)


def place_columns(report: Report) -> list[Column]:
    """The columns of the table of layers; those of which nothing was measured are left out."""
    return [
        column
        for column in _PLACES
        if column.key not in _OPTIONAL or _measured(report.places, column.key)
    ]


def _measured(places: Sequence[Place], key: str) -> bool:
    return any(MEASURES[key](place) is not None for place in places)


def place_rows(report: Report) -> list[Row]:
    """One row a place."""
    columns = place_columns(report)
    worst = _severities(report)
    return [
        Row(
            index=place.index,
            cells=tuple(_place_text(place, column.key) for column in columns),
            beside="" if place.name.endswith(place.operation) else place.operation,
            severity=worst.get(place.index, ""),
            step=bool(place.weight) or place.stream is not None or place.index in worst,
        )
        for place in report.places
    ]


def _place_text(place: Place, key: str) -> str:
    texts = {"index": str(place.index), "name": place.name, "shape": _shape(place.shape)}
    if key in texts:
        return texts[key]
    if key == "variance":
        return number(place.signal.variance)
    value = MEASURES[key](place)
    return percent(value) if key in _OPTIONAL else number(value)


def _severities(report: Report) -> dict[int, str]:
    """The worst severity at each place where a finding is."""
    found: dict[int, str] = {}
    for finding in report.findings:
        if finding.place is not None:
            before = found.get(finding.place, "note")
            found[finding.place] = max(before, finding.severity, key=_ORDER.index)
    return found


def parameter_columns() -> list[Column]:
    """The columns of the table of parameters."""
    return list(_PARAMETERS)


def parameter_rows(report: Report) -> list[Row]:
    """One row a parameter."""
    blamed = {finding.where: finding.severity for finding in reversed(report.findings)}
    return [
        Row(order, tuple(_texts(parameter)), parameter.dtype, blamed.get(parameter.name, ""))
        for order, parameter in enumerate(report.parameters)
    ]


def _texts(parameter: ParameterState) -> Iterable[str]:
    yield parameter.name
    yield parameter.role.replace("_", " ")
    yield _shape(parameter.shape)
    yield number(sqrt(parameter.second_moment))
    yield number(parameter.update)
    yield number(None if parameter.gradient is None else sqrt(parameter.gradient))
    yield "; ".join(_unusual(parameter))


def _unusual(parameter: ParameterState) -> Iterable[str]:
    if parameter.finite < 1:
        yield f"{percent(1 - parameter.finite)} not finite"
    if not parameter.trainable:
        yield "not trained"
    elif parameter.gradient is None:
        yield "no gradient"
    if parameter.zeros == 1:
        yield "all zero"
    if parameter.same_as:
        yield f"same values as {parameter.same_as}"


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def percent(share: float | None) -> str:
    """A share in percent, or a dash.

    >>> percent(0.125), percent(0.0004), percent(None)
    ('12.5 %', '0.04 %', '–')
    """
    return "–" if share is None else f"{100 * share:.3g} %"
