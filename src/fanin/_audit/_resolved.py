"""Which singular values of a report are told from zero by its arithmetic."""

from math import inf
from typing import Final

from fanin._audit._report import Report

__all__ = ["resolved", "rounding_unit"]

_SINGLE: Final = 1e-7
_UNITS: Final = {"float64": 1e-16, "complex128": 1e-16, "float16": 1e-3, "bfloat16": 8e-3}
"""``units`` of ``report.js`` is the same table for a report that is opened in the page."""


def rounding_unit(report: Report) -> float:
    """The share of the largest singular value under which one is rounding, by the coarsest dtype.

    >>> rounding_unit(Report(model="Net", batch="", mode=""))
    1e-07
    """
    dtypes = {one.dtype.removeprefix("torch.") for one in report.parameters}
    floating = {one for one in dtypes if one.startswith(("float", "bfloat", "complex"))}
    return max((_UNITS.get(one, _SINGLE) for one in floating), default=_SINGLE)


def resolved(report: Report) -> tuple[list[float], int]:
    """The singular values that are more than rounding, largest first; and how many are not.

    >>> from fanin._audit._records import Spectrum
    >>> found = Spectrum(first="0", last="4", exact=True, values=(2.0, 1e-3, 2e-64), mean_square=1)
    >>> resolved(Report(model="Net", batch="", mode="", spectrum=found))
    ([2.0, 0.001], 1)
    """
    if report.spectrum is None:
        return [], 0
    values = sorted((one for one in report.spectrum.values if 0 <= one < inf), reverse=True)
    least = rounding_unit(report) * max(values, default=0.0)
    shown = [one for one in values if one > least]
    return shown, len(values) - len(shown)
