"""The report of an audit: what was measured on one batch, and what was found."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from fanin._audit._limits import Limits
from fanin._audit._records import (
    Finding,
    Given,
    Growth,
    Loss,
    ParameterState,
    Place,
    Prediction,
    Severity,
    Spectrum,
)
from fanin._errors import FaninError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Report"]

_SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Report:
    """What was measured of a model's start, forward and backward, and the findings.

    A value without tensors. ``places`` are the operations in the order of the run, ``layers`` those
    at which a weight multiplied. ``notes`` say what was not measured, and what was assumed.

    >>> import fanin, torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> report = fanin.audit(net, torch.randn(16, 8))
    >>> [place.name for place in report.layers], report.ok
    (['0', '2'], True)
    """

    model: str
    batch: str
    mode: str
    """The mode that the model ran in: training or evaluation."""
    seed: int | None = None
    """Of the draw that was looked at; None for the weights that the model has."""
    draws: int = 1
    """How many draws: of several, the numbers are medians over them."""
    plan: str = ""
    """The checksum of the plan whose draw it is, or empty."""
    recipe: str = ""
    optimizer: str = "adam"
    learning_rate: float = 0.001
    places: tuple[Place, ...] = ()
    parameters: tuple[ParameterState, ...] = ()
    loss: Loss | None = None
    given: Given | None = None
    growths: tuple[Growth, ...] = ()
    spectrum: Spectrum | None = None
    predictions: tuple[Prediction, ...] = ()
    findings: tuple[Finding, ...] = ()
    limits: Limits = field(default_factory=Limits)
    notes: tuple[str, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    """(package, version): fanin and torch."""

    @property
    def layers(self) -> tuple[Place, ...]:
        """The places at which a weight multiplied or a table was looked up, in order."""
        return tuple(place for place in self.places if place.weight)

    @property
    def ok(self) -> bool:
        """Whether nothing is worse than a note."""
        return not any(finding.severity != "note" for finding in self.findings)

    @property
    def worst(self) -> Severity | None:
        """The highest severity among the findings; None where there is none."""
        found = {finding.severity for finding in self.findings}
        return next((one for one in _SEVERITIES if one in found), None)

    def __eq__(self, other: object) -> bool:
        """Whether the two would be the same file; what is NaN in both is the same."""
        if not isinstance(other, Report):
            return NotImplemented
        from fanin._audit._json import as_data

        return self is other or as_data(self) == as_data(other)

    def __hash__(self) -> int:
        return hash((self.model, self.batch, self.mode, self.seed, self.plan, len(self.places)))

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def raise_if_unhealthy(self, severity: Severity = "warning") -> None:
        """Nothing where no finding is of this severity or worse.

        Raises:
            FaninError: with those findings.

        >>> Report(model="Net", batch="float32 2x3", mode="training").raise_if_unhealthy()
        """
        worse = self.at_least(severity)
        if worse:
            from fanin._audit._print import findings_text

            raise FaninError(
                "this start is not healthy",
                where=self.model,
                found=f"{len(worse)} finding{'s' * (len(worse) > 1)}\n\n{findings_text(worse)}\n",
                fix="follow the remedies, or take another start",
            )

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of this severity or a higher one, in their order.

        Raises:
            FaninError: for a word that is no severity.
        """
        if severity not in _SEVERITIES:
            raise FaninError(
                "there is no such severity",
                where="severity=",
                found=repr(severity)[:60],
                fix=f"use one of: {', '.join(_SEVERITIES)}",
            )
        counted = _SEVERITIES[: _SEVERITIES.index(severity) + 1]
        return tuple(finding for finding in self.findings if finding.severity in counted)

    def plot(self, figure: "Figure | None" = None, *, before: "Report | None" = None) -> "Figure":
        """The signal forward and backward by depth on log scales, correlations, the spectrum.

        On ``figure``, or on a new one, which is returned; nothing is shown or saved. ``before``:
        another report, drawn in grey behind this one.

        Raises:
            FaninError: where matplotlib is not installed, or ``before`` is no report.
        """
        from fanin._audit._plot import plot

        _require_report(before)
        return plot(self, figure, before)

    def to_json(self, *, indent: int | None = None) -> str:
        """The report as JSON text: a line for each place, parameter and finding, or indented.

        >>> report = Report(model="Net", batch="float32 2x3", mode="training")
        >>> Report.from_json(report.to_json()) == report
        True
        """
        from fanin._audit import _json

        return _json.write(self, indent)

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The report that `to_json` wrote; reading runs no code, whatever the text holds.

        Raises:
            FaninError: for any other text, another schema, or unknown fields.
        """
        from fanin._audit import _json

        return _json.read(text)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON to a file, whole or not at all.

        Raises:
            FaninError: where there is no such directory.
        """
        from fanin._audit import _json

        _json.write_file(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Report":
        """The report in a file that `save` wrote; as `from_json`."""
        from fanin._audit import _json

        return _json.read_file(Path(path))

    def to_html(self, path: str | os.PathLike[str], *, before: "Report | None" = None) -> None:
        """Write the report as one page that needs nothing else, whole or not at all.

        ``before``: another report, to be compared with this one.

        Raises:
            FaninError: where ``before`` is no report, or there is no such directory.
        """
        from fanin._audit import _json
        from fanin._audit._page.page import page_html

        _require_report(before)
        _json.write_file(Path(path), page_html(self, before))

    def to_junit(self, *, strict: bool = False) -> str:
        """The report as JUnit XML for CI: a test for each kind of finding, failed by an error.

        With ``strict`` a warning fails it too.

        >>> print(Report(model="Net", batch="", mode="").to_junit().splitlines()[0])
        <?xml version="1.0" encoding="utf-8"?>
        """
        from fanin._audit._junit import junit_xml

        return junit_xml(self, strict=strict)

    def log(self, logger: object, *, step: int = 0) -> None:
        """Send the numbers by place, the findings and the picture to a logger.

        ``logger``: a ``SummaryWriter`` of TensorBoard, a run of Weights & Biases, or a logger of
        Lightning. The picture needs matplotlib and is left out without it.

        Raises:
            FaninError: for anything else.
        """
        from fanin._audit._log import log

        log(self, logger, step)

    def __repr__(self) -> str:
        from fanin._audit._print import verdict

        return f"<report of {self.model}: {verdict(self)}>"

    def __str__(self) -> str:
        from fanin._audit._print import report_text

        return report_text(self)

    def _repr_html_(self) -> str:
        from fanin._audit._html import report_html

        return report_html(self)


def _require_report(before: object) -> None:
    if before is not None and not isinstance(before, Report):
        raise FaninError(
            "this is no report",
            where="before=",
            found=repr(before)[:60],
            fix="give what fanin.audit returned, or fanin.Report.load(path)",
        )
