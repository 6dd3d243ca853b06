"""The command line: words in, text and an exit code out.

`_main` runs one command and knows the exit codes, `_parser` has the words (and `_*_options`, those
of one command). Neither imports torch. `_audit`, `_checkpoint`, `_compare`, `_verify` and `_doctor`
are the commands' work, and `_commands` what they share, with ``plan`` and ``explain``.
"""

from fanin._cli._main import main

__all__ = ["main"]
