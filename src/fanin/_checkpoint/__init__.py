"""Checkpoints of models that are never in memory whole.

`_items` says which tensors a checkpoint has and where their numbers come from (`_sources`),
`_format` how they lie in files, `_shard` writes one file, `_journal` knows what a directory holds,
`_dcp` is the other format, and `_write` is the public function.
"""

from fanin._checkpoint._receipt import CheckpointFile, CheckpointReceipt
from fanin._checkpoint._write import write_checkpoint

__all__ = ["CheckpointFile", "CheckpointReceipt", "write_checkpoint"]
