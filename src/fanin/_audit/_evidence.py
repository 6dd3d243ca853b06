"""What a finding is made from: the numbers of a report, and what each parameter does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from fanin._audit._report import Report
from fanin._site import Site

__all__ = ["Evidence"]


@final
@dataclass(frozen=True, slots=True)
class Evidence:
    """A report without findings; sites and powers are by the parameters' canonical names."""

    report: Report
    sites: Mapping[str, Site]
    powers: Mapping[str, float] = field(default_factory=dict)
    """As which power of a parameter's size the loss grows: d ln L / d ln |w|."""
