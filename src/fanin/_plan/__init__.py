"""Plans: for every parameter and buffer of a model what is drawn, or why it is kept.

`_make` turns sites into a `Plan`, `_kept` knows the starts that models declare, `_rules` changes a
plan, `_apply` writes one, `_law` and `_verify` check what was written, `_json` saves it, and
`_rows` is what `_print` and `_html` show.
"""

from fanin._plan._coverage import Coverage
from fanin._plan._difference import Difference
from fanin._plan._entry import Entry, Unclaimed
from fanin._plan._make import initialize, plan, plan_from_sites
from fanin._plan._plan import Plan
from fanin._plan._receipt import Receipt, Stamp

__all__ = [
    "Coverage",
    "Difference",
    "Entry",
    "Plan",
    "Receipt",
    "Stamp",
    "Unclaimed",
    "initialize",
    "plan",
    "plan_from_sites",
]
