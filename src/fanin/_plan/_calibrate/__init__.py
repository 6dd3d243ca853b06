"""Measured scales: every weight's output gets the std that is wanted, in one forward pass.

`_calibrate` is the method. `_targets` says which weights and to what std, `_copies` draws them
beside the model (`_drawing`, on several threads), `_run` is the forward pass: it knows a weight
again by `_memory`, measures the outputs of `_products`, and gives each of `_weights` its factors;
`_said` turns them into a plan with the reasons.
"""
