"""The verdict, the five head numbers and the findings, in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, prod, sqrt
from typing import final

from fanin._audit._page.series import MEASURES
from fanin._audit._records import Finding, Loss, Place
from fanin._audit._report import Report
from fanin._text import number

__all__ = ["Card", "Tile", "about", "cards_of", "loss_text", "tiles_of", "verdict"]


@final
@dataclass(frozen=True, slots=True)
class Tile:
    """One number of the head: what it is, its value and what it is to be read against."""

    key: str
    label: str
    value: str
    beside: str


@final
@dataclass(frozen=True, slots=True)
class Card:
    """One finding with its title in words, and the row that it is linked to."""

    finding: Finding
    title: str
    place: int | None


def verdict(report: Report) -> str:
    """``healthy``, or how many errors and warnings.

    >>> verdict(Report(model="Net", batch="float32 2x4", mode="training mode"))
    'Healthy'
    """
    counts = [
        _count(sum(finding.severity == severity for finding in report.findings), severity)
        for severity in ("error", "warning")
    ]
    said = ", ".join(count for count in counts if count)
    return said or "Healthy"


def _count(how_many: int, noun: str) -> str:
    return f"{how_many} {noun}{'' if how_many == 1 else 's'}" if how_many else ""


def about(report: Report) -> list[tuple[str, str]]:
    """What was audited: (name, value) for all that is known."""
    drawn = "" if report.seed is None else f"{report.seed}"
    facts = [
        ("batch", report.batch),
        ("mode", report.mode),
        ("recipe", report.recipe),
        ("seed", drawn),
        ("draws", f"{report.draws}, medians" if report.draws > 1 else ""),
        ("plan", report.plan),
        ("optimizer", f"{report.optimizer}, learning rate {report.learning_rate:g}"),
        *report.versions,
    ]
    return [(name, value) for name, value in facts if value]


def loss_text(report: Report) -> str:
    """What the loss was that ran backward."""
    return "" if report.loss is None else report.loss.said


def tiles_of(report: Report) -> list[Tile]:
    """Loss, output std, gradient first ÷ last, correlation, parameters."""
    return [_loss(report), _output(report), _gradient(report), _correlation(report), _size(report)]


def _loss(report: Report) -> Tile:
    loss = report.loss
    if loss is None:
        return Tile("loss", "initial loss", "–", "no loss was run")
    beside = "uninformed: not known"
    if loss.uninformed is not None:
        own = "" if loss.observed is None else f"an element: {number(loss.observed)}, "
        beside = f"{own}uninformed: {number(loss.uninformed)}"
    return Tile("loss", "initial loss", number(loss.value), beside)


def _output(report: Report) -> Tile:
    last = report.layers[-1] if report.layers else None
    name = "–" if last is None else last.name
    if _is_output_broken(report.loss, last):
        return Tile("output", "output std", number(None), f"not finite, at {name}")
    std = None if report.loss is None else report.loss.output_std
    if std is None and last is not None:
        std = last.signal.std
    return Tile("output", "output std", number(std), f"at {name}")


def _is_output_broken(loss: Loss | None, last: Place | None) -> bool:
    """Whether the std would be that of the entries that are finite, or of none."""
    is_empty = loss is not None and loss.output_std == 0 and not isfinite(loss.value)
    return is_empty or (last is not None and last.signal.finite < 1)


def _gradient(report: Report) -> Tile:
    growth = next((one for one in report.growths if one.direction == "backward"), None)
    if growth is not None:
        ratio: float | None = sqrt(growth.total)
        beside = f"over {len(growth.names)} {'sums' if growth.kind == 'residual' else 'layers'}"
    else:
        ratio = _ratio(report.layers)
        beside = f"over {len(report.layers)} layers"
    shown = number(ratio) if ratio is None else f"{number(ratio)}×"
    return Tile("gradient", "gradient, first ÷ last", shown, beside)


def _ratio(layers: tuple[Place, ...]) -> float | None:
    lengths = [MEASURES["gradient"](layer) for layer in layers]
    known = [length for length in lengths if length is not None]
    if len(known) < 2 or not known[-1] or not (isfinite(known[0]) and isfinite(known[-1])):
        return None
    return known[0] / known[-1]


def _correlation(report: Report) -> Tile:
    known = [layer for layer in report.layers if layer.signal.correlation is not None]
    if not known:
        return Tile("correlation", "correlation of inputs", "–", "not measured")
    first, last = known[0], known[-1]
    beside = f"at {last.name}; {number(first.signal.correlation)} at {first.name}"
    return Tile("correlation", "correlation of inputs", number(last.signal.correlation), beside)


def _size(report: Report) -> Tile:
    entries = sum(prod(parameter.shape) for parameter in report.parameters)
    beside = f"in {len(report.parameters):,} tensors; {len(report.places):,} operations"
    return Tile("size", "parameters", f"{entries:,}", beside)


def cards_of(report: Report) -> Iterator[Card]:
    """The findings, the worst first, in their order within a severity."""
    order = ("error", "warning", "note")
    for finding in sorted(report.findings, key=lambda one: order.index(one.severity)):
        title = finding.code.replace("-", " ").replace("_", " ")
        yield Card(finding, title[:1].upper() + title[1:], _row_of(report, finding))


def _row_of(report: Report, finding: Finding) -> int | None:
    if finding.place is not None:
        return finding.place
    return next((place.index for place in report.places if place.name == finding.where), None)
