"""Checkpoints as a source: what they have is copied, and only the rest is drawn.

`_read` reads tensors by name from disk, with `_distributed` for torch.distributed.checkpoint's;
`_names` finds the one that is meant, `_fit` copies it whole or as first rows, `_missing` says what
is left to draw, and `_rest` applies a plan to that.
"""
