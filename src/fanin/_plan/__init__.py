"""Plans: for every parameter and buffer of a model what is drawn, or why it is kept.

Read `_entry` (one line of a plan) and `_plan` (the public class, every method thin) first.
`_make` turns sites into a plan with `_decide` and `_kept` (the starts that models declare),
`_rules` changes one, `_json` saves it. What a plan does is in packages, each of which imports only
those below it:

- `_calibrate`: measured scales, by one forward pass.
- `_proof`: whether a model holds the planned start.
- `_materialize` and `_streaming`: models on meta or sharded, and draws for other hands.
- `_stored`: what a checkpoint has is copied, and the rest is drawn.
- `_draw`: draws, whole or of what this process holds, written into a model and checked.
- `_local`: which part of each tensor this process holds, and memory for it.
- `_told`: a plan as text and as a web page, and what differs between two.
"""

from fanin._plan._coverage import Coverage
from fanin._plan._entry import Entry, Unclaimed
from fanin._plan._make import initialize, plan, plan_from_sites
from fanin._plan._plan import Plan
from fanin._plan._proof._verification import Verification
from fanin._plan._receipt import Receipt, Stamp
from fanin._plan._stored._read import Checkpoint
from fanin._plan._told._difference import Difference

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
