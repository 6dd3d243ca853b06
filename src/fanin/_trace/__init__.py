"""Run a model once and learn what each of its parameters does.

`_trace` runs it, `_record` writes down the operations, `_axes` follows a weight's axes through
views, and the other files read what was written down.
"""

from fanin._trace._trace import Trace, trace

__all__ = ["Trace", "trace"]
