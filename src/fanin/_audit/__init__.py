"""Audit: one batch, forward and backward, measured and judged.

`_audit` is the function: `_checks` looks at what it is given, `_run` runs the model once and leaves
it as it was, `_loss` says what runs backward, `_watch` measures each operation (`_measure`), and
`_places` and `_parameters` make records of it (`_records`). `_growth`, `_predictions` and
`_jacobian` add what theory says. `_findings` judges the whole by `_limits`, with a cure from
`_remedies`. The result is `_report`, shown by `_print`, `_html`, `_page` and `_plot`, and sent on
by `_json`, `_junit` and `_log`.
"""

from fanin._audit._audit import audit
from fanin._audit._limits import Limits
from fanin._audit._records import Finding
from fanin._audit._report import Report

__all__ = ["Finding", "Limits", "Report", "audit"]
