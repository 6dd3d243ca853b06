"""Audit: one batch, forward and backward, measured and judged."""

from fanin._audit._audit import audit
from fanin._audit._limits import Limits
from fanin._audit._records import Finding
from fanin._audit._report import Report

__all__ = ["Finding", "Limits", "Report", "audit"]
