"""A report as text for a terminal of 80 columns: the verdict first, then what was measured."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite, isnan, log10, nan
from typing import Final, TypeAlias

from fanin._audit._folded import Row, fold, folded_name, resampled, rows_of, spine_of
from fanin._audit._records import Finding, Growth, Loss, ParameterState, Place, Spectrum
from fanin._audit._report import Report
from fanin._audit._resolved import resolved, rounding_unit
from fanin._text import WIDTH, bar, number, paragraph, sparkline, table

__all__ = ["findings_text", "report_text", "verdict"]

_ROWS: Final = 24
"""Layers that are still shown one by one."""
_CHART: Final = 8
_LINE: Final = 32
_NAME: Final = 22
_ENDS: Final = 3
"""Parameters shown at each end of the order of their first steps."""
_ALSO: Final = 4
_FEW: Final = 3
"""A course over fewer layers is seen in the table."""
_DECADES: Final = 3
"""A chart spans at least so many powers of ten, so that noise looks as small as it is."""


def report_text(report: Report) -> str:
    """The report in at most 80 columns, but for code and names that are longer themselves."""
    pieces = [
        "\n".join([verdict(report), *_facts(report)]),
        findings_text(report.findings),
        _layers(report.layers),
        _depth(report),
        _growths(report.growths),
        _spectrum(report, report.spectrum) if report.spectrum else "",
        _parameters(report),
        "\n".join(_hanging("note: ", note) for note in report.notes),
    ]
    return "\n\n".join(piece for piece in pieces if piece)


def verdict(report: Report) -> str:
    """One line: healthy, or how many findings of which severity.

    >>> verdict(Report(model="Net", batch="", mode=""))
    'healthy'
    """
    counts = Counter(finding.severity for finding in report.findings)
    said = [
        f"{counts[one]} {one}{'s' * (counts[one] > 1)}"
        for one in ("error", "warning", "note")
        if counts[one]
    ]
    word = "healthy" if report.ok else "not healthy"
    return ": ".join([word, ", ".join(said)]) if said else word


def _facts(report: Report) -> list[str]:
    weights = f"drawn by {report.recipe or 'a plan'}" if report.plan else "with its own weights"
    seed = f" from seed {report.seed}" if report.seed is not None else ""
    draws = f", medians of {report.draws} draws" if report.draws > 1 else ""
    seen = ", ".join(part for part in (report.batch, report.mode and f"{report.mode} mode") if part)
    line = f"{report.model}, {weights}{seed}{draws}, on {seen or 'one batch'}"
    return [_hanging("", line), *([_hanging("", _loss(report.loss))] if report.loss else [])]


def _loss(loss: Loss) -> str:
    beside = ""
    if loss.uninformed is not None:
        # Of a sum, or of one loss among several, the value is no measure beside that.
        own = "" if loss.observed is None else f"{number(loss.observed)} an element"
        beside = f", {own}{' ' if own else ''}where a model that knows nothing has "
        beside += number(loss.uninformed)
    return f"loss {number(loss.value)}{beside} ({loss.said})"


def findings_text(findings: Iterable[Finding]) -> str:
    """The findings, errors first: where, measured against expected, the reason, the remedy."""
    order = ("error", "warning", "note")
    return "\n\n".join(
        _finding(finding) for one in order for finding in findings if finding.severity == one
    )


def _finding(finding: Finding) -> str:
    lines = [
        _hanging("", f"{finding.severity.upper()} {finding.code} at {finding.where}"),
        _hanging("  ", finding.reason),
        _hanging("  measured: ", finding.measured),
        _hanging("  expected: ", finding.expected),
    ]
    if finding.also:
        lines.append(_hanging("  also at:  ", _also(finding.also)))
    if finding.remedy:
        lines += ["  remedy:", textwrap.indent(finding.remedy, "    ")]
    return "\n".join(lines)


def _also(names: Sequence[str]) -> str:
    groups = [folded_name(group) for group in fold(names, str, lambda _: None)]
    more = len(groups) - _ALSO
    return ", ".join(groups[:_ALSO]) + (f" and {more} more" if more > 0 else "")


def _layers(layers: Sequence[Place]) -> str:
    if not layers:
        return ""
    rows = rows_of(layers, _ROWS)
    forward = _scale([_std(place) for place in layers])
    backward = _scale([_gradient(place) for place in layers])
    cells = [
        [
            _cut(row.name, _NAME),
            _range([_std(place) for place in row.places]),
            _chart([_std(place) for place in row.places], forward),
            _range([_apart(place) for place in row.places]),
            _range([_gradient(place) for place in row.places]),
            _chart([_gradient(place) for place in row.places], backward),
        ]
        for row in rows
    ]
    headers = ["layer", "std", "(log)", "apart", "gradient", "(log)"]
    folded = ", from the least to the most over the layers of a row" if _is_folded(rows) else ""
    legend = (
        f"std of the output, the share of its square that tells inputs apart, rms of the loss's "
        f"gradient{folded}"
    )
    return "\n".join([paragraph(legend), table(headers, cells, left=(0, 2, 5))])


def _is_folded(rows: Sequence[Row]) -> bool:
    return any(len(row.places) > 1 for row in rows)


def _std(place: Place) -> float | None:
    return place.signal.std if place.signal.finite else None


def _gradient(place: Place) -> float | None:
    return None if place.signal.gradient is None else place.signal.gradient**0.5


def _apart(place: Place) -> float | None:
    signal = place.signal
    if signal.variance is None or not signal.second_moment > 0:
        return None
    return signal.variance / signal.second_moment


_Values: TypeAlias = Sequence[float | None]


def _range(values: _Values) -> str:
    """The value, or the least and the most; a dash where there is none.

    >>> _range([0.5, 2e-9, None]), _range([None])
    ('2e-9…0.50', '–')
    """
    known = _known(values)
    if not known:
        return number(None)
    if any(isnan(value) for value in known):
        return "nan"
    low, high = _short(min(known)), _short(max(known))
    return low if low == high else f"{low}…{high}"


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _short(value: float) -> str:
    """Two digits, one where there is an exponent: what a range has room for."""
    if value == 0 or not isfinite(value):
        return f"{value:g}"
    if 1e-3 <= abs(value) < 1e4:
        return number(value, 2)
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _scale(values: _Values) -> tuple[float, float]:
    """The ends of a log scale for these values: never less than a few decades."""
    seen = [value for value in _known(values) if isfinite(value) and value > 0] or [1.0]
    low, high = log10(min(seen)), log10(max(seen))
    middle, half = (low + high) / 2, max(high - low, _DECADES) / 2
    return middle - half, middle + half


def _chart(values: _Values, ends: tuple[float, float], width: int = _CHART) -> str:
    """A bar for one value, a curve for several; the ends are powers of ten."""
    logarithms = [_logarithm(value) for value in values]
    if len(values) > 1:
        return sparkline(resampled(logarithms, width), *ends)
    low, high = ends
    share = (logarithms[0] - low) / (high - low)
    # At least one column, so that the smallest is seen; nothing for what is no number.
    return bar(max(share, 1 / width), 1.0, width)


def _logarithm(value: float | None) -> float:
    return log10(value) if value is not None and isfinite(value) and value > 0 else nan


def _depth(report: Report) -> str:
    """Each course over the net as one line: where it starts, how it goes, where it ends."""
    spine = spine_of(report.places)
    wide: list[tuple[str, _Values]] = [
        ("std of the output", [_std(place) for place in spine]),
        ("share apart", [_apart(place) for place in spine]),
        ("gradient", [_gradient(place) for place in spine]),
    ]
    shares: list[tuple[str, _Values]] = [
        ("cosine of two inputs", [place.signal.correlation for place in spine]),
        ("cosine of two positions", [place.signal.position_correlation for place in spine]),
        ("entropy of attention", [place.entropy for place in report.places]),
    ]
    lines = [
        *(_course(f"{name} (log)", values, _scale(values)) for name, values in wide),
        *(_course(name, values, None) for name, values in shares),
    ]
    shown = [line for line in lines if line]
    what = "residual sum" if any(place.stream is not None for place in spine) else "layer"
    head = f"from the first {what} to the last"
    return "\n".join([head, *shown]) if shown else ""


def _course(name: str, values: _Values, ends: tuple[float, float] | None) -> str:
    known = [value for value in _known(values) if isfinite(value)]
    if len(known) < _FEW:
        return ""
    if ends is None:
        curve = sparkline(resampled(known, _LINE), 0.0, 1.0)
    else:
        curve = _chart(known, ends, _LINE)
    return f"  {name:<24} {_short(known[0]):>6} {curve} {_short(known[-1])}"


def _growths(growths: Sequence[Growth]) -> str:
    if not growths:
        return ""
    cells = []
    for growth in growths:
        low, high = growth.interval
        inside = low <= growth.per_layer <= high
        cells.append(
            [
                f"{growth.direction}, {len(growth.names)} {_THINGS[growth.kind]}",
                f"× {number(growth.per_layer)}",
                f"{number(low)} to {number(high)}",
                f"× {number(growth.total)}",
                "" if inside else "outside",
            ]
        )
    headers = ["growth of the square", "a layer", "99 % of fair draws", "in all", ""]
    return table(headers, cells, left=(0, 4))


_THINGS: Final = {"plain": "plain layers", "residual": "residual sums"}


def _spectrum(report: Report, spectrum: Spectrum) -> str:
    error = f", standard error {number(spectrum.error, 2)}" if spectrum.error else ""
    head = (
        f"Jacobian from {spectrum.first} to {spectrum.last}, {spectrum.inputs} inputs: "
        f"mean square of its singular values {number(spectrum.mean_square)}{error}"
    )
    lines = [_hanging("", head)]
    values, zero = resolved(report)
    if values:
        name = "all of them (log)" if spectrum.exact else "the extremes (log)"
        name = "above rounding (log)" if zero else name
        curve = _chart(values, _scale(values), _LINE)
        lines.append(f"  {name:<24} {_short(values[0]):>6} {curve} {_short(values[-1])}")
    if zero:
        unit = f": under {_short(rounding_unit(report))} of the largest" if values else ""
        lines.append(f"  {zero} of {len(values) + zero} are zero to rounding{unit}")
    return "\n".join(lines)


def _parameters(report: Report) -> str:
    """The parameters with the largest and the smallest first steps; the rest is counted."""
    stepping = [one for one in report.parameters if one.update is not None]
    groups = fold(stepping, lambda one: one.name, lambda one: (one.role, one.shape))
    groups.sort(key=lambda group: -max(one.update or 0.0 for one in group))
    hidden = len(groups) - 2 * _ENDS
    shown = groups if hidden <= 0 else [*groups[:_ENDS], *groups[-_ENDS:]]
    cells = [_parameter(group) for group in shown]
    if hidden > 0:
        cells.insert(_ENDS, [f"… {hidden} more", "", "", ""])
    title = f"first step of {report.optimizer} at {report.learning_rate:g}: rms of step over values"
    rest = _uncounted(report.parameters)
    if not cells:
        return rest
    headers = ["parameter", "rms", "gradient", "step"]
    return "\n".join([title, table(headers, cells), *([rest] if rest else [])])


def _parameter(group: Sequence[ParameterState]) -> list[str]:
    return [
        _cut(folded_name([one.name for one in group]), 2 * _NAME),
        _range([one.second_moment**0.5 for one in group]),
        _range([None if one.gradient is None else one.gradient**0.5 for one in group]),
        _range([one.update for one in group]),
    ]


def _uncounted(parameters: Sequence[ParameterState]) -> str:
    # Of what is not finite the moments are of the rest, or of nothing.
    zero = sum(one.second_moment == 0 and one.finite == 1 for one in parameters)
    broken = sum(one.finite < 1 for one in parameters)
    missed = sum(one.trainable and one.gradient is None for one in parameters)
    frozen = sum(not one.trainable for one in parameters)
    said = (
        (broken, "not finite"),
        (zero, "all zero"),
        (missed, "without a gradient"),
        (frozen, "not trained"),
    )
    texts = [f"{count} {text}" for count, text in said if count]
    return paragraph(f"parameters: {', '.join(texts)}") if texts else ""


def _cut(name: str, width: int) -> str:
    """The end of a long name: it is what tells layers apart."""
    return name if len(name) <= width else f"…{name[1 - width :]}"


def _hanging(label: str, text: str) -> str:
    """The text behind its label, further lines under its start; nothing in it is cut short."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_on_hyphens=False,
        break_long_words=False,
    )
