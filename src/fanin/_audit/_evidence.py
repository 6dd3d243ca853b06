"""What a finding is made from: the numbers of a report, and what each parameter does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from fanin._audit._report import Report
from fanin._site import Site

__all__ = ["Evidence"]


@final
@dataclass(frozen=True, slots=True)
class Evidence:
    """A report without findings, and the site of each parameter by its canonical name."""

    report: Report
    sites: Mapping[str, Site]
