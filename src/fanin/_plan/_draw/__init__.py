"""Draws written into a model, and checked.

`_match` pairs entries with tensors, `_memory` refuses two parameters on one piece of memory,
`_apply` draws each tensor once, `_check` looks at what was written by the law of `_law` and the
sums of `_measure`. `_part` draws what this process holds, `_parametrized` behind a
parametrization, and `_slices` says whether a draw can be made in parts.
"""
