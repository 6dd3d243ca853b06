"""A report sent to TensorBoard, Weights & Biases, or whatever logger Lightning has."""

import sys
from collections.abc import Iterator
from typing import Any

from fanin import _plot
from fanin._audit._print import findings_text, verdict
from fanin._audit._records import Place
from fanin._audit._report import Report
from fanin._errors import FaninError

__all__ = ["log", "scalars"]


def log(report: Report, logger: object, step: int = 0) -> None:
    """The numbers by name, the findings as text, and the picture where matplotlib is there.

    A logger is known by what it can do: ``add_scalar`` (TensorBoard), ``log_metrics`` (Lightning),
    or ``log`` (Weights & Biases). Of a Lightning logger's ``experiment``, text and picture are
    taken if it is one of the two others.

    Raises:
        FaninError: for a logger that can do none of these.
    """
    sink: Any = logger
    if _can(sink, "add_scalar"):
        for name, value in scalars(report):
            sink.add_scalar(name, value, step)
        _to_tensorboard(report, sink, step)
    elif _can(sink, "log_metrics"):
        sink.log_metrics(dict(scalars(report)), step=step)
        _to_experiment(report, getattr(sink, "experiment", None), step)
    elif _can(sink, "log"):
        sink.log({**dict(scalars(report)), **_said(report)}, step=step)
    else:
        raise FaninError(
            "a report cannot be sent to this",
            where="report.log",
            found=type(logger).__name__,
            fix="give a SummaryWriter, a run of wandb, or a logger of Lightning",
        )


def scalars(report: Report) -> Iterator[tuple[str, float]]:
    """``(name, value)`` of what was measured: of layers, sums, parameters and the whole."""
    for severity in ("error", "warning", "note"):
        count = sum(finding.severity == severity for finding in report.findings)
        yield f"audit/findings/{severity}", float(count)
    if report.loss is not None:
        yield "audit/loss/value", report.loss.value
        if report.loss.uninformed is not None:
            yield "audit/loss/uninformed", report.loss.uninformed
    for growth in report.growths:
        yield f"audit/growth/{growth.kind} {growth.direction}", growth.per_layer
    if report.spectrum is not None:
        yield "audit/jacobian/mean square", report.spectrum.mean_square
    for place in report.places:
        if place.weight or place.stream is not None or place.entropy is not None:
            yield from _of_place(place)
    for parameter in report.parameters:
        if parameter.update is not None:
            yield f"audit/step/{parameter.name}", parameter.update


def _of_place(place: Place) -> Iterator[tuple[str, float]]:
    signal = place.signal
    values = (
        ("std", signal.std if signal.finite else None),
        ("variance over the batch", signal.variance),
        ("correlation", signal.correlation),
        ("correlation of positions", signal.position_correlation),
        ("gradient", None if signal.gradient is None else signal.gradient**0.5),
        ("attention entropy", place.entropy),
    )
    for name, value in values:
        if value is not None:
            yield f"audit/{name}/{place.name}", value


def _can(sink: object, name: str) -> bool:
    return callable(getattr(sink, name, None))


def _to_experiment(report: Report, experiment: object, step: int) -> None:
    sink: Any = experiment
    if _can(sink, "add_text"):
        _to_tensorboard(report, sink, step)
    elif _can(sink, "log") and _is_of_wandb(sink):
        # Without a step: the logger counts its own.
        sink.log(_said(report))


def _to_tensorboard(report: Report, writer: Any, step: int) -> None:  # noqa: ANN401 - by what it can
    text = _text(report).replace("\n", "\n    ")
    # Indented, TensorBoard's Markdown shows it as it stands.
    writer.add_text("audit", f"    {text}", step)
    if _plot.is_available() and _can(writer, "add_figure"):
        writer.add_figure("audit", report.plot(), step)


def _said(report: Report) -> dict[str, object]:
    said: dict[str, object] = {"audit/report": _text(report)}
    if _plot.is_available():
        said["audit/picture"] = _image(report.plot())
    return said


def _image(figure: object) -> object:
    """As wandb's image, which keeps it as it is drawn, where wandb is what listens."""
    wandb: Any = sys.modules.get("wandb")
    return figure if wandb is None else wandb.Image(figure)


def _is_of_wandb(run: object) -> bool:
    return type(run).__module__.partition(".")[0] == "wandb"


def _text(report: Report) -> str:
    return "\n\n".join(part for part in (verdict(report), findings_text(report.findings)) if part)
