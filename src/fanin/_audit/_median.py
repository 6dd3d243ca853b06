"""Several audits of one model become one: each number is the median over the draws."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from statistics import median
from typing import Any

from fanin._audit._report import Report
from fanin._errors import FaninError

__all__ = ["median_of"]


def median_of(reports: Sequence[Report]) -> Report:
    """The report whose numbers are the medians of the given ones', where all have them.

    Raises:
        FaninError: where the model ran other operations from draw to draw.
    """
    first = reports[0]
    if len(reports) == 1:
        return first
    names = [place.name for place in first.places]
    if any([place.name for place in one.places] != names for one in reports):
        raise FaninError(
            "the model ran other operations from draw to draw, so that they cannot be compared",
            where="fanin.audit",
            found=f"{[len(one.places) for one in reports]} operations",
            fix="audit one draw at a time: draws=1 with several seeds",
        )
    return replace(
        first,
        places=tuple(map(_merged, zip(*(one.places for one in reports), strict=True))),
        parameters=tuple(map(_merged, zip(*(one.parameters for one in reports), strict=True))),
        loss=_merged([one.loss for one in reports]),
        spectrum=_merged([one.spectrum for one in reports]),
    )


def _merged(values: Sequence[Any]) -> Any:  # noqa: ANN401 - a field of a record is anything
    """The median of numbers; of records, field by field; of anything else the first."""
    first = values[0]
    if any(value is None for value in values):
        return None
    if isinstance(first, float):
        return median(values)
    if is_dataclass(first):
        return replace(
            first,  # type: ignore[type-var]
            **{
                one.name: _merged([getattr(value, one.name) for value in values])
                for one in fields(first)
            },
        )
    return first
