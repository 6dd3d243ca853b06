"""Whether a model holds the planned start, without writing to it or gathering it.

`_prove` goes through a model's tensors, `_held` compares one part by part, `_cause` guesses why one
differs, and `_verification` is the result.
"""
