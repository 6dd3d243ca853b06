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
from fanin._plan._stored import Checkpoint
from fanin._plan._verification import Verification

__all__ = [
    "Checkpoint",
    "Coverage",
    "Difference",
    "Entry",
    "Plan",
    "Receipt",
    "Stamp",
    "Unclaimed",
    "Verification",
    "initialize",
    "plan",
    "plan_from_sites",
]
