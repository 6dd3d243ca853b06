"""The tour: what starting weights do, shown on real digits with the library's own parts.

``nets`` and ``data`` are what it looks at; ``measure`` audits, initializes and compares them;
``story`` and ``page`` show the ``results``, which are all the numbers there are.
"""

from fanin._tour.main import tour

__all__ = ["tour"]
