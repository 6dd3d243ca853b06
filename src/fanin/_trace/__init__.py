"""Run a model once and learn what each of its parameters does.

`_trace` runs it, `_record` writes the operations down as a `_graph`, and `_axes` follows a weight's
axes through views. The other files read what was written down: `_elementwise` the activations,
`_norms`, `_units` and `_residual` what their names say, `_roles` a parameter's role and layout,
`_signals` what arrives at it, and `_sites` puts it all together.
"""

from fanin._trace._trace import Trace, trace

__all__ = ["Trace", "trace"]
